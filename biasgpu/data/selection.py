"""Which samples of a data set a task trains on: balanced, alternating, nested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.errors import UsageError

Indices = npt.NDArray[np.int64]


def class_orders(labels: npt.ArrayLike, classes: Sequence[int], data_seed: int) -> list[Indices]:
    """For each class, the places of its samples, shuffled by the data seed.

    The order of a class depends on the seed, the class and how many samples it has, and on nothing
    else: not on the other classes of the task.

    Args:
        labels: `(n,)`.
        classes: official class numbers.
        data_seed: 64-bit seed.

    Returns:
        One int64 array of places in `labels` a class.
    """
    orders = []
    for number in classes:
        places = np.flatnonzero(np.asarray(labels) == number)
        shuffled = rng.permutation(data_seed, number, len(places), stream=rng.STREAM_SELECTION)
        orders.append(places[shuffled])
    return orders


def take(orders: Sequence[Indices], n_train: int, n_validation: int = 0) -> Indices:
    """The training samples: past the validation samples, one of each class in turn.

    Args:
        orders: the places of each class's samples, in the order in which they are to be used.
        n_train: training samples in all, a multiple of the number of classes.
        n_validation: samples a class that are set aside first.

    Returns:
        int64 `(n_train,)`; for a smaller `n_train`, the beginning of the same.
    """
    per_class = n_train // len(orders)
    columns = [order[n_validation : n_validation + per_class] for order in orders]
    return np.stack(columns, axis=1).reshape(-1)


def check_n_train(
    n_train: object,
    available: Sequence[int],
    class_names: Sequence[str],
    *,
    n_validation: int = 0,
) -> int:
    """Refuse a number of training samples that cannot be had in equal parts.

    Args:
        n_train: what the user asked for.
        available: samples of each class, with those for validation.
        class_names: the names of these classes.
        n_validation: samples a class that are set aside.

    Returns:
        `n_train` as an int.

    Raises:
        UsageError: not a positive multiple of the number of classes, or more than there are.
    """
    n_classes = len(available)
    if isinstance(n_train, bool) or not isinstance(n_train, (int, np.integer)):
        raise UsageError(
            f"n_train is {n_train!r}; it must be a whole number.",
            why="samples are counted.",
            fix="for example n_train=16 (--n-train 16).",
        )
    n_train = int(n_train)
    fewest = min(available)
    largest = max(0, n_classes * (fewest - n_validation))
    if n_train < 1 or n_train % n_classes:
        below = n_train // n_classes * n_classes
        near = [n for n in (below, below + n_classes) if 0 < n <= largest] or [n_classes]
        kind = "an even number" if n_classes == 2 else f"a multiple of {n_classes}"
        raise UsageError(
            f"n_train is {n_train}; it must be {kind}, {n_classes} or more.",
            why=f"the {n_classes} classes have equally many training samples.",
            fix=f"use n_train={' or '.join(map(str, near))} (--n-train {near[-1]}).",
        )
    if n_train > largest:
        set_aside = f", {n_validation} of them set aside for validation" if n_validation else ""
        scarce = class_names[list(available).index(fewest)]
        raise UsageError(
            f"n_train is {n_train}; the largest possible here is {largest}.",
            why=f"class {scarce!r} has {fewest} samples{set_aside}.",
            fix=f"use n_train={largest} (--n-train {largest}) or less, or a larger data set."
            if largest
            else "use a larger data set, or set fewer samples aside.",
        )
    return n_train
