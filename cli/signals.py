"""Being stopped from outside: by Ctrl-C, or by SIGTERM as schedulers and `kill` send it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells have them: 128 and the signal
SAME_STOP_S = 2.0


class Terminated(KeyboardInterrupt):
    """SIGTERM: to be treated as Ctrl-C is."""


def exit_code(stop: BaseException | None) -> int:
    """The code to leave with after `stop`."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def forget() -> None:
    """Leave with the exit code that was meant, wherever the stop struck.

    CPython remembers a KeyboardInterrupt that leaves code run from a string, as dataclasses and
    compilers of functions run it, and dies by SIGINT at its end although the exception was handled.
    Any other such code makes it forget (`run_eval_code_obj` in CPython's pythonrun.c).
    """
    exec("")


@contextmanager
def one_stop() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into one exception while the block runs.

    Fingers bounce, and a terminal or a scheduler may signal twice. What follows within two seconds
    belongs to the same stop, which must be left alone to save what was found and to say so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped_s = -float("inf")

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopped_s
        if time.monotonic() < stopped_s + SAME_STOP_S:
            return
        stopped_s = time.monotonic()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
