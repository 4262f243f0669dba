"""IDX files: what is read, and what is refused before memory is taken."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from biasgpu.data.idx import read_idx
from biasgpu.errors import BiasgpuError, DamagedFileError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def idx(array: np.ndarray, shape: tuple[int, ...] | None = None, kind: int = 8) -> bytes:
    sizes = array.shape if shape is None else shape
    header = struct.pack(">BBBB", 0, 0, kind, len(sizes))
    return header + struct.pack(f">{len(sizes)}I", *sizes) + array.tobytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_what_was_written(tmp_path, pack):
    path = write(tmp_path / "images", pack(idx(IMAGES)))
    found = read_idx(path, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGES)


def test_compression_is_seen_from_the_content_not_the_name(tmp_path):
    path = write(tmp_path / "images.gz", idx(IMAGES))
    np.testing.assert_array_equal(read_idx(path, 3), IMAGES)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x08", "no IDX file"),
        (b"PNG\x08" + idx(IMAGES)[4:], "no IDX file"),
        (idx(IMAGES, kind=0x0D), "IDX type 0x0d"),
        (idx(IMAGES.reshape(-1)), "it has 1 axes, not 3"),
        (idx(IMAGES)[:10], "ends within its header"),
        (idx(IMAGES)[:-1], "60 bytes declared"),
        (idx(IMAGES) + b"x", "declared"),
        (idx(IMAGES, shape=(0, 28, 28)), "declared"),
    ],
)
def test_refuses_what_is_not_whole(tmp_path, pack, data, said):
    path = write(tmp_path / "images", pack(data))
    with pytest.raises(DamagedFileError) as caught:
        read_idx(path, 3)
    assert said in caught.value.what
    assert str(path) in caught.value.what
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (60000, 28, 28)])
def test_giant_sizes_take_no_memory(tmp_path, pack, shape):
    path = write(tmp_path / "images", pack(idx(IMAGES, shape=shape)))
    tracemalloc.start()
    with pytest.raises(DamagedFileError, match="declare"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_gzip_bomb_stops_at_the_declared_size(tmp_path):
    path = write(tmp_path / "images.gz", gzip.compress(idx(IMAGES) + bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DamagedFileError, match="more data than declared"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_truncated_or_corrupt_gzip(tmp_path):
    data = gzip.compress(idx(IMAGES))
    with pytest.raises(DamagedFileError, match="end early"):
        read_idx(write(tmp_path / "short.gz", data[:-9]), 3)
    flipped = data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    with pytest.raises(DamagedFileError, match="CRC"):
        read_idx(write(tmp_path / "flipped.gz", flipped), 3)


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path):
    data = gzip.compress(idx(IMAGES), mtime=0)
    for place in range(2, len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x5A
        path = write(tmp_path / "images.gz", bytes(flipped))
        try:
            found = read_idx(path, 3)
        except DamagedFileError:
            continue
        np.testing.assert_array_equal(found, IMAGES)


def test_a_folder_or_nothing_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BiasgpuError, match="cannot be read") as caught:
            read_idx(path, 3)
        assert caught.value.exit_code == 1
