"""IDX files, the format of MNIST and its relatives, plain or gzipped.

Two zero bytes, a byte for the type (0x08: unsigned bytes), a byte for the number of axes, one
big-endian 32-bit size an axis, then the values.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from biasgpu.data.files import damaged, expect_end, read_exactly, reading

UNSIGNED_BYTES = 0x08
# 35 times the largest official file; no task here needs more.
MAX_BYTES = 1 << 31
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path, n_axes: int, *, max_bytes: int = MAX_BYTES) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file.

    Sizes are checked before memory is taken; memory never exceeds what the file really holds.

    Args:
        path: the file; whether it is gzipped is seen from its first bytes, not from its name.
        n_axes: axes it must have: 3 for images, 1 for labels.
        max_bytes: the most it may declare.

    Returns:
        uint8, of the declared shape.

    Raises:
        DamagedFileError: another format, type or number of axes, or another length than declared.
        BiasgpuError: the file cannot be read.

    Source:
        "The IDX file format", http://yann.lecun.com/exdb/mnist/.
    """
    path = Path(path)
    with reading(path), path.open("rb") as raw:
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not compressed:
            shape = _header(raw, path, n_axes, max_bytes)
            declared, found = math.prod(shape), path.stat().st_size - 4 - 4 * n_axes
            if declared != found:
                raise damaged(path, f"{declared} bytes declared after the header, {found} found")
            return _values(raw, path, shape)
        with gzip.open(raw) as stream:
            unpacked = cast(BinaryIO, stream)
            return _values(unpacked, path, _header(unpacked, path, n_axes, max_bytes))


def _header(stream: BinaryIO, path: Path, n_axes: int, max_bytes: int) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise damaged(path, "this is no IDX file", why="an IDX file begins with two zero bytes.")
    if magic[2] != UNSIGNED_BYTES:
        what = f"its values are of IDX type 0x{magic[2]:02x}"
        raise damaged(path, what, why="only unsigned bytes (0x08) are read.")
    if magic[3] != n_axes:
        raise damaged(
            path,
            f"it has {magic[3]} axes, not {n_axes}",
            why="files of images have 3 axes, files of labels 1.",
        )
    sizes = stream.read(4 * n_axes)
    if len(sizes) < 4 * n_axes:
        raise damaged(path, "it ends within its header")
    shape = tuple(int.from_bytes(sizes[4 * i : 4 * i + 4], "big") for i in range(n_axes))
    if math.prod(shape) > max_bytes:
        raise damaged(
            path, f"it declares {shape}, {math.prod(shape)} bytes", why=f"{max_bytes} are allowed."
        )
    return shape


def _values(stream: BinaryIO, path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    data = read_exactly(stream, math.prod(shape), path, f"shape {shape}")
    expect_end(stream, path, f"shape {shape}")
    return np.frombuffer(bytes(data), dtype=np.uint8).reshape(shape)
