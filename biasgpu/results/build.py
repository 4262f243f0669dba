"""Making a whole results file under a temporary name, with the rows of an earlier one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from biasgpu.results.commits import N_SLOTS, Commit, encode_commit
from biasgpu.results.header import make_header
from biasgpu.results.layout import SLOTS, Layout, write_all, write_layout

_BLOCK = 1 << 20
_NO_SUPPORT = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}


@dataclass(frozen=True)
class Source:
    """A results file that is open for writing.

    Args:
        file: unbuffered.
        regions: dataset name to `(offset, length)` in bytes.
    """

    file: BinaryIO
    regions: dict[str, tuple[int, int]]

    def capacity(self, layout: Layout) -> int:
        """The rows that there is space for."""
        first = layout.columns[0]
        return self.regions[f"/fits/{first.name}"][1] // first.row_bytes


def build_file(
    temporary: Path, layout: Layout, capacity: int, commit: Commit, source: Source | None
) -> Source:
    """Write a complete file with one commit; every byte of it is allocated and on the disk.

    Args:
        temporary: where; replaced if it is there, removed again on failure.
        layout: the structure.
        capacity: rows to set space aside for, at least `commit.n_rows`.
        commit: what the file then says.
        source: the file that holds the committed rows, None if there are none.

    Returns:
        the new file, open.

    Raises:
        OSError: the file system failed.
    """
    file = cast(BinaryIO, open(temporary, "w+b", buffering=0))  # noqa: SIM115
    try:
        regions = write_layout(file, layout, capacity)
        size = file.seek(0, os.SEEK_END)
        if source is not None:
            for column in layout.columns:
                name = f"/fits/{column.name}"
                length = commit.n_rows * column.row_bytes
                _copy(source.file, source.regions[name][0], file, regions[name][0], length)
        # Space is claimed now, so that later commits need none and cannot run out of it.
        _allocate(file, size)
        write_slot(file, regions, layout, commit)
        header = make_header(file, size, regions, layout.version)
        file.seek(0)
        write_all(file, header.encode())
        if source is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(source.file.fileno()).st_mode))
        os.fsync(file.fileno())
    except BaseException:
        file.close()
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return Source(file, regions)


def write_slot(
    file: BinaryIO, regions: dict[str, tuple[int, int]], layout: Layout, commit: Commit
) -> None:
    """Write a commit into the slot whose turn it is."""
    record = encode_commit(commit, layout.slot_dtype)
    file.seek(regions[SLOTS][0] + commit.serial % N_SLOTS * len(record))
    write_all(file, record)


def _copy(source: BinaryIO, start: int, target: BinaryIO, offset: int, length: int) -> None:
    done = 0
    while done < length:
        source.seek(start + done)
        block = source.read(min(_BLOCK, length - done))
        if not block:
            raise OSError(errno.EIO, "the file became shorter while it was being written")
        target.seek(offset + done)
        write_all(target, block)
        done += len(block)


def _allocate(file: BinaryIO, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _NO_SUPPORT:
                raise
