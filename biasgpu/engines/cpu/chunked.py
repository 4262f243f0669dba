"""What the compiled engines share: threads that take so many draws at a time."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Generic

import numpy as np
import numpy.typing as npt

from biasgpu.engines.base import BORDERLINE, Engine, Prefixes
from biasgpu.engines.cpu import ahead
from biasgpu.engines.cpu.digest import is_compiled
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workers import AnySpace, Workers
from biasgpu.ensemble import Ensemble


def default_threads() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ChunkedEngine(Engine, Generic[AnySpace]):
    """An engine whose threads each screen a chunk of draws, in memory of their own.

    Args:
        threads: how many; None for one a core.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        threads: int | None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train)
        self.threads = threads or default_threads()
        self._early = False  # draws are wanted before the screen is compiled
        ahead.start(self.kind)

    def _open(self) -> None:
        """Threads, and the memory each works in. A forked child inherits no working threads."""
        self._process = os.getpid()
        self._workers: Workers[AnySpace] = Workers(self.threads, self._space, "biasgpu-screen")

    @property
    @abstractmethod
    def kind(self) -> str:
        """What is compiled for it: a key of `ahead.PARTS`, else all is compiled in this process."""

    @property
    def notice(self) -> str:
        """See `Engine.notice`: compiling takes a while, once."""
        if is_compiled(self.kind):
            return ""
        until = " Until then the law decides, slowly." if ahead.pending(self.kind, "screen") else ""
        return f"compiling the cpu engine for this machine, once.{until}"

    @abstractmethod
    def compile_screen(self) -> None:
        """Compile the screen, or load it from disk."""

    def prepare(self) -> None:
        """See `Engine.prepare`: compiles, or loads what is compiled."""
        from biasgpu import answers, exact  # themselves made of engines

        exact.prepare(self.ensemble)  # here, while another process compiles the rest
        ahead.wait(self.kind)
        self.compile_screen()
        answers.prepare(self.ensemble)

    def begin(self) -> None:
        """See `Engine.begin`: compiles the law, which decides until the screen is compiled too."""
        from biasgpu import exact

        self._early = self._early or ahead.pending(self.kind, "screen")
        if self._early:
            exact.prepare(self.ensemble)
        else:
            self.prepare()

    @abstractmethod
    def _space(self) -> AnySpace:
        """The memory that one thread works in."""

    @abstractmethod
    def _screen_chunk(self, space: AnySpace, first_draw: int, prefixes: Prefixes) -> None:
        """Fill the prefixes of the draws from `first_draw` on."""

    @property
    @abstractmethod
    def chunk(self) -> int:
        """Draws a thread takes at a time, a multiple of the lanes."""

    @property
    def granularity(self) -> int:
        """See `Engine.granularity`: a chunk for each thread."""
        return self.chunk * self.threads

    @property
    def minimum(self) -> int:
        """See `Engine.minimum`: all lanes of every thread."""
        return LANES_F32 * self.threads

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`."""
        if self._process != os.getpid():
            self._open()
        if self._early and ahead.pending(self.kind, "screen"):
            return np.full(n_draws, BORDERLINE, dtype=np.uint16)  # the law decides
        ahead.wait(self.kind, "screen")
        prefixes = np.empty(n_draws, dtype=np.uint16)
        share = -(-n_draws // (self.threads * LANES_F32)) * LANES_F32
        chunk = min(self.chunk, max(LANES_F32, share))

        def one(space: AnySpace, start: int) -> None:
            self._screen_chunk(space, first_draw + start, prefixes[start : start + chunk])

        self._workers.run(one, range(0, n_draws, chunk))
        return prefixes

    def abandon(self) -> None:
        """See `Engine.abandon`."""
        self._early = False
        ahead.stop(self.kind)

    def close(self) -> None:
        """See `Engine.close`; what is being compiled is finished, so that the next run has it."""
        if self._early:
            ahead.wait(self.kind)
        self._workers.close()
