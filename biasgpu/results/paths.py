"""Putting a finished file in its place, never over another, and saying why where it cannot be."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from biasgpu.errors import BiasgpuError, RefusedError, ResourceError, UsageError

_FULL = {
    errno.ENOSPC: "the disk is full",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the disk quota is used up",
    errno.EFBIG: "the file may not grow further (a limit on file sizes: ulimit -f)",
}


def real(path: str | os.PathLike[str]) -> Path:
    """The file behind links, so that two names for one file share one lock."""
    return Path(os.path.realpath(path))


def beside(path: Path, suffix: str) -> Path:
    """`run.h5` with `.bak` gives `run.h5.bak`."""
    return path.with_name(path.name + suffix)


def refuse_folder(path: Path, example: str) -> RefusedError:
    """The error for an output that is a folder; `example` is a file's name."""
    return RefusedError(
        f"{path} exists, and is a folder.",
        why="the output is a file, and a folder is never replaced by one.",
        fix=f"name a file in it: -o {path / example}, output={str(path / example)!r}.",
    )


def refuse_existing(path: Path) -> RefusedError:
    """The error for an output that is already there."""
    if path.is_dir():
        return refuse_folder(path, "run.h5")
    return RefusedError(
        f"{path} exists.",
        why="results are never overwritten unasked.",
        fix=f"go on with it (--resume {path}), write to another file (-o other.h5, output=...), "
        f"or replace it (--overwrite, overwrite=True), keeping the old file as {path.name}.bak.",
    )


def make_folder(folder: Path) -> None:
    """Make the folder and those above it.

    Raises:
        BiasgpuError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BiasgpuError(
            f"the folder {folder} cannot be made: {_reason(error)}.",
            why="the results file needs a folder that can be written.",
            fix="choose another place (-o elsewhere/run.h5, output=...).",
        ) from error


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file its name, unless something already has that name.

    Raises:
        RefusedError: `path` exists.
        OSError: the file system failed.
    """
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise refuse_existing(path) from error
    except OSError:
        # A file system without hard links: take the name first, then move onto it.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError as error:
            raise refuse_existing(path) from error
        os.replace(temporary, path)
    else:
        temporary.unlink()


def keep_backup(path: Path) -> Path:
    """Keep `path` under the first free name of `.bak`, `.bak1`, `.bak2`, ...

    The file also stays under its own name, for the caller to replace: at no moment is there none.

    Returns:
        the backup's path.
    """
    number = 0
    while True:
        backup = beside(path, f".bak{number or ''}")
        try:
            os.link(path, backup)
            return backup
        except FileExistsError:
            number += 1
        except OSError:
            if os.path.lexists(backup):
                number += 1
                continue
            os.rename(path, backup)  # no hard links here
            return backup


def sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut, where the platform can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def cannot_write(path: Path, error: OSError) -> BiasgpuError:
    """The error for a file that could not be written: a full disk, a read-only folder, ..."""
    if error.errno in _FULL:
        return ResourceError(
            f"{path} could not be written: {_FULL[error.errno]}.",
            why="what was committed before is safe and can be read.",
            fix=f"free some space, then go on with: biasgpu sample --resume {path}.",
        )
    return BiasgpuError(
        f"{path} could not be written: {_reason(error)}.",
        why="the folder must exist and be writable, since the results, a lock and a status file "
        "are written there.",
        fix="change its permissions, or choose another place (-o elsewhere/run.h5, output=...).",
    )


def missing(path: Path) -> UsageError:
    """The error for an input that is not there."""
    return UsageError(
        f"there is no file {path}.",
        why="a results file was named, and nothing has that name.",
        fix="check the path; biasgpu sample, biasgpu.sample(..., output=...) make such files.",
    )


def cannot_read(path: Path, error: OSError) -> BiasgpuError:
    """The error for a file that could not be opened for reading."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return missing(path)
    return BiasgpuError(
        f"{path} could not be read: {_reason(error)}.",
        why="the operating system refused.",
        fix="check the path and its permissions.",
    )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
