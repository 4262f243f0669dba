"""Tasks from the user's own data: arrays, PyTorch data sets, `.npz` files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biasgpu import rng
from biasgpu.data import arrays, npz, selection
from biasgpu.data.classes import ClassesLike, parse_classes
from biasgpu.data.files import checksums
from biasgpu.errors import UsageError
from biasgpu.task import Task, as_inputs, check_possible

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def task_from_arrays(
    x_train: Any,
    y_train: Any = None,
    x_test: Any = None,
    y_test: Any = None,
    *,
    name: str = "custom",
    class_names: Sequence[Any] | None = None,
    classes: ClassesLike = None,
    n_train: int | None = None,
    shuffle_seed: int | None = None,
) -> Task:
    """A task from your own arrays; values are taken as they are, without normalisation.

    Training samples are put in an order in which the classes alternate; within a class they stay in
    the order given.

    Args:
        x_train: `(n, ...)` numbers, or a mapping that holds all four arrays by name.
        y_train: `(n,)` labels: 0 to K - 1, or values that `class_names` lists.
        x_test: `(m, ...)`.
        y_test: `(m,)`.
        name: what to call the task.
        class_names: the classes in the order of their labels 0, 1, ...
        classes: use only these of them, in this order.
        n_train: training samples, the first of each class; all of them if None.
        shuffle_seed: shuffle each class by this seed first.

    Raises:
        UsageError: shapes, labels or numbers that do not fit, classes of unequal size.
        ImpossibleTaskError: one input under two labels.

    Example:
        >>> x = np.arange(8.0).reshape(4, 2)
        >>> task_from_arrays(x, [0, 0, 1, 1], x, [0, 0, 1, 1]).y_train.tolist()
        [0, 1, 0, 1]
    """
    given = x_train if isinstance(x_train, Mapping) else None
    if given is not None:
        missing = [key for key in ARRAYS if key not in given]
        if missing:
            raise UsageError(
                f"the mapping lacks {', '.join(missing)}.",
                why=f"a task needs all of {', '.join(ARRAYS)}.",
                fix="add what is missing to the mapping, or give the four arrays one by one.",
            )
        x_train, y_train, x_test, y_test = (given[key] for key in ARRAYS)
    for key, array in zip(ARRAYS, (x_train, y_train, x_test, y_test), strict=True):
        if array is None:
            raise UsageError(
                f"{key} is missing.",
                why="a task has training and test samples, both with labels.",
                fix="a task needs all of " + ", ".join(ARRAYS),
            )
    labels, test_labels, names = arrays.class_numbers(y_train, y_test, class_names)
    x_train, x_test = np.asarray(x_train), np.asarray(x_test)
    for part, x, y in (("training", x_train, labels), ("test", x_test, test_labels)):
        if x.ndim < 1 or len(x) != len(y):
            raise UsageError(
                f"{part} inputs have shape {x.shape}, for {len(y)} {part} labels.",
                why="there is one label for each input.",
                fix="give arrays of equal length: one row an input, one label a row (as in an .npz "
                "file too).",
            )
    rows, test_rows = np.arange(len(labels)), np.arange(len(test_labels))
    if classes is not None:
        numbers = parse_classes(names, classes, default=(), what=name)
        rows, labels = arrays.keep_classes(labels, numbers)
        test_rows, test_labels = arrays.keep_classes(test_labels, numbers)
        names = tuple(names[number] for number in numbers)
    counts = np.bincount(labels, minlength=len(names)).tolist()
    if n_train is None:
        n_train = arrays.balanced_n_train(counts, names)
    n_train = selection.check_n_train(n_train, counts, names)
    if shuffle_seed is not None:
        rng.check_uint64("shuffle_seed", shuffle_seed)
    chosen = selection.take(arrays.orders(labels, len(names), shuffle_seed), n_train)
    rows, labels = rows[chosen], labels[chosen]
    # Checked here too, where errors can name the rows as the user counts them.
    x_train = as_inputs(x_train[rows], "training inputs (x_train)", rows)
    x_test = as_inputs(x_test[test_rows], "test inputs (x_test)", test_rows)
    check_possible(x_train, labels, rows, names)
    config = {
        "name": name,
        "class_names": list(names),
        "n_train": n_train,
        "shuffle_seed": shuffle_seed,
    }
    return Task(
        name,
        x_train,
        labels,
        x_test,
        test_labels,
        names,
        config,
        {"kind": "arrays", "note": ""},
    )


def task_from_dataset(train: Any, test: Any, **options: Any) -> Task:
    """A task from two sequences of `(input, label)` pairs, such as PyTorch data sets.

    Args:
        train: has a length, and yields pairs by number from 0 on; inputs become NumPy arrays.
        test: the same.
        options: those of `task_from_arrays`.

    Raises:
        UsageError: as `task_from_arrays`, or an empty sequence.
    """
    parts: list[Any] = []
    for what, pairs in (("train", train), ("test", test)):
        items = [pairs[place] for place in range(len(pairs))]
        if not items:
            raise UsageError(
                f"the {what} data set is empty.",
                why="a task has training samples, and is measured on test samples.",
                fix="give a sequence of at least one (input, label) pair.",
            )
        inputs = [np.asarray(x) for x, _ in items]
        if len({x.shape for x in inputs}) > 1:
            raise UsageError(
                f"inputs of the {what} data set have different shapes.",
                why="a network takes inputs of one shape.",
                fix="crop, pad or resize them to one shape.",
            )
        parts += [np.stack(inputs), np.array([np.asarray(y).item() for _, y in items])]
    return task_from_arrays(*parts, **options)


def task_from_npz(
    path: str | Path,
    *,
    classes: ClassesLike = None,
    class_names: Sequence[Any] | None = None,
    n_train: int | None = None,
    shuffle_seed: int | None = None,
    max_bytes: int = npz.MAX_BYTES,
) -> Task:
    """A task from an `.npz` file with x_train, y_train, x_test, y_test and perhaps class_names.

    Args:
        path: the file; its samples are used in their order, as by `task_from_arrays`.
        classes: use only these classes, in this order.
        class_names: the classes; those in the file if None.
        n_train: training samples; all of them if None.
        shuffle_seed: shuffle each class by this seed first.
        max_bytes: the most the arrays may take.

    Raises:
        UsageError: no such file, missing arrays, arrays of objects, or as `task_from_arrays`.
        DamagedFileError: no zip archive, corrupt, or sizes that do not agree.
    """
    path = Path(path).expanduser()
    found = npz.read_npz(path, ARRAYS, ("class_names",), max_bytes=max_bytes)
    if class_names is None and "class_names" in found:
        class_names = found["class_names"].tolist()
    made = task_from_arrays(
        {key: found[key] for key in ARRAYS},
        name=path.stem,
        class_names=class_names,
        classes=classes,
        n_train=n_train,
        shuffle_seed=shuffle_seed,
    )
    config = {"name": str(path.resolve()), "classes": list(made.class_names)}
    config["n_train"] = made.n_train
    files = [{"name": path.name, "path": str(path.resolve()), **checksums(path)}]
    sources = {"kind": "npz", "files": files, "note": ""}
    return Task(
        made.name,
        made.x_train,
        made.y_train,
        made.x_test,
        made.y_test,
        made.class_names,
        config,
        sources,
    )
