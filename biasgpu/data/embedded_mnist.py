"""The MNIST subset that comes with the package."""

from __future__ import annotations

from importlib import resources

import numpy as np

from biasgpu.data.datasets import DATASETS
from biasgpu.data.files import checksums
from biasgpu.data.idx import read_idx
from biasgpu.data.images import ImageSet

IMAGES = "mnist-subset-images-idx3-ubyte.gz"
LABELS = "mnist-subset-labels-idx1-ubyte.gz"
SHA256 = {
    IMAGES: "444d34f697a40fc559f185ace37a98834898bb8c4b4d7f0ae39103941d3cb661",
    LABELS: "ee243ebfccd41f946eb875bb08e2220388a69a94e2d11454569c6293209708ed",
}
N_CLASSES = 10
# Images a class: the first 200 for training and validation, the other 300 for testing.
N_TRAIN_PER_CLASS = 200
N_TEST_PER_CLASS = 300

NOTE = (
    "the embedded MNIST subset: 5,000 images of the official training set, per class 200 for "
    "training and validation and 300 for testing"
)


def load_embedded() -> ImageSet:
    """The embedded subset, split into training and test images.

    The files hold one image of each class in turn (labels 0, 1, ..., 9, 0, 1, ...), each class in
    an order shuffled once, so the split is a cut.

    Raises:
        DamagedFileError: the installed files are damaged.
    """
    folder = resources.files("biasgpu.data") / "embedded"
    rows = []
    with (
        resources.as_file(folder / IMAGES) as images_path,
        resources.as_file(folder / LABELS) as labels_path,
    ):
        images = read_idx(images_path, 3)[:, np.newaxis]
        labels = read_idx(labels_path, 1)
        for path in (images_path, labels_path):
            rows.append({"name": path.name, **checksums(path), "official": False})
    cut = N_CLASSES * N_TRAIN_PER_CLASS
    return ImageSet(
        x_train=images[:cut],
        y_train=labels[:cut],
        x_test=images[cut:],
        y_test=labels[cut:],
        source="embedded",
        official=False,
        sources={
            "kind": "embedded",
            "official": False,
            "files": rows,
            "licence": DATASETS["mnist"].licence,
            "home": DATASETS["mnist"].home,
            "note": NOTE + ".",
        },
    )
