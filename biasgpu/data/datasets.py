"""The data sets biasgpu knows: files, checksums, classes, normalisation, terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from biasgpu.errors import unknown

Format = Literal["idx", "cifar10", "synthetic"]

# The parts of an IDX data set, in the order in which files are listed.
TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
IDX_PARTS = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

CIFAR_PYTHON = "cifar-10-python.tar.gz"
CIFAR_BINARY = "cifar-10-binary.tar.gz"


@dataclass(frozen=True)
class Source:
    """One official file as it is downloaded.

    Args:
        name: the file's name.
        md5: its MD5, as its publishers or torchvision state it.
        urls: where to get it, best first.
    """

    name: str
    md5: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """What biasgpu knows of a data set.

    Args:
        name: its name in `biasgpu.task` and on the command line.
        title: its name in a sentence.
        format: how its files are read.
        shape: the shape of one input.
        classes: class names; their places are the official labels.
        default_classes: the classes a task takes when none are named.
        mean: per channel, of the official training set's pixels scaled to [0, 1].
        std: the same, standard deviation.
        n_train: images in the official training set.
        n_test: images in the official test set.
        downloads: the official files.
        unpacked_md5: MD5 of files as they are after unpacking, by name, where known.
        folders: subfolders of a data folder in which the files may lie.
        aliases: other names of classes.
        published_pairs: class pairs of the published study, first named is label 0.
        licence: the terms of use.
        home: the data set's page.
    """

    name: str
    title: str
    format: Format
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    default_classes: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    n_train: int = 0
    n_test: int = 0
    downloads: tuple[Source, ...] = ()
    unpacked_md5: dict[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    published_pairs: tuple[tuple[int, int], ...] = ()
    licence: str = ""
    home: str = ""


def _idx_downloads(md5s: tuple[str, str, str, str], *bases: str) -> tuple[Source, ...]:
    return tuple(
        Source(f"{part}.gz", md5, tuple(f"{base}{part}.gz" for base in bases))
        for part, md5 in zip(IDX_PARTS, md5s, strict=True)
    )


MNIST_LICENCE = "CC BY-SA 3.0, as stated at https://keras.io/api/datasets/mnist/"

DATASETS: dict[str, DataSet] = {
    "mnist": DataSet(
        name="mnist",
        title="MNIST handwritten digits",
        format="idx",
        shape=(1, 28, 28),
        classes=tuple("0123456789"),
        default_classes=(7, 0),
        mean=(0.1307,),
        std=(0.3081,),
        n_train=60000,
        n_test=10000,
        downloads=_idx_downloads(
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        unpacked_md5={
            TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
            TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
            TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
            TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
        },
        folders=("mnist", "MNIST/raw", "MNIST"),
        published_pairs=((7, 0), (2, 5), (2, 8), (0, 8), (3, 5)),
        licence=MNIST_LICENCE,
        home="http://yann.lecun.com/exdb/mnist/",
    ),
    "fashion-mnist": DataSet(
        name="fashion-mnist",
        title="Fashion-MNIST clothing",
        format="idx",
        shape=(1, 28, 28),
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        default_classes=(0, 1),
        mean=(0.2860,),
        std=(0.3530,),
        n_train=60000,
        n_test=10000,
        downloads=_idx_downloads(
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        unpacked_md5={
            TRAIN_IMAGES: "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            TRAIN_LABELS: "9018921c3c673c538a1fc5bad174d6f9",
            TEST_IMAGES: "8181f5470baa50b63fa0f6fddb340f0a",
            TEST_LABELS: "15d484375f8d13e6eb1aabb0c3f46965",
        },
        folders=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
        licence="MIT",
        home="https://github.com/zalandoresearch/fashion-mnist",
    ),
    "kmnist": DataSet(
        name="kmnist",
        title="Kuzushiji-MNIST cursive Japanese",
        format="idx",
        shape=(1, 28, 28),
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        default_classes=(0, 1),
        mean=(0.1918,),
        std=(0.3483,),
        n_train=60000,
        n_test=10000,
        downloads=_idx_downloads(
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        folders=("kmnist", "KMNIST/raw", "KMNIST"),
        licence="CC BY-SA 4.0",
        home="https://codh.rois.ac.jp/kmnist/",
    ),
    "cifar10": DataSet(
        name="cifar10",
        title="CIFAR-10 photographs",
        format="cifar10",
        shape=(3, 32, 32),
        classes=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        default_classes=(2, 8),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        n_train=50000,
        n_test=10000,
        downloads=(
            Source(
                CIFAR_PYTHON,
                "c58f30108f718f92721af3b95e74349a",
                (f"https://www.cs.toronto.edu/~kriz/{CIFAR_PYTHON}",),
            ),
            Source(
                CIFAR_BINARY,
                "c32a1d4ab5d03f1284b67883e8d87530",
                (f"https://www.cs.toronto.edu/~kriz/{CIFAR_BINARY}",),
            ),
        ),
        # Of the python archive's members; nobody seems to have published the binary ones.
        unpacked_md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        folders=("cifar10", "CIFAR10", "cifar-10"),
        aliases={"plane": "airplane", "car": "automobile"},
        published_pairs=((2, 8), (4, 9), (0, 6), (1, 8), (7, 9)),
        licence="none stated; cite Krizhevsky, Learning Multiple Layers of Features, 2009",
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "kink": DataSet(
        name="kink",
        title="points in the plane, above and below a bent line",
        format="synthetic",
        shape=(2,),
        classes=("below", "above"),
        default_classes=(0, 1),
        licence="none needed: computed by biasgpu",
    ),
    "slab": DataSet(
        name="slab",
        title="points in the plane, inside and outside a strip",
        format="synthetic",
        shape=(2,),
        classes=("outside", "inside"),
        default_classes=(0, 1),
        licence="none needed: computed by biasgpu",
    ),
}


def dataset(name: str) -> DataSet:
    """The data set called `name`.

    Raises:
        UsageError: no such data set; suggests the nearest.
    """
    if name not in DATASETS:
        raise unknown(
            "data set",
            str(name),
            DATASETS,
            fix="use one of these, an .npz file, or biasgpu.task_from_arrays for your own data.",
        )
    return DATASETS[name]
