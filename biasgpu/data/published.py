"""The very images of the published study, chosen as PyTorch's CPU generator chose them.

PyTorch is not needed: its generator is the Mersenne Twister, seeded as NumPy's `RandomState` is,
and `torch.randperm` shuffles with one 32-bit word a step. A test compares both with PyTorch itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from biasgpu.data.datasets import DataSet
from biasgpu.data.images import ImageSet
from biasgpu.errors import UsageError

Indices = npt.NDArray[np.int64]

N_VALIDATION = 128
FIRST_CLASS_SEED = 200
N_CLASSES = 10


def torch_generator(seed: int) -> np.random.RandomState:
    """The CPU generator of `torch.manual_seed(seed)`, which uses the low 32 bits of the seed."""
    return np.random.RandomState(seed & 0xFFFFFFFF)


def torch_permutation(generator: np.random.RandomState, n: int) -> Indices:
    """What `torch.randperm(n)` gives for n below 2**32 / 20, and the state it leaves.

    Args:
        generator: from `torch_generator`; n - 1 words are taken from it.
        n: how many things to permute.

    Returns:
        int64 `(n,)`.
    """
    order = list(range(n))
    # bytes(0) would take a word; PyTorch takes none.
    raw = generator.bytes(4 * (n - 1)) if n > 1 else b""
    words = np.frombuffer(raw, dtype="<u4").tolist()
    for place, word in enumerate(words):
        other = place + word % (n - place)
        order[place], order[other] = order[other], order[place]
    return np.array(order, dtype=np.int64)


def class_seed(pair: tuple[int, int]) -> int:
    """The first seed from 200 on whose `randperm(10)` begins with this pair of classes.

    For the pairs whose seed the study states (all of MNIST's; bird and ship) this is that seed. For
    the others it only matters where the data seed is the same number.
    """
    seed = FIRST_CLASS_SEED
    while tuple(torch_permutation(torch_generator(seed), N_CLASSES)[:2].tolist()) != pair:
        seed += 1
    return seed


def published_orders(
    pair: tuple[int, int],
    data_seed: int,
    n_train: Sequence[int],
    n_test: Sequence[int],
) -> list[Indices]:
    """The order in which the published code takes each class's training images.

    `manual_seed(class seed)` and `randperm(10)` choose the classes; `manual_seed(data seed)`
    follows unless the seeds are equal, in which case the generator goes on; then for each class
    `randperm` over its training images and `randperm` over its test images.

    Args:
        pair: the two classes, the first is label 0.
        data_seed: the published data seeds are 200 to 203.
        n_train: official training images of each of the two classes.
        n_test: the same, test images.

    Returns:
        Per class, int64: places among the class's training images in file order; the first 128 are
        for validation.

    Source:
        Peleg and Hein, ICML 2024, and its published code.
    """
    seed = class_seed(pair)
    generator = torch_generator(seed)
    torch_permutation(generator, N_CLASSES)
    if data_seed != seed:
        generator = torch_generator(data_seed)
    orders = []
    for train_images, test_images in zip(n_train, n_test, strict=True):
        orders.append(torch_permutation(generator, train_images))
        # The order of the test images is of no consequence, the words it takes are.
        torch_permutation(generator, test_images)
    return orders


def select_published(
    spec: DataSet, images: ImageSet, classes: tuple[int, ...], data_seed: int, n_validation: int
) -> list[Indices]:
    """Per class, the places of its training images in `images`, in the published order.

    Raises:
        UsageError: the published study has no such task, or the images are not the official ones.
    """
    if not spec.published_pairs:
        raise UsageError(
            f"selection='published' is not for {spec.name}.",
            why="the published study used mnist and cifar10.",
            fix="use selection='biasgpu' (--selection biasgpu).",
        )
    if classes not in spec.published_pairs:
        pairs = [f"{spec.classes[a]},{spec.classes[b]}" for a, b in spec.published_pairs]
        named = ",".join(spec.classes[number] for number in classes)
        raise UsageError(
            f"the published study has no task {named} on {spec.name}.",
            why=f"its pairs, in this order, are {'; '.join(pairs)}.",
            fix=f"use one of them (--classes {pairs[0]}), or selection='biasgpu' "
            "(--selection biasgpu).",
        )
    if n_validation != N_VALIDATION:
        raise UsageError(
            f"n_validation is {n_validation}; selection='published' sets {N_VALIDATION} aside.",
            why="the published study set aside that many.",
            fix="leave n_validation out, or use selection='biasgpu'.",
        )
    counts = (len(images.y_train), len(images.y_test))
    held = f"the embedded subset holds {counts[0]}."
    if images.source != "embedded":
        held = f"these files hold {counts[0]}; {images.sources.get('note') or 'checksums agree.'}"
    if not images.official or counts != (spec.n_train, spec.n_test):
        raise UsageError(
            f"selection='published' needs the full official files of {spec.name}.",
            why=f"the published images are named by their places among all {spec.n_train} training "
            f"images, and {held}",
            fix=f"biasgpu data fetch {spec.name}, or name the folder that holds the official files "
            "with data_dir (--data-dir); or use selection='biasgpu' (--selection biasgpu).",
        )
    places = [np.flatnonzero(images.y_train == number) for number in classes]
    n_test = [int(np.count_nonzero(images.y_test == number)) for number in classes]
    orders = published_orders(
        (classes[0], classes[1]), data_seed, [len(place) for place in places], n_test
    )
    return [place[order] for place, order in zip(places, orders, strict=True)]
