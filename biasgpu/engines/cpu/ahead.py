"""Compiling in another process, so that work can begin before all machine code is there.

Numba compiles one function at a time in a process, and holds the interpreter's lock for half of it.
A process of its own (machine_code.py) makes the screen's machine code and leaves it on disk, while
this one compiles the law. Whatever happens to that process, nothing is lost but time: code that is
not on disk is compiled here.

The other process ignores Ctrl-C, which a terminal sends to both, and ends by itself once this one
has: what holds its standard input open is gone then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from biasgpu.engines.cpu.digest import is_compiled, source_digest

VARIABLE = "BIASGPU_COMPILE_AHEAD"  # 0: compile in this process alone
PARTS = {
    "direct": ("screen", "answers"),
    "deferred": ("screen", "settle"),
    "deferred-front": ("screen", "settle"),
    "training": ("law", "answers"),  # what judges trained networks
}


# Nothing is imported from the working directory (-P). This package's place comes last, and counts
# where it was not imported from where Python looks by itself.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from biasgpu.engines.cpu.machine_code import run; run(*sys.argv[1:])"
)


class Ahead:
    """A process that compiles.

    Args:
        kind: what for; a key of `PARTS`, whose parts it compiles in their order.
    """

    def __init__(self, kind: str) -> None:
        self._parent = os.getpid()
        self._done = {part: threading.Event() for part in PARTS[kind]}
        here = str(Path(__file__).parents[3])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, here, kind, f"{source_digest():x}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {VARIABLE: "0"},
        )
        self._reader = threading.Thread(target=self._read, name="biasgpu-compile", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with stdin, stdout:
            for line in stdout:
                part = line.decode(errors="replace").strip()
                if part in self._done:
                    self._done[part].set()
            self._process.wait()
        for event in self._done.values():  # it has ended, well or not: nothing more will come
            event.set()

    def pending(self, part: str) -> bool:
        """Whether a part is still being compiled; of a process that died, none is."""
        # A forked child has the process's number, but not the thread that listens to it.
        return os.getpid() == self._parent and not self._done[part].is_set()

    def wait(self, part: str | None) -> None:
        """Until a part is compiled; None: until the process has ended, and noted what it made."""
        if os.getpid() != self._parent:
            return
        if part is None:
            self._reader.join()
        else:
            self._done[part].wait()

    def stop(self) -> None:
        """End the process, if it has not ended."""
        if os.getpid() != self._parent:
            return
        self._process.kill()
        self._reader.join()


_all: dict[str, Ahead] = {}
_lock = threading.Lock()


def start(kind: str) -> None:
    """Begin to compile what is not compiled, once a process; nothing where there are no parts."""
    with _lock:
        if kind not in PARTS or kind in _all or not _possible() or is_compiled(kind):
            return
        with contextlib.suppress(OSError):  # no process can be made: all is compiled here
            _all[kind] = Ahead(kind)


def pending(kind: str, part: str) -> bool:
    """Whether a part is still being compiled by another process."""
    return kind in _all and _all[kind].pending(part)


def wait(kind: str, part: str | None = None) -> None:
    """Until a part is no longer pending; None: until the process has ended."""
    if kind in _all:
        _all[kind].wait(part)


def stop(kind: str) -> None:
    """End the process: nobody waits for it any more. What is missing is compiled here."""
    if kind in _all:
        _all[kind].stop()


@atexit.register
def _stop_all() -> None:
    for kind in _all:
        stop(kind)


def _possible() -> bool:
    return bool(sys.executable) and os.environ.get(VARIABLE, "1") != "0"
