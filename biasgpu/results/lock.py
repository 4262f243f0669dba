"""One writer a file: an advisory lock on a small file beside the results."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

from biasgpu.errors import RefusedError
from biasgpu.results.paths import beside, cannot_write

try:
    import fcntl
except ImportError:  # a platform without flock: files are written unguarded
    fcntl = None

_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


class WriterLock:
    """Holds `<path>.lock` from construction until `release`.

    The kernel drops the lock when the process ends, however it ends, so a lock file that a killed
    run left behind stops nobody. On a clean release the file is removed while the lock is still
    held; whoever opened it in that moment sees that the name no longer leads to what it locked, and
    tries again, so two processes never hold the lock at once.

    Args:
        path: the results file (the lock is on the file beside it).
        shown: its name in errors, where that differs.

    Raises:
        RefusedError: another process holds it; the error names that process.
        BiasgpuError: the folder cannot be written.
    """

    def __init__(self, path: Path, shown: Path | None = None) -> None:
        self.path = beside(path, ".lock")
        self._fd = -1
        while self._fd < 0:
            self._fd = self._try(shown or path)
        _held.add(self)

    def release(self) -> None:
        """Remove the lock file and let go; harmless when repeated."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        _held.discard(self)
        if fcntl is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(fd)

    def _try(self, results: Path) -> int:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise cannot_write(results, error) from error
        try:
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _same_file(fd, self.path):
                    os.close(fd)
                    return -1
            with contextlib.suppress(OSError):  # the number only serves the error message
                os.truncate(fd, 0)
                os.write(fd, f"{os.getpid()}\n".encode())
        except BlockingIOError as error:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise RefusedError(
                f"{results} is being written by another process"
                f"{f' (pid {holder})' if holder.isdigit() else ''}.",
                why="a results file has one writer at a time.",
                fix="wait for it, stop it, or write to another file (-o other.h5, output=...).",
            ) from error
        except OSError as error:  # a file system without locks: go on unguarded
            del error
        return fd


def _same_file(fd: int, path: Path) -> bool:
    try:
        named = path.stat()
    except OSError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (named.st_dev, named.st_ino)


def _forget_in_child() -> None:
    # A forked worker that outlives a killed run would otherwise go on holding its lock. Closing the
    # child's copy leaves the parent's lock in place.
    for lock in list(_held):
        if lock._fd >= 0:
            os.close(lock._fd)
            lock._fd = -1
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
