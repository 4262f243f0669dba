"""Threads with a workspace each, which give up at once when whoever waits for them is interrupted.

Compiled code hears of no signal. So the main thread only ever waits, and where Ctrl-C ends its
waiting, it raises a flag in every workspace, which the compiled loops look at between a few units.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import numpy.typing as npt

from biasgpu.engines.cpu.workspace import STOP


class Space(Protocol):
    """The memory one thread works in."""

    @property
    def names(self) -> npt.NDArray[Any]:
        """Names of draws, and behind them a flag: see `Workspace`."""
        ...


Item = TypeVar("Item")
AnySpace = TypeVar("AnySpace", bound=Space)


class Workers(Generic[AnySpace]):
    """A pool of threads.

    Args:
        n_threads: how many.
        make_space: makes the memory that one of them works in.
        name: of the threads, for debuggers.
    """

    def __init__(self, n_threads: int, make_space: Callable[[], AnySpace], name: str) -> None:
        self.spaces: queue.SimpleQueue[AnySpace] = queue.SimpleQueue()
        self._make_space = make_space
        self._made: list[AnySpace] = []
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix=name)

    def run(self, work: Callable[[AnySpace, Item], None], items: Iterable[Item]) -> None:
        """Do `work` for every item; an exception in one of them, or here, ends all.

        What was half done by then is of no use.
        """
        stopped = threading.Event()

        def one(item: Item) -> None:
            space = self._take()
            try:
                # In this order: whoever stops does the same two things the other way round.
                space.names[STOP] = 0
                if not stopped.is_set():
                    work(space, item)
            finally:
                self.spaces.put(space)

        futures = [self._pool.submit(one, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stopped.set()
            for future in futures:
                future.cancel()
            for space in list(self._made):
                space.names[STOP] = 1
            raise

    def close(self) -> None:
        """Give back the threads, once they are done or have given up."""
        self._pool.shutdown(wait=True)

    def _take(self) -> AnySpace:
        try:
            return self.spaces.get_nowait()
        except queue.Empty:
            space = self._make_space()
            self._made.append(space)
            return space
