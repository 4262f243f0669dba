"""The columns of a results file, and rows to bytes and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.fits import OPTIONAL, Fits

MAX_TRAIN = int(np.iinfo(np.uint16).max)
MAX_CLASSES = 256


@dataclass(frozen=True)
class Column:
    """One dataset under `/fits`.

    Args:
        name: its name there, which is the column's name in `Fits`.
        dtype: as stored, little-endian.
        row_shape: the shape of one row.
        units: for the reader.
        description: for the reader.
        labels: one for each axis, the first is the row.
    """

    name: str
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    units: str
    description: str
    labels: tuple[str, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes in one row."""
        return int(np.prod(self.row_shape, dtype=np.int64)) * self.dtype.itemsize


def columns_of(
    n_classes: int, n_test: int, keep_predictions: bool, optional: Mapping[str, tuple[int, ...]]
) -> tuple[Column, ...]:
    """The columns of a run, in the order of their checksums in a commit.

    Args:
        n_classes, n_test: of the task.
        keep_predictions: with the column `test_predictions`.
        optional: the shape of a row of each further column (`biasgpu.fits.OPTIONAL`).
    """
    columns = (
        Column(
            "index",
            np.dtype("<u8"),
            (),
            "1",
            "the candidate's index under the run's seed; strictly increasing",
            ("row",),
        ),
        Column(
            "prefix",
            np.dtype("<u2"),
            (),
            "training samples",
            "how many of the first training samples are classified before the first error",
            ("row",),
        ),
        Column(
            "margin",
            np.dtype("<f8"),
            (),
            "logit",
            "the least (correct logit - best other logit) over the samples of the prefix",
            ("row",),
        ),
        Column(
            "test_accuracy",
            np.dtype("<f8"),
            (),
            "1",
            "the fraction of test samples classified correctly; NaN without test samples",
            ("row",),
        ),
        Column(
            "test_accuracy_per_class",
            np.dtype("<f8"),
            (n_classes,),
            "1",
            "the same over the test samples of each class; NaN for a class without any",
            ("row", "class"),
        ),
    )
    more = tuple(_optional(name, optional[name]) for name in OPTIONAL if name in optional)
    if not keep_predictions:
        return (*columns, *more)
    packed = n_classes == 2
    predictions = Column(
        "test_predictions",
        np.dtype("|u1"),
        ((n_test + 7) // 8 if packed else n_test,),
        "8 test samples, one bit each" if packed else "class",
        "the predicted class of each test sample"
        + (": 8 to a byte, the first in the highest bit, the last byte filled up with 0" * packed),
        ("row", "test_byte" if packed else "test_sample"),
    )
    return (*columns, predictions, *more)


def _optional(name: str, row_shape: tuple[int, ...]) -> Column:
    about = OPTIONAL[name]
    dtype = about.dtype.newbyteorder("<")
    return Column(name, dtype, row_shape, about.units, about.description, ("row", *about.labels))


def encode(fits: Fits, column: Column, n_classes: int) -> bytes:
    """The rows of one column as they lie in the file."""
    values = getattr(fits, column.name)
    if column.name == "test_predictions" and n_classes == 2:
        values = np.packbits(values, axis=1)
    return np.ascontiguousarray(values, dtype=column.dtype).tobytes()


def decode(data: bytes, column: Column, rows: int, n_classes: int, n_test: int) -> npt.NDArray[Any]:
    """The rows of one column as they are in `Fits`."""
    values = np.frombuffer(data, column.dtype).reshape(rows, *column.row_shape)
    if column.name == "test_predictions":
        return np.unpackbits(values, axis=1, count=n_test) if n_classes == 2 else values.copy()
    return values.astype(np.int64 if column.name == "prefix" else column.dtype.newbyteorder("="))
