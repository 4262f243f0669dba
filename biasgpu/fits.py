"""Fits as columns: one row a candidate that was kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError


@dataclass(frozen=True, eq=False)
class Fits:
    """Candidates that were kept, one row each, in order of their index.

    Args:
        index: uint64 `(n,)`, the candidate's name under the run's seed.
        prefix: int64 `(n,)`, how many of the first training samples it classifies before its first
            error; a row with `prefix == n_train` is a fit of the whole task.
        margin: float64 `(n,)`, the least (correct logit - best other logit) over those samples.
        test_accuracy: float64 `(n,)`, in [0, 1]; NaN where the test set is empty.
        test_accuracy_per_class: float64 `(n, K)`; NaN for a class without test samples.
        test_predictions: uint8 `(n, n_test)`, or None where they were not asked for.

    Raises:
        UsageError: columns whose types or shapes do not fit together.
    """

    index: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]
    test_accuracy: npt.NDArray[np.float64]
    test_accuracy_per_class: npt.NDArray[np.float64]
    test_predictions: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        rows = len(np.atleast_1d(np.asarray(self.index)))
        for name, dtype, ndim in _COLUMNS:
            value = getattr(self, name)
            if value is None and name == "test_predictions":
                continue
            array = _column(value, name, np.dtype(dtype), ndim)
            if len(array) != rows:
                raise UsageError(
                    f"fits: {name} has {len(array)} rows, index has {rows}.",
                    why="each column has one entry a row.",
                    fix="give columns of equal length.",
                )
            object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, n_classes: int, n_test: int, predictions: bool) -> Fits:
        """No fits, with columns for `n_classes` classes and `n_test` test samples."""
        return cls(
            index=np.zeros(0, np.uint64),
            prefix=np.zeros(0, np.int64),
            margin=np.zeros(0),
            test_accuracy=np.zeros(0),
            test_accuracy_per_class=np.zeros((0, n_classes)),
            test_predictions=np.zeros((0, n_test), np.uint8) if predictions else None,
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Fits]) -> Fits:
        """One after the other, in the order given; at least one part is needed.

        Raises:
            UsageError: no parts, or parts that differ in classes, test samples or predictions.
        """
        parts = list(parts)
        if not parts:
            raise UsageError(
                "fits: nothing to concatenate.",
                why="the columns of no rows at all have no shape.",
                fix="start from Fits.empty(...).",
            )
        if len({part._row_shape for part in parts}) > 1:
            raise UsageError(
                "fits: the parts differ in the number of classes or test samples, or only some "
                "hold predictions.",
                why="rows of one run are alike.",
                fix="concatenate rows of one run only.",
            )
        columns: dict[str, Any] = {}
        for name, _, _ in _COLUMNS:
            arrays = [getattr(part, name) for part in parts]
            columns[name] = None if arrays[0] is None else np.concatenate(arrays)
        return cls(**columns)

    def take(self, rows: npt.NDArray[Any] | slice) -> Fits:
        """The rows that a mask, positions or a slice name.

        Args:
            rows: bool `(n,)`, whole numbers `(m,)`, or a slice.
        """
        columns: dict[str, Any] = {}
        for name, _, _ in _COLUMNS:
            array = getattr(self, name)
            columns[name] = None if array is None else array[rows]
        return Fits(**columns)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return self.test_accuracy_per_class.shape[1]

    @property
    def _row_shape(self) -> tuple[int, int | None]:
        predictions = self.test_predictions
        return self.n_classes, None if predictions is None else predictions.shape[1]


_COLUMNS: tuple[tuple[str, type, int], ...] = (
    ("index", np.uint64, 1),
    ("prefix", np.int64, 1),
    ("margin", np.float64, 1),
    ("test_accuracy", np.float64, 1),
    ("test_accuracy_per_class", np.float64, 2),
    ("test_predictions", np.uint8, 2),
)


def _column(value: Any, name: str, dtype: np.dtype[Any], ndim: int) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if array.ndim != ndim:
        raise UsageError(
            f"fits: {name} has shape {array.shape}; it must have {ndim} axes.",
            why="each column has one entry a row; per class or test sample it has two axes.",
            fix=f"give {name} with a first axis of rows, as Fits.empty(...) has it.",
        )
    if array.dtype == dtype:
        return array
    numbers = "fiu" if dtype.kind == "f" else "iu"
    if array.dtype.kind not in numbers:
        raise UsageError(
            f"fits: {name} has dtype {array.dtype}; it must be {dtype}.",
            why="columns are kept in the file with that type.",
            fix=f"convert it: {name}.astype({dtype.name!r}).",
        )
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise UsageError(
                f"fits: {name} runs from {array.min()} to {array.max()}.",
                why=f"it is kept as {dtype}, {limits.min} to {limits.max}.",
                fix=f"check where {name} comes from; its values are out of range.",
            )
    return array.astype(dtype)
