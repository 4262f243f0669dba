"""`task`: from a data set's name to a task."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.data import selection, synthetic
from biasgpu.data.classes import ClassesLike, parse_classes
from biasgpu.data.datasets import DataSet, dataset
from biasgpu.data.images import normalize
from biasgpu.data.load import SourceName, load
from biasgpu.data.own import task_from_arrays, task_from_dataset, task_from_npz
from biasgpu.data.published import select_published
from biasgpu.errors import UsageError, unknown
from biasgpu.task import Task

SelectionName = Literal["biasgpu", "published"]
SELECTIONS = ("biasgpu", "published")

__all__ = ["task", "task_from_arrays", "task_from_dataset", "task_from_npz"]


def task(
    name: str | Path = "mnist",
    classes: ClassesLike = None,
    *,
    n_train: int = 16,
    data_seed: int = 200,
    selection: SelectionName = "biasgpu",
    source: SourceName = "auto",
    data_dir: str | Path | None = None,
    n_validation: int = 128,
) -> Task:
    """A task by name.

    Per class, the training images are shuffled by the data seed; the first `n_validation` are set
    aside, the next `n_train / K` are the training samples, one of each class in turn. A task with a
    smaller `n_train` is the beginning of the same task with a larger one. The test set is every
    test image of these classes, in file order.

    Args:
        name: "mnist", "fashion-mnist", "kmnist", "cifar10", "kink", "slab", or the path of an
            `.npz` file (see `task_from_npz`).
        classes: names or numbers, `(7, 0)` or `"7,0"`; the first is label 0. None takes the data
            set's main pair: 7 and 0 on mnist, bird and ship on cifar10.
        n_train: training samples, a multiple of the number of classes K.
        data_seed: which samples are taken; the published study uses 200 to 203.
        selection: "biasgpu" as above; "published" for the very images of the published study, which
            needs the full official files of mnist or cifar10.
        source: "auto" takes files from the data folder or the cache, else the MNIST subset in the
            package, else the network; "embedded" always takes the subset; "official" insists on
            the official files.
        data_dir: the data folder; `BIASGPU_DATA_DIR` if None.
        n_validation: images a class that are set aside.

    Raises:
        UsageError: an argument that cannot be, missing files, too few samples.
        DamagedFileError: a file that is truncated, corrupt or foreign.
        DownloadError: files are needed and there is no network.
        ImpossibleTaskError: one image under two labels.

    Source:
        Peleg and Hein, ICML 2024; Chiang et al., ICLR 2023.
    """
    rng.check_uint64("data_seed", data_seed)
    if selection not in SELECTIONS:
        raise unknown("selection", str(selection), SELECTIONS)
    if str(name).endswith(".npz"):
        _only_defaults(str(name), selection, source)
        return task_from_npz(name, classes=classes, n_train=n_train)
    spec = dataset(str(name))
    numbers = parse_classes(
        spec.classes, classes, default=spec.default_classes, aliases=spec.aliases, what=spec.name
    )
    if spec.format == "synthetic":
        _only_defaults(spec.name, selection, source)
        return _synthetic_task(spec, numbers, n_train, int(data_seed))
    return _image_task(
        spec, numbers, n_train, int(data_seed), selection, source, data_dir, n_validation
    )


def _only_defaults(name: str, selection_name: str, source: str) -> None:
    if selection_name != "biasgpu":
        raise UsageError(
            f"selection={selection_name!r} is not for {name}.",
            why="the published study used mnist and cifar10.",
            fix="leave it out.",
        )
    if source != "auto":
        raise UsageError(
            f"source={source!r} is not for {name}.",
            why="it chooses between files of mnist and its relatives.",
            fix="leave it out.",
        )


def _image_task(
    spec: DataSet,
    classes: tuple[int, ...],
    n_train: int,
    data_seed: int,
    selection_name: str,
    source: SourceName,
    data_dir: str | Path | None,
    n_validation: int,
) -> Task:
    if isinstance(n_validation, bool) or not isinstance(n_validation, int) or n_validation < 0:
        raise UsageError(
            f"n_validation is {n_validation!r}; it must be 0 or a whole number above.",
            why="so many images a class are set aside.",
            fix="leave it out, or give n_validation=0 or more.",
        )
    images = load(spec, source, data_dir)
    names = tuple(spec.classes[number] for number in classes)
    if selection_name == "published":
        orders = select_published(spec, images, classes, data_seed, n_validation)
    else:
        orders = selection.class_orders(images.y_train, classes, data_seed)
    n_train = selection.check_n_train(
        n_train, [len(order) for order in orders], names, n_validation=n_validation
    )
    train = selection.take(orders, n_train, n_validation)
    test = np.flatnonzero(np.isin(images.y_test, classes))
    # What a later call needs to find the same images again, wherever "auto" found them now.
    resolved = "official" if images.official else "auto"
    config = {
        "name": spec.name,
        "classes": list(classes),
        "n_train": n_train,
        "data_seed": data_seed,
        "selection": selection_name,
        "source": "embedded" if images.source == "embedded" else resolved,
        "data_dir": images.data_dir,
        "n_validation": n_validation,
    }
    return Task(
        spec.name,
        normalize(images.x_train[train], spec.mean, spec.std),
        _relabel(images.y_train[train], classes),
        normalize(images.x_test[test], spec.mean, spec.std),
        _relabel(images.y_test[test], classes),
        names,
        config,
        images.sources,
    )


def _relabel(labels: npt.NDArray[np.uint8], classes: tuple[int, ...]) -> npt.NDArray[np.int64]:
    table = np.zeros(256, dtype=np.int64)
    table[list(classes)] = np.arange(len(classes))
    return table[labels]


def _synthetic_task(spec: DataSet, classes: tuple[int, ...], n_train: int, data_seed: int) -> Task:
    names = tuple(spec.classes[number] for number in classes)
    n_train = selection.check_n_train(n_train, [synthetic.MAX_PER_CLASS] * len(classes), names)
    train = synthetic.points_by_class(spec.name, "train", data_seed, n_train // 2)
    test = synthetic.points_by_class(spec.name, "test", data_seed, synthetic.N_TEST_PER_CLASS)
    x_train, x_test = (
        np.stack([part[number] for number in classes], axis=1).reshape(-1, 2)
        for part in (train, test)
    )
    config = {
        "name": spec.name,
        "classes": list(classes),
        "n_train": n_train,
        "data_seed": data_seed,
    }
    return Task(
        spec.name,
        x_train,
        np.arange(len(x_train)) % 2,
        x_test,
        np.arange(len(x_test)) % 2,
        names,
        config,
        {
            "kind": "synthetic",
            "licence": spec.licence,
            "note": "a network without biases cannot learn it well: draw them from the prior "
            "(bias='prior', --bias prior).",
        },
    )
