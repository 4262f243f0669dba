"""CIFAR-10 archives, official and hostile."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from biasgpu.data import cifar10
from biasgpu.data.cifar10 import BATCHES, BINARY_FOLDER, PYTHON_FOLDER, read_cifar10
from biasgpu.data.pickled import read_batch
from biasgpu.errors import DamagedFileError

ROW = 3072


def batch(number: int, n: int = 4) -> tuple[np.ndarray, list[int]]:
    generator = np.random.default_rng(number)
    data = generator.integers(0, 256, (n, ROW), dtype=np.uint8)
    return data, generator.integers(0, 10, n).tolist()


def python_2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """Protocol 2 as Python 2 wrote it: byte strings, numpy.core, state by BUILD."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def long(text: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(text)) + text

    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\nK\x00\x85U\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN"
    dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"M" + struct.pack("<H", len(data)) + b"M" + struct.pack("<H", ROW) + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89" + long(data.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    items = short(b"batch_label") + short(b"training batch 1 of 5")
    items += short(b"labels") + numbers + short(b"data") + array + state
    return b"\x80\x02}q\x00(" + items + b"u."


def python_3_pickle(data: np.ndarray, labels: list[int], protocol: int = 2) -> bytes:
    return pickle.dumps({b"data": data, b"labels": labels}, protocol=protocol)


def members(folder: str) -> dict[str, bytes]:
    if folder == PYTHON_FOLDER:
        return {f"{folder}/{name}": python_2_pickle(*batch(i)) for i, name in enumerate(BATCHES)}
    records = {}
    for i, name in enumerate(BATCHES):
        data, labels = batch(i)
        rows = np.concatenate([np.array(labels, dtype=np.uint8)[:, None], data], axis=1)
        records[f"{folder}/{name}.bin"] = rows.tobytes()
    return records


def tar(path: Path, files: dict[str, bytes], extra: list[tarfile.TarInfo] = []) -> Path:  # noqa: B006
    with tarfile.open(path, "w:gz") as archive:
        for info in extra:
            archive.addfile(info, io.BytesIO(bytes(info.size)) if info.size else None)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def check(found: cifar10.Split) -> None:
    expected = [batch(i) for i in range(6)]
    images = np.concatenate([data for data, _ in expected[:5]]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], np.concatenate([labels for _, labels in expected[:5]]))
    np.testing.assert_array_equal(found[2], expected[5][0].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(found[3], expected[5][1])
    assert all(array.dtype == np.uint8 for array in found)


@pytest.mark.parametrize("folder", [PYTHON_FOLDER, BINARY_FOLDER])
def test_reads_both_archives_packed_and_unpacked(tmp_path, folder):
    files = members(folder)
    note = {f"{folder}/readme.html": b"<html>"}
    check(read_cifar10(tar(tmp_path / "cifar.tar.gz", {**note, **files})))
    (tmp_path / folder).mkdir()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    check(read_cifar10(tmp_path / folder))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_pickled_anew_are_read(protocol):
    data, labels = batch(0)
    for array in (data, np.asfortranarray(data)):
        images, found = read_batch(python_3_pickle(array, labels, protocol), "batch")
        np.testing.assert_array_equal(images.reshape(-1, ROW), data)
        assert found.tolist() == labels


class Runs:
    """Pickles to a call of os.system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_runs_commands_runs_nothing(tmp_path):
    trace = tmp_path / "trace"
    data, labels = batch(0)
    for content in (Runs(trace), {b"data": data, b"labels": labels, b"more": Runs(trace)}):
        with pytest.raises(DamagedFileError, match=r"posix\.system"):
            read_batch(pickle.dumps(content, protocol=2), "batch")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {b"data": b"", b"labels": []},
        {b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]},
        {b"data": np.zeros((2, ROW), np.uint8), b"labels": [0]},
        {b"data": np.zeros((2, ROW), np.uint8), b"labels": [0, 10]},
        {b"data": np.zeros((2, ROW), np.uint8), b"labels": [0, -1]},
        {b"data": np.zeros((2, ROW), np.float32), b"labels": [0, 1]},
        {b"data": np.zeros((2, ROW), object), b"labels": [0, 1]},
        {b"labels": [0, 1]},
    ],
)
def test_other_pickles_are_refused(content):
    with pytest.raises(DamagedFileError, match="no CIFAR-10 batch") as caught:
        read_batch(pickle.dumps(content, protocol=2), "batch")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a memo of two thousand million places
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
        b"\x80\x04\x8c\x05numpy\x8c\x0cload.__doc__\x93.",
        b"\x80\x02ccopy_reg\n_reconstructor\n.",
        b"\x80\x02\x82\x01.",  # an extension registry code
    ],
)
def test_hostile_instructions_are_refused(data):
    with pytest.raises(DamagedFileError, match="no CIFAR-10 batch"):
        read_batch(data, "batch")


def test_flipped_bytes_never_escape_as_another_error():
    data, labels = batch(0, n=1)
    good = python_2_pickle(data, labels)
    places = [*range(150), *range(len(good) - 3072 - 150, len(good) - 3072), len(good) - 1]
    for place in places:
        for mask in (0x01, 0x80, 0xFF):
            flipped = bytearray(good)
            flipped[place] ^= mask
            try:
                images, _ = read_batch(bytes(flipped), "batch")
            except DamagedFileError:
                continue
            assert images.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a\\..\\b"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
    path = tar(tmp_path / "c.tar.gz", members(BINARY_FOLDER), [tarfile.TarInfo(name)])
    with pytest.raises(DamagedFileError, match="leads out of the archive"):
        read_cifar10(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    link = tarfile.TarInfo(f"{BINARY_FOLDER}/data_batch_1.bin")
    link.type = kind
    link.linkname = "/etc/passwd"
    path = tar(tmp_path / "c.tar.gz", members(BINARY_FOLDER), [link])
    with pytest.raises(DamagedFileError, match="link, a device or sparse"):
        read_cifar10(path)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    twice = tarfile.TarInfo(f"{BINARY_FOLDER}/test_batch.bin")
    path = tar(tmp_path / "c.tar.gz", members(BINARY_FOLDER), [twice])
    with pytest.raises(DamagedFileError, match="there twice"):
        read_cifar10(path)


def test_a_missing_batch_is_named(tmp_path):
    files = members(PYTHON_FOLDER)
    del files[f"{PYTHON_FOLDER}/data_batch_3"]
    with pytest.raises(DamagedFileError, match="lacks cifar-10-batches-py/data_batch_3"):
        read_cifar10(tar(tmp_path / "c.tar.gz", files))


def test_a_tar_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MAX_ARCHIVE_BYTES", 1 << 20)
    big = tarfile.TarInfo(f"{BINARY_FOLDER}/readme.html")
    big.size = 1 << 21
    with pytest.raises(DamagedFileError, match="unpacks to more than"):
        read_cifar10(tar(tmp_path / "c.tar.gz", members(BINARY_FOLDER), [big]))


def test_a_giant_batch_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MAX_BATCH_BYTES", 1000)
    with pytest.raises(DamagedFileError, match="1000 at most"):
        read_cifar10(tar(tmp_path / "c.tar.gz", members(BINARY_FOLDER)))


def test_too_many_members_are_refused(tmp_path):
    extra = [tarfile.TarInfo(f"x{i}") for i in range(101)]
    with pytest.raises(DamagedFileError, match="more than 100 members"):
        read_cifar10(tar(tmp_path / "c.tar.gz", {}, extra))


def test_truncated_corrupt_and_foreign_archives(tmp_path):
    path = tar(tmp_path / "c.tar.gz", members(BINARY_FOLDER))
    good = path.read_bytes()
    for data in (good[: len(good) // 2], good[:-4], good[:-6] + b"xx" + good[-4:], b"", b"hello"):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError):
            read_cifar10(path)


def test_binary_records_are_checked(tmp_path):
    files = members(BINARY_FOLDER)
    name = f"{BINARY_FOLDER}/data_batch_2.bin"
    whole = files[name]
    for data, said in ((whole[:-1], "3073 bytes"), (b"\x0a" + whole[1:], "a label is 10")):
        files[name] = data
        with pytest.raises(DamagedFileError) as caught:
            read_cifar10(tar(tmp_path / "c.tar.gz", files))
        assert said in str(caught.value)
