"""Writing a results file: create it, append batches of fits, finish it."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from biasgpu.errors import BiasgpuError
from biasgpu.fits import Fits
from biasgpu.results.build import Source, write_slot
from biasgpu.results.checks import check_rows, check_totals
from biasgpu.results.columns import encode
from biasgpu.results.commits import REASON_BYTES, Commit, check_counters
from biasgpu.results.handle import Handle
from biasgpu.results.layout import Layout, write_all
from biasgpu.results.lock import WriterLock
from biasgpu.results.paths import beside, cannot_write, make_folder, real, refuse_existing
from biasgpu.results.reader import load
from biasgpu.task import Task


class Store:
    """A results file open for writing; made by `Store.create` or `Store.reopen`.

    Not for use from several threads at once. Use it as a context manager, or call `close`.
    """

    def __init__(
        self, handle: Handle, commit: Commit, last_index: int, *, sync: bool, stale: bool = False
    ) -> None:
        """For `create` and `reopen` alone."""
        self._handle = handle
        self._commit = commit
        self._last_index = last_index
        self._sync = sync
        self._stale = stale

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: dict[str, Any],
        task: Task,
        *,
        provenance: dict[str, Any],
        overwrite: bool = False,
        keep_predictions: bool,
        optional: Mapping[str, tuple[int, ...]] | None = None,
        sync: bool = True,
    ) -> Store:
        """Make a new results file, whole from its first moment.

        Args:
            path: where; missing folders are made.
            config: the experiment, which decides what may be appended later (JSON-able).
            task: kept in the file in full.
            provenance: see `biasgpu.results.provenance` (JSON-able).
            overwrite: replace an existing file, which is kept as `<path>.bak`.
            keep_predictions: keep the predicted class of every test sample with every row.
            optional: the shape of a row of each optional column (`biasgpu.fits.OPTIONAL`).
            sync: have each batch on the disk before it is committed, so that commits outlast a
                power cut and not only the process.

        Raises:
            RefusedError: `path` exists, or another process is writing it.
            ResourceError: the disk is full.
            BiasgpuError: the folder cannot be written.
            UsageError: config or provenance is not JSON-able, or the task is too large.
        """
        shown = Path(path)
        layout = Layout(config, provenance, task, keep_predictions, dict(optional or {}))
        target = real(shown)
        if target.is_dir() or (os.path.lexists(target) and not overwrite):
            raise refuse_existing(shown)
        make_folder(target.parent)
        commit = Commit(
            serial=0,
            n_rows=0,
            next_draw=0,
            elapsed_s=0.0,
            prefix_counts=np.zeros(task.n_train + 1, np.int64),
            column_crc32=(0,) * len(layout.columns),
        )
        handle = Handle(shown, layout, WriterLock(target, shown))
        try:
            handle.create(commit, overwrite=overwrite)
        except BaseException:
            handle.close()
            raise
        return cls(handle, commit, -1, sync=sync)

    @classmethod
    def reopen(
        cls,
        path: str | os.PathLike[str],
        *,
        provenance: dict[str, Any] | None = None,
        sync: bool = True,
    ) -> Store:
        """Open a results file to go on with it, after checking all of it.

        Args:
            path: the file.
            provenance: of this session; added to the list `resumed` of the file's provenance the
                next time that the file is laid out anew (when it grows or is finished).
            sync: see `create`.

        Raises:
            RefusedError: another process is writing it.
            DamagedFileError: damaged or foreign.
            BiasgpuError: it cannot be read or written.
        """
        shown = Path(path)
        target = real(shown)
        if not target.is_file():
            load(shown)  # raises, with the reason
        lock = WriterLock(target, shown)
        try:
            stored, regions = load(shown)
            history = dict(stored.provenance)
            if provenance is not None:
                history["resumed"] = [*history.get("resumed", []), provenance]
            layout = Layout(
                stored.config, history, stored.task, stored.keep_predictions, stored.fits.optional
            )
            try:
                file = cast(BinaryIO, open(target, "r+b", buffering=0))  # noqa: SIM115
            except OSError as error:
                raise cannot_write(shown, error) from error
            with contextlib.suppress(OSError):  # left by a process that was killed
                beside(target, ".tmp").unlink()
        except BaseException:
            lock.release()
            raise
        handle = Handle(shown, layout, lock, Source(file, regions))
        last_index = int(stored.fits.index[-1]) if len(stored.fits) else -1
        return cls(handle, stored.commit, last_index, sync=sync, stale=provenance is not None)

    @property
    def path(self) -> Path:
        """The file, as it was named."""
        return self._handle.path

    @property
    def optional(self) -> Mapping[str, tuple[int, ...]]:
        """The optional columns, and the shape of a row of each."""
        return self._handle.layout.optional

    @property
    def n_rows(self) -> int:
        """Rows committed so far."""
        return self._commit.n_rows

    @property
    def next_draw(self) -> int:
        """The first draw that is not decided yet."""
        return self._commit.next_draw

    @property
    def prefix_counts(self) -> npt.NDArray[np.int64]:
        """int64 `(n_train + 1,)`: the committed totals."""
        return self._commit.prefix_counts.copy()

    @property
    def elapsed_s(self) -> float:
        """Seconds of work committed so far."""
        return self._commit.elapsed_s

    @property
    def counters(self) -> dict[str, int]:
        """The further totals committed so far."""
        return dict(self._commit.counters)

    @property
    def complete(self) -> bool:
        """Whether the run was finished."""
        return self._commit.complete

    def append(
        self,
        fits: Fits,
        *,
        next_draw: int,
        prefix_counts: npt.NDArray[np.int64],
        elapsed_s: float,
        counters: Mapping[str, int] | None = None,
    ) -> None:
        """Add a batch and commit it: after this returns it is kept, before it is not.

        Args:
            fits: the rows, with indices above all earlier ones; may be empty.
            next_draw: the first draw not decided yet, in total.
            prefix_counts: int64 `(n_train + 1,)`, totals (not this batch's).
            elapsed_s: seconds, in total.
            counters: further totals by name.

        Raises:
            UsageError: rows or totals that do not continue the file.
            ResourceError: the disk is full; the file stays as it was and `append` may be repeated.
            BiasgpuError: the file was moved, or cannot be written.
        """
        source, layout = self._handle.writable(), self._handle.layout
        check_rows(fits, layout, self._last_index)
        commit = replace(
            self._commit,
            serial=self._commit.serial + 1,
            n_rows=self._commit.n_rows + len(fits),
            next_draw=int(next_draw),
            elapsed_s=float(elapsed_s),
            prefix_counts=np.array(prefix_counts, np.int64),
            counters=check_counters(counters or {}),
            complete=False,
            stop_reason="",
        )
        check_totals(commit, self._commit)
        if commit.n_rows > self._handle.capacity:
            source = self._handle.grow(commit.n_rows, self._commit)
        checksums = []
        try:
            for column, crc in zip(layout.columns, self._commit.column_crc32, strict=True):
                data = encode(fits, column, layout.task.n_classes)
                offset, _ = source.regions[f"/fits/{column.name}"]
                source.file.seek(offset + self._commit.n_rows * column.row_bytes)
                write_all(source.file, data)
                checksums.append(zlib.crc32(data, crc))
            # Rows must reach the disk before the record that vouches for them.
            if self._sync and len(fits):
                os.fsync(source.file.fileno())
            commit = replace(commit, column_crc32=tuple(checksums))
            write_slot(source.file, source.regions, layout, commit)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._commit = commit
        if len(fits):
            self._last_index = int(fits.index[-1])

    def finish(self, reason: str, *, complete: bool = True) -> None:
        """Commit why the run ended, and cut the file to its rows where space allows.

        Args:
            reason: short; at most 256 bytes are kept.
            complete: False for a run that was cut short and should be resumed.
        """
        source, layout = self._handle.writable(), self._handle.layout
        # Cut at 256 bytes, not in the middle of a character.
        text = reason.encode()[:REASON_BYTES].decode("utf-8", "ignore")
        commit = replace(
            self._commit, serial=self._commit.serial + 1, complete=complete, stop_reason=text
        )
        if self._stale or self._handle.capacity != commit.n_rows:
            try:
                self._handle.lay_out(commit.n_rows, commit)
                self._commit, self._stale = commit, False
                return
            except BiasgpuError:
                pass  # no space for a second copy: the slack stays, the results are the same
        try:
            write_slot(source.file, source.regions, layout, commit)
            os.fsync(source.file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._commit = commit

    def close(self) -> None:
        """Close the file and let others write it; harmless when repeated."""
        self._handle.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
