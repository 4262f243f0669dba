"""Fits as columns: one row a network that was kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError
from biasgpu.optional import OptionalColumn, about


@dataclass(frozen=True, eq=False)
class Fits:
    """Networks that were kept, one row each, in order of their index.

    The columns behind `test_predictions` are there only where they were asked for; this is the one
    place that declares them.

    Args:
        index: uint64 `(n,)`, the candidate's name under the run's seed.
        prefix: int64 `(n,)`, how many of the first training samples it classifies before its first
            error; a row with `prefix == n_train` is a fit of the whole task.
        margin: float64 `(n,)`, the least (correct logit - best other logit) over those samples.
        test_accuracy: float64 `(n,)`, in [0, 1]; NaN where the test set is empty.
        test_accuracy_per_class: float64 `(n, K)`; NaN for a class without test samples.
        test_predictions: uint8 `(n, n_test)`, or None where they were not asked for.
        train_logits: float64 `(n, n_train, K)`, by class; (0, z) for a one-logit head.
        lipschitz: float64 `(n,)`: the largest norm, over the test set, of the gradient of
            (logit 1 - logit 0) by the input.
        frobenius, spectral: float64 `(n, layers with weights)`: norms of the weights, a
            convolution's as a matrix with a row a unit.
        gradient_norm: float64 `(n, epochs + 1)` of trained networks; NaN after one stopped.
        weights: float32 `(n, kept epochs, parameters)` of trained networks.
        epochs: int64 `(n,)`: how many epochs each was trained.

    Raises:
        UsageError: columns whose types or shapes do not fit together.
    """

    index: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]
    test_accuracy: npt.NDArray[np.float64]
    test_accuracy_per_class: npt.NDArray[np.float64]
    test_predictions: npt.NDArray[np.uint8] | None = None
    train_logits: npt.NDArray[np.float64] | None = field(
        default=None,
        metadata=about(
            np.float64,
            ("train_sample", "class"),
            "logit",
            "the logits of every training sample, by class; (0, z) for a one-logit head",
        ),
    )
    lipschitz: npt.NDArray[np.float64] | None = field(
        default=None,
        metadata=about(
            np.float64,
            (),
            "logit per unit of input",
            "the largest Euclidean norm, over the test set, of the gradient of (logit 1 - logit "
            "0) by the input; NaN without test samples",
            least=0.0,
            gaps=True,
        ),
    )
    frobenius: npt.NDArray[np.float64] | None = field(
        default=None,
        metadata=about(
            np.float64,
            ("layer",),
            "1",
            "the Frobenius norm of each layer's weights",
            least=0.0,
        ),
    )
    spectral: npt.NDArray[np.float64] | None = field(
        default=None,
        metadata=about(
            np.float64,
            ("layer",),
            "1",
            "the largest singular value of each layer's weights, one row a unit",
            least=0.0,
        ),
    )
    gradient_norm: npt.NDArray[np.float64] | None = field(
        default=None,
        metadata=about(
            np.float64,
            ("epoch",),
            "loss",
            "the Euclidean norm, over all parameters, of the gradient of the mean training loss, "
            "at the initialisation and after each epoch; NaN after training stopped",
            least=0.0,
            gaps=True,
        ),
    )
    weights: npt.NDArray[np.float32] | None = field(
        default=None,
        metadata=about(
            np.float32,
            ("kept_epoch", "parameter"),
            "1",
            "all parameters after each kept epoch: layer after layer the weights, then the biases",
        ),
    )
    epochs: npt.NDArray[np.int64] | None = field(
        default=None,
        metadata=about(np.int64, (), "epoch", "how many epochs the network was trained", least=0.0),
    )

    def __post_init__(self) -> None:
        rows = len(np.atleast_1d(np.asarray(self.index)))
        for name, dtype, ndim in _COLUMNS:
            value = getattr(self, name)
            if value is None and name in _MAY_LACK:
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
    def empty(
        cls,
        n_classes: int,
        n_test: int,
        predictions: bool,
        optional: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Fits:
        """No fits, with columns for `n_classes` classes and `n_test` test samples.

        Args:
            n_classes, n_test: of the task.
            predictions: with the column `test_predictions`.
            optional: the shape of a row of each optional column that there is to be.
        """
        more: dict[str, Any] = {
            name: np.zeros((0, *shape), OPTIONAL[name].dtype)
            for name, shape in (optional or {}).items()
        }
        return cls(
            index=np.zeros(0, np.uint64),
            prefix=np.zeros(0, np.int64),
            margin=np.zeros(0),
            test_accuracy=np.zeros(0),
            test_accuracy_per_class=np.zeros((0, n_classes)),
            test_predictions=np.zeros((0, n_test), np.uint8) if predictions else None,
            **more,
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Fits]) -> Fits:
        """One after the other, in the order given; at least one part is needed.

        Raises:
            UsageError: no parts, or parts that differ in their columns or the shape of a row.
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
                "hold predictions or other optional columns.",
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
    def optional(self) -> dict[str, tuple[int, ...]]:
        """The optional columns that the rows have, and the shape of a row of each."""
        arrays = {name: getattr(self, name) for name in OPTIONAL}
        return {name: array.shape[1:] for name, array in arrays.items() if array is not None}

    def with_optional(self, names: Collection[str]) -> Fits:
        """The same rows without the optional columns that are not named."""
        left_out: dict[str, Any] = {name: None for name in OPTIONAL if name not in names}
        return replace(self, **left_out)

    @property
    def _row_shape(self) -> tuple[Any, ...]:
        predictions = self.test_predictions
        return (
            self.n_classes,
            None if predictions is None else predictions.shape[1],
            *self.optional.items(),
        )


OPTIONAL = {
    column.name: OptionalColumn(column.name, *column.metadata["about"])
    for column in fields(Fits)
    if "about" in column.metadata
}
_MAY_LACK = {"test_predictions", *OPTIONAL}
_COLUMNS: tuple[tuple[str, Any, int], ...] = (
    ("index", np.uint64, 1),
    ("prefix", np.int64, 1),
    ("margin", np.float64, 1),
    ("test_accuracy", np.float64, 1),
    ("test_accuracy_per_class", np.float64, 2),
    ("test_predictions", np.uint8, 2),
    *((name, column.dtype, 1 + len(column.labels)) for name, column in OPTIONAL.items()),
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
