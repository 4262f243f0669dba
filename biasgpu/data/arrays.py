"""The user's own arrays: labels to class numbers, samples to the order of a task."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.errors import UsageError, suggestion

Labels = npt.NDArray[np.int64]

# An .npz that is named in the shell says there how its classes are called.
IN_FILE = "or an array class_names in the .npz file (--data mine.npz)"


def class_numbers(
    y_train: Any, y_test: Any, class_names: Sequence[Any] | None
) -> tuple[Labels, Labels, tuple[str, ...]]:
    """Labels as class numbers 0 to K - 1.

    Args:
        y_train: `(n,)` whole numbers 0 to K - 1, or values that `class_names` lists.
        y_test: the same.
        class_names: the K classes in the order of their numbers; None if labels are 0 to K - 1.

    Returns:
        int64 training and test labels, and the class names as strings.

    Raises:
        UsageError: labels that are neither, class names that repeat, fewer than two classes.
    """
    train = _flat(y_train, "y_train")
    test = _flat(y_test, "y_test")
    if class_names is None:
        n_classes = 1 + max((label for label in train if _is_whole(label)), default=-1)
        names = tuple(str(number) for number in range(int(n_classes)))
        lookup = {number: number for number in range(int(n_classes))}
        absent = [number for number in lookup if number not in set(train)]
        if absent or len(lookup) < 2 or not all(label in lookup for label in train):
            distinct = sorted(set(train), key=str)
            raise UsageError(
                f"the training labels are {_some(distinct)}; they must be 0 to K - 1, "
                "every one of them present, K at least 2.",
                why="without class_names, a label is the number of its class.",
                fix=f"name the classes: class_names=({_some(distinct)}), {IN_FILE}.",
            )
    else:
        values = class_names.tolist() if isinstance(class_names, np.ndarray) else list(class_names)
        names = tuple(str(value) for value in values)
        if len(set(names)) != len(names) or len(names) < 2:
            raise UsageError(
                f"class_names are {_some(names)}; they must be at least two different names.",
                why="each class is one label, and a task needs two of them.",
                fix=f"name every class once: class_names=('cat', 'dog'), {IN_FILE}.",
            )
        lookup = {value: number for number, value in enumerate(values)}
        # Labels are names if any is, else numbers: a misspelt name is not taken for a number.
        if not any(label in lookup for label in train):
            lookup = {number: number for number in range(len(values))}
    return _look_up(train, lookup, names, "y_train"), _look_up(test, lookup, names, "y_test"), names


def keep_classes(labels: Labels, classes: Sequence[int]) -> tuple[Labels, Labels]:
    """The places of the samples of these classes, and their labels 0, 1, ... in the order named."""
    table = np.full(max([*labels.tolist(), *classes]) + 1, -1, dtype=np.int64)
    table[list(classes)] = np.arange(len(classes))
    kept = np.flatnonzero(table[labels] >= 0)
    return kept, table[labels][kept]


def balanced_n_train(counts: Sequence[int], class_names: Sequence[str]) -> int:
    """All training samples, if the classes have equally many.

    Raises:
        UsageError: they do not; says the largest balanced `n_train`.
    """
    if min(counts) != max(counts):
        largest = len(counts) * min(counts)
        pairs = zip(class_names, counts, strict=True)
        listed = ", ".join(f"{name}: {count}" for name, count in pairs)
        raise UsageError(
            f"the classes have unequal numbers of training samples ({listed}).",
            why="in a task, classes alternate, so that its beginnings are balanced.",
            fix=f"use n_train={largest} (--n-train {largest}) or less; it is the largest balanced."
            if largest
            else "give training samples of every class.",
        )
    return sum(counts)


def orders(labels: Labels, n_classes: int, shuffle_seed: int | None) -> list[npt.NDArray[np.int64]]:
    """For each class the places of its samples, as they come or shuffled by the seed."""
    places = [np.flatnonzero(labels == number) for number in range(n_classes)]
    if shuffle_seed is None:
        return places
    stream = rng.STREAM_SELECTION
    return [
        place[rng.permutation(shuffle_seed, number, len(place), stream=stream)]
        for number, place in enumerate(places)
    ]


def _flat(labels: Any, what: str) -> list[Any]:
    array = np.asarray(labels)
    if array.ndim != 1:
        raise UsageError(
            f"{what} has shape {array.shape}; it must be one label a sample.",
            why="a label names the class of one sample.",
            fix=f"give an array of shape (n,): {what}.reshape(-1), or {what}.argmax(axis=1) where "
            "classes are one-hot.",
        )
    values = array.tolist()
    for value in values:
        if not isinstance(value, Hashable):
            raise UsageError(
                f"{what} holds {value!r}, which cannot be a label.",
                why="labels are compared and looked up, as numbers and texts can be.",
                fix="use whole numbers or texts as labels.",
            )
    return values


def _is_whole(label: Any) -> bool:
    return isinstance(label, (int, float)) and label >= 0 and label == int(label)


def _some(values: Sequence[Any], most: int = 10) -> str:
    shown = ", ".join(repr(value) for value in values[:most])
    return shown + (", ..." if len(values) > most else "")


def _look_up(labels: list[Any], lookup: dict[Any, int], names: Sequence[str], what: str) -> Labels:
    for place, label in enumerate(labels):
        if label not in lookup:
            raise UsageError(
                f"{what}[{place}] is {label!r}, which is none of the classes."
                f"{suggestion(str(label), names)}",
                why=f"the classes are {_some(names)}.",
                fix=f"add it to class_names ({IN_FILE}), or remove these samples.",
            )
    return np.array([lookup[label] for label in labels], dtype=np.int64)
