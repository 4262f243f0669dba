"""Reading a results file, every part of it checked, also while another process writes it."""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from biasgpu.errors import BiasgpuError, DamagedFileError
from biasgpu.fits import OPTIONAL, Fits
from biasgpu.results.columns import Column, decode
from biasgpu.results.commits import Commit, decode_commits
from biasgpu.results.header import damaged, read_header
from biasgpu.results.layout import SLOTS, Layout
from biasgpu.results.paths import cannot_read
from biasgpu.results.structure import read_layout
from biasgpu.task import Task

if TYPE_CHECKING:
    import h5py

_ATTEMPTS = 20
_PAUSE_S = 0.005
# What HDF5, NumPy and Task raise when a file is not what it claims to be.
_SIGNS_OF_DAMAGE = (
    ArithmeticError,
    AttributeError,
    BiasgpuError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, eq=False)
class Stored:
    """The content of a results file, up to its newest whole commit.

    Args:
        path: where it was read.
        config: the experiment.
        provenance: by what and where it was run.
        task: the task, from the file alone.
        keep_predictions: whether the rows have predictions.
        fits: the committed rows.
        commit: the totals.
        recovered: whether the newest commit did not survive (a power cut), so that this is the one
            before it.
    """

    path: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    task: Task
    keep_predictions: bool
    fits: Fits
    commit: Commit
    recovered: bool

    @property
    def next_draw(self) -> int:
        """The first draw that is not decided."""
        return self.commit.next_draw

    @property
    def prefix_counts(self) -> npt.NDArray[np.int64]:
        """int64 `(n_train + 1,)`: totals."""
        return self.commit.prefix_counts

    @property
    def elapsed_s(self) -> float:
        """Seconds of work over all sessions."""
        return self.commit.elapsed_s

    @property
    def counters(self) -> dict[str, int]:
        """Further totals by name."""
        return self.commit.counters

    @property
    def complete(self) -> bool:
        """Whether the run ended as it should."""
        return self.commit.complete

    @property
    def stop_reason(self) -> str:
        """Why it ended; "" while it goes on, or when it was killed."""
        return self.commit.stop_reason


def read(path: str | os.PathLike[str]) -> Stored:
    """Read a results file.

    Takes no lock: a run that is writing the file is not disturbed, and what it has committed is
    read.

    Args:
        path: the file.

    Raises:
        DamagedFileError: damaged, truncated, foreign, or of a newer format.
        UsageError: it is not there.
        BiasgpuError: it cannot be opened.
    """
    return load(Path(path))[0]


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The configuration in a results file; checks the file's structure, but not its rows.

    Raises:
        DamagedFileError, BiasgpuError: as `read`.
    """
    shown = Path(path)
    with _opened(shown) as file, _blamed(shown):
        read_header(file, shown)
        with _hdf5(file) as h5:
            return read_layout(h5, shown, None)[0].config


def load(path: Path) -> tuple[Stored, dict[str, tuple[int, int]]]:
    """As `read`, with the regions that commits write to."""
    with _opened(path) as file, _blamed(path):
        header = read_header(file, path)
        with _hdf5(file) as h5:
            layout, capacity = read_layout(h5, path, header.regions)
        commit, parts, recovered = _newest(file, path, layout, capacity, header.regions)
        fits = _to_fits(parts, layout, commit.n_rows)
        _check_fits(fits, layout, path)
    stored = Stored(
        path=path,
        config=layout.config,
        provenance=layout.provenance,
        task=layout.task,
        keep_predictions=layout.keep_predictions,
        fits=fits,
        commit=commit,
        recovered=recovered,
    )
    return stored, header.regions


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except IsADirectoryError as error:
        raise DamagedFileError(
            f"{path} is a folder, not a results file.",
            why="results are read from a file.",
            fix=f"name a file in it: {path / 'run.h5'}.",
        ) from error
    except OSError as error:
        raise cannot_read(path, error) from error
    with file:
        if not file.seekable():
            raise DamagedFileError(
                f"{path} is not an ordinary file.",
                why="results are read here and there in the file, which a pipe does not allow.",
                fix="name the results file itself.",
            )
        yield file


@contextlib.contextmanager
def _blamed(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedFileError:
        raise
    except _SIGNS_OF_DAMAGE as error:
        what = error.what if isinstance(error, BiasgpuError) else str(error) or repr(error)
        raise damaged(path, what.rstrip(".")) from error


@contextlib.contextmanager
def _hdf5(file: BinaryIO) -> Iterator[h5py.File]:
    import h5py

    # Through the file that is already open and checked: the name may lead to another one by now.
    with h5py.File(file, "r") as h5:
        yield h5


def _newest(
    file: BinaryIO,
    path: Path,
    layout: Layout,
    capacity: int,
    regions: dict[str, tuple[int, int]],
) -> tuple[Commit, list[bytes], bool]:
    """The newest commit that is whole, its rows, and whether a newer one was not."""
    for attempt in range(_ATTEMPTS):
        # A slot may be read in the very moment that it is written, hence the attempts.
        if attempt:
            time.sleep(_PAUSE_S)
        for rank, commit in enumerate(
            decode_commits(_read(file, *regions[SLOTS]), layout.slot_dtype)
        ):
            if commit.n_rows > capacity:
                continue
            parts = [
                _read(file, regions[f"/fits/{column.name}"][0], commit.n_rows * column.row_bytes)
                for column in layout.columns
            ]
            if tuple(zlib.crc32(part) for part in parts) == commit.column_crc32:
                return commit, parts, rank > 0
    raise damaged(path, "no commit in it is whole")


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _to_fits(parts: list[bytes], layout: Layout, rows: int) -> Fits:
    task = layout.task
    columns = {
        column.name: _decode(part, column, rows, task)
        for part, column in zip(parts, layout.columns, strict=True)
    }
    return Fits(**columns)


def _decode(part: bytes, column: Column, rows: int, task: Task) -> npt.NDArray[Any]:
    return decode(part, column, rows, task.n_classes, task.n_test)


def _check_fits(fits: Fits, layout: Layout, path: Path) -> None:
    task, predictions = layout.task, fits.test_predictions
    if (fits.index[1:] <= fits.index[:-1]).any():
        raise damaged(path, "its indices do not increase")
    if (fits.prefix > task.n_train).any():
        raise damaged(path, f"a prefix is longer than the {task.n_train} training samples")
    for values in (fits.test_accuracy, fits.test_accuracy_per_class):
        if ((values < 0) | (values > 1)).any():
            raise damaged(path, "a test accuracy lies outside 0 to 1")
    for name in fits.optional:
        problem = OPTIONAL[name].problem(getattr(fits, name))
        if problem:
            raise damaged(path, problem)
    if predictions is not None and predictions.size and predictions.max() >= task.n_classes:
        raise damaged(path, f"a prediction is not one of the {task.n_classes} classes")
