"""A task: training samples in a fixed order, a test set, and how both were chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.errors import ImpossibleTaskError, UsageError
from biasgpu.layers import Shape

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Task:
    """A training set of N labelled inputs and its test set.

    The training samples are in a fixed order with the classes alternating, so that the first N form
    a balanced task for every N that the number of classes divides.

    Args:
        name: the data set's name, or the user's.
        x_train: float32 `(n_train, *shape)`, normalised as the network sees it.
        y_train: int64 `(n_train,)`, labels 0 to K - 1.
        x_test: float32 `(n_test, *shape)`.
        y_test: int64 `(n_test,)`.
        class_names: what the labels stand for.
        config: the arguments from which `biasgpu.task` makes this task again (JSON-able).
        sources: where the data came from: file names, checksums, licence (JSON-able).

    Raises:
        UsageError: shapes, types or labels that do not fit together, or values that are not finite.
        ImpossibleTaskError: the same training input under two labels.
    """

    name: str
    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[np.int64]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, inputs, labels in (
            ("training", "x_train", "y_train"),
            ("test", "x_test", "y_test"),
        ):
            x = as_inputs(getattr(self, inputs), f"{part} inputs ({inputs})")
            y = _as_labels(getattr(self, labels), f"{part} labels ({labels})")
            if len(x) != len(y):
                raise UsageError(
                    f"{len(x)} {part} inputs but {len(y)} {part} labels.",
                    why="there is one label for each input.",
                    fix="give arrays of equal length: one row an input, one label a row.",
                )
            if len(y) and not 0 <= int(y.min()) <= int(y.max()) < len(self.class_names):
                raise UsageError(
                    f"{part} labels run from {y.min()} to {y.max()}.",
                    why=f"with {len(self.class_names)} classes, labels are 0 to "
                    f"{len(self.class_names) - 1}.",
                    fix="number the labels from 0 on, or name the classes: "
                    "biasgpu.task_from_arrays(..., class_names=...).",
                )
            object.__setattr__(self, inputs, x)
            object.__setattr__(self, labels, y)
        if len(self.class_names) < 2:
            raise UsageError(
                "a task needs at least two classes.",
                why="with one class there is nothing to tell apart.",
                fix="give two class names or more.",
            )
        if not len(self.x_train):
            raise UsageError(
                "the task has no training samples.",
                why="a fit is a network that classifies all of them.",
                fix="give one training sample of each class at least.",
            )
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise UsageError(
                f"training inputs have shape {self.x_train.shape[1:]}, "
                f"test inputs {self.x_test.shape[1:]}.",
                why="one network takes both.",
                fix="give inputs of one shape.",
            )
        check_possible(self.x_train, self.y_train)

    @property
    def n_train(self) -> int:
        """The number of training samples."""
        return len(self.y_train)

    @property
    def n_test(self) -> int:
        """The number of test samples."""
        return len(self.y_test)

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return len(self.class_names)

    @property
    def shape(self) -> Shape:
        """The shape of one input: `(channels, height, width)` or `(features,)`."""
        return self.x_train.shape[1:]

    def first(self, n_train: int) -> Task:
        """The same task with its first `n_train` training samples only."""
        if n_train == self.n_train:
            return self
        config = {**self.config, "n_train": n_train} if "n_train" in self.config else self.config
        x, y = self.x_train[:n_train], self.y_train[:n_train]
        return replace(self, x_train=x, y_train=y, config=config)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 (hex) over the arrays, with their shapes: equal data, equal checksum."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{little.dtype.str}{little.shape}".encode())
            digest.update(little.tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        classes = " vs ".join(self.class_names)
        return f"Task({self.name} {classes}, n_train={self.n_train}, n_test={self.n_test})"


def check_possible(
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    rows: Rows | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse a training set that holds one input under two labels.

    Args:
        x: `(N, ...)` inputs.
        y: `(N,)` labels.
        rows: what to call each sample; its place if None.
        class_names: what to call each label; its number if None.

    Raises:
        ImpossibleTaskError: names the two samples.
    """
    seen: dict[bytes, int] = {}
    for position, row in enumerate(x.reshape(len(x), -1)):
        # + 0.0 turns -0.0 into 0.0: equal inputs, equal bytes.
        first = seen.setdefault((row + np.float32(0)).tobytes(), position)
        if y[first] != y[position]:
            one, other = (
                (int(place if rows is None else rows[place]), int(y[place]))
                for place in (first, position)
            )
            names = range(int(y.max()) + 1) if class_names is None else class_names
            raise ImpossibleTaskError(
                f"no network can fit this task: training samples {one[0]} and {other[0]} are the "
                f"same input with the labels {names[one[1]]} and {names[other[1]]}.",
                why="a network gives one input one label.",
                fix=f"remove one of them, or use n_train <= {position} (--n-train).",
            )


def as_inputs(values: Any, what: str, rows: Rows | None = None) -> npt.NDArray[np.float32]:
    """Inputs as a network takes them.

    Args:
        values: `(n, ...)` numbers.
        what: what to call them in errors.
        rows: what to call each sample there; its place if None.

    Raises:
        UsageError: no numbers, no features, or a value that is infinite or not a number.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise UsageError(
            f"{what} have dtype {array.dtype}; they must be numbers.",
            why="a network computes with them.",
            fix="convert them: x.astype('float32').",
        )
    if array.ndim < 2:
        raise UsageError(
            f"{what} have shape {array.shape}; the first axis counts samples, and each sample has "
            "at least one axis.",
            why="a network takes one array a sample.",
            fix="for scalar inputs use x.reshape(-1, 1).",
        )
    if array[:1].size == 0 and len(array):
        raise UsageError(
            f"{what} have shape {array.shape}: no features.",
            why="a network has nothing to tell such samples apart by.",
            fix="give at least one number a sample.",
        )
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(result).all(axis=tuple(range(1, result.ndim)))
    if bad.any():
        first = int(np.argmax(bad))
        raise UsageError(
            f"{what}: sample {first if rows is None else rows[first]} holds a value that is "
            f"infinite or not a number ({int(bad.sum())} such samples).",
            why="a network computes nothing from it.",
            fix="remove or repair these samples.",
        )
    return result


def _as_labels(values: Any, what: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise UsageError(
            f"{what} have shape {array.shape}; they must be one whole number a sample.",
            why="a label is the number of a sample's class.",
            fix="give an array of shape (n,).",
        )
    labels = array.astype(np.int64) if array.dtype.kind in "iub" else None
    if labels is None and array.dtype.kind == "f" and np.isfinite(array).all():
        labels = array.astype(np.int64)
    if labels is None or not np.array_equal(labels, array):
        raise UsageError(
            f"{what} are of dtype {array.dtype}; they must be whole numbers.",
            why="a label is the number of a sample's class.",
            fix="convert them, or name the classes: "
            "biasgpu.task_from_arrays(..., class_names=...).",
        )
    return labels
