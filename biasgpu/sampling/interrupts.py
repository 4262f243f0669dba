"""Ctrl-C and SIGTERM wait while results are being written, and come right after."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_back() -> Iterator[None]:
    """Hold both signals back while the block runs; then hand them on as if they came at its end.

    A signal that ends the process without a word (no handler is set for it) is left alone.
    """
    # Only the main thread may set handlers, and only it is interrupted by them.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _held_back(signal.SIGTERM), _held_back(signal.SIGINT):
        yield


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    handler = signal.getsignal(number)
    if not callable(handler):
        yield
        return
    came: list[tuple[int, Any]] = []
    signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(number, handler)
        if came:
            handler(*came[-1])
