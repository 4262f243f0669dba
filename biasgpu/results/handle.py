"""The results file on the disk: found where it was left, laid out anew when it grows."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from biasgpu.errors import BiasgpuError
from biasgpu.results.build import Source, build_file
from biasgpu.results.commits import Commit
from biasgpu.results.layout import Layout
from biasgpu.results.lock import WriterLock
from biasgpu.results.paths import (
    beside,
    cannot_write,
    keep_backup,
    publish,
    real,
    sync_folder,
)

_FIRST_BYTES = 1 << 18
_FIRST_ROWS = (16, 4096)


class Handle:
    """The writer's hold on a results file: its lock, its open file and its structure.

    Args:
        path: the file, as the user named it.
        layout: its structure, which also the next file has that is laid out.
        lock: held until `close`.
        source: the open file, None before the first `lay_out`.
    """

    def __init__(
        self, path: Path, layout: Layout, lock: WriterLock, source: Source | None = None
    ) -> None:
        self.path = path
        self.layout = layout
        self._real = real(path)
        self._lock = lock
        self._source = source

    @property
    def capacity(self) -> int:
        """The rows that there is space for."""
        return 0 if self._source is None else self._source.capacity(self.layout)

    def writable(self) -> Source:
        """The open file, if it still is what its name leads to.

        Raises:
            BiasgpuError: closed, moved, deleted or replaced.
        """
        if self._source is None:
            raise BiasgpuError(
                f"{self.path} is closed.",
                why="it was closed, and others may write it now.",
                fix="Store.reopen(path) opens it again.",
            )
        mine = os.fstat(self._source.file.fileno())
        try:
            named = self._real.stat()
        except OSError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino):
            raise BiasgpuError(
                f"{self.path} was moved, deleted or replaced while it was being written.",
                why="what is found now would go to a file without a name.",
                fix="put it back and go on with --resume, and leave it in place while a run lasts.",
            )
        return self._source

    def create(self, commit: Commit, *, overwrite: bool) -> None:
        """Make the file with space for its first rows.

        Raises:
            RefusedError: it exists, and `overwrite` is False.
            BiasgpuError: it cannot be written.
        """
        low, high = _FIRST_ROWS
        capacity = min(high, max(low, _FIRST_BYTES // self.layout.row_bytes))
        self.lay_out(capacity, commit, overwrite=overwrite)

    def grow(self, n_rows: int, commit: Commit) -> Source:
        """Make space for `n_rows` rows, and for half as many again where the disk allows.

        Raises:
            BiasgpuError: it cannot be written; the file stays as it was.
        """
        roomy = max(n_rows, self.capacity * 3 // 2, _FIRST_ROWS[0])
        try:
            return self.lay_out(roomy, commit)
        except BiasgpuError:
            if roomy == n_rows:
                raise
            return self.lay_out(n_rows, commit)

    def lay_out(self, capacity: int, commit: Commit, *, overwrite: bool | None = None) -> Source:
        """Write the file anew beside itself and move it into place.

        Args:
            capacity: rows to set space aside for.
            commit: what the new file says.
            overwrite: None to replace the file that this handle holds; otherwise the file is new,
                and one that is there is backed up (True) or left alone (False).

        Raises:
            RefusedError: it exists, and `overwrite` is False.
            BiasgpuError: it cannot be written; the file stays as it was.
        """
        old = self._source
        temporary = beside(self._real, ".tmp")
        try:
            new = build_file(temporary, self.layout, capacity, commit, old)
            try:
                if overwrite is False:
                    publish(temporary, self._real)
                else:
                    if overwrite and os.path.lexists(self._real):
                        keep_backup(self._real)
                    os.replace(temporary, self._real)
            except BaseException:
                new.file.close()
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._source = new
        if old is not None:
            old.file.close()
        sync_folder(self._real.parent)
        return new

    def close(self) -> None:
        """Close the file and let others write it; harmless when repeated."""
        source, self._source = self._source, None
        if source is not None:
            source.file.close()
        self._lock.release()
