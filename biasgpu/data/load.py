"""From a data set's name to its images: the data folder, the cache, the package, the network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from biasgpu.data import embedded_mnist
from biasgpu.data.cifar10 import read_cifar10
from biasgpu.data.datasets import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    DataSet,
)
from biasgpu.data.download import download, manual_steps
from biasgpu.data.files import damaged
from biasgpu.data.idx import read_idx
from biasgpu.data.images import ImageSet
from biasgpu.data.locate import (
    Located,
    cache_dir,
    check_not_another,
    describe,
    download_dir,
    locate,
    user_data_dir,
)
from biasgpu.errors import UsageError, unknown

SourceName = Literal["auto", "embedded", "official"]
SOURCES = ("auto", "embedded", "official")


def load(
    spec: DataSet, source: SourceName = "auto", data_dir: str | Path | None = None
) -> ImageSet:
    """The images of a data set.

    A data folder named by `data_dir` or `BIASGPU_DATA_DIR` must hold the files, whole or in part
    (fewer images in the official format). With none named, the cache is looked at; if the files are
    not there, `mnist` falls back on the embedded subset and the others are downloaded.

    Args:
        spec: the data set.
        source: "auto" as above; "embedded" for the MNIST subset in the package; "official" for
            files whose checksums are the official ones, downloaded if need be.
        data_dir: the data folder.

    Raises:
        UsageError: no such source, files missing from the data folder, or not official.
        DamagedFileError: a file is truncated, corrupt or foreign.
        DownloadError: no network.
    """
    if source not in SOURCES:
        raise unknown("source", str(source), SOURCES)
    if source == "embedded":
        if spec.name != "mnist":
            raise UsageError(
                f"{spec.name} is not embedded in the package; only a subset of mnist is.",
                why="the others are too large to come with it.",
                fix="use source='auto' (--source auto).",
            )
        return embedded_mnist.load_embedded()
    folder = user_data_dir(data_dir)
    if folder is not None:
        located = locate(spec, folder)
        if located.missing:
            raise _missing(spec, located, folder)
    else:
        located = locate(spec, cache_dir() / "data")
        if located.missing:
            if spec.name == "mnist" and source == "auto":
                return _fallback()
            download(spec)
            located = locate(spec, cache_dir() / "data")
    images = _read(spec, located, folder)
    if source == "official" and not images.official:
        raise UsageError(
            f"the files of {spec.name} in {located.folder} are not the official ones.",
            why="source='official' accepts only files with the known checksums; "
            + images.sources["note"],
            fix="use source='auto' (--source auto) to take them as they are, or get the official "
            f"files: biasgpu data fetch {spec.name}.",
        )
    return images


def _fallback() -> ImageSet:
    images = embedded_mnist.load_embedded()
    images.sources["note"] = (
        f"using {embedded_mnist.NOTE}, because the full set is not there. To get it: "
        "biasgpu data fetch mnist, or name the folder that holds it (--data-dir)."
    )
    return images


def _missing(spec: DataSet, located: Located, folder: Path) -> UsageError:
    places = ", ".join([*(f"{name}/" for name in spec.folders), "the folder itself"])
    or_embedded = ", or use source='embedded' (--source embedded)" if spec.name == "mnist" else ""
    return UsageError(
        f"{located.folder} lacks files of {spec.name}: {', '.join(located.missing)}.",
        why=f"the data folder {folder} was named by data_dir (--data-dir) or BIASGPU_DATA_DIR; "
        f"looked in {places}.",
        fix=f"biasgpu data fetch {spec.name} --data-dir {folder}{or_embedded}; or by hand: "
        + manual_steps(spec, download_dir(spec, folder)),
    )


def _read(spec: DataSet, located: Located, data_dir: Path | None) -> ImageSet:
    rows = describe(spec, located)
    check_not_another(spec, rows)
    if located.entry is not None:
        x_train, y_train, x_test, y_test = read_cifar10(located.entry)
    else:
        x_train, y_train = _read_pair(spec, located, TRAIN_IMAGES, TRAIN_LABELS)
        x_test, y_test = _read_pair(spec, located, TEST_IMAGES, TEST_LABELS)
    not_official = [row["name"] for row in rows if not row["official"]]
    note = ""
    if not_official:
        note = (
            f"not recognised as official by checksum: {', '.join(not_official)} "
            f"({len(y_train)} training and {len(y_test)} test images; "
            f"officially {spec.n_train} and {spec.n_test})."
        )
    return ImageSet(
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        source="files",
        official=not not_official,
        data_dir=None if data_dir is None else str(data_dir.resolve()),
        sources={
            "kind": "files",
            "official": not not_official,
            "files": rows,
            "licence": spec.licence,
            "home": spec.home,
            "note": note,
        },
    )


def _read_pair(
    spec: DataSet, located: Located, images_name: str, labels_name: str
) -> tuple[np.ndarray, np.ndarray]:
    images_path, labels_path = located.files[images_name], located.files[labels_name]
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape[1:] != spec.shape[1:]:
        raise damaged(
            images_path,
            f"its images have {images.shape[1:]} pixels",
            why=f"{spec.name} has images of {spec.shape[1:]}.",
        )
    if len(images) != len(labels):
        raise damaged(
            labels_path,
            f"{len(labels)} labels for the {len(images)} images of {images_path.name}",
            why="the two files belong to different sets, or one of them is not whole.",
        )
    if len(labels) and labels.max() >= len(spec.classes):
        raise damaged(labels_path, f"a label is {labels.max()}", why="labels are 0 to 9.")
    return images[:, np.newaxis], labels
