"""Results files as untrusted input: they read as they were written, or they are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from biasgpu.errors import BiasgpuError, DamagedFileError
from biasgpu.results import Store, read, read_config
from biasgpu.results.header import HEADER_BYTES, read_header
from tests.stores import essence, write


@pytest.mark.parametrize("finish", [False, True])
def test_truncated_anywhere(tmp_path: Path, finish: bool) -> None:
    data = write(tmp_path / "run.h5", finish=finish).read_bytes()
    path = tmp_path / "cut.h5"
    for length in {*range(0, len(data), 97), 1, 30, HEADER_BYTES, len(data) - 1}:
        path.write_bytes(data[:length])
        for attempt in (read, read_config, Store.reopen):
            with pytest.raises(DamagedFileError):
                attempt(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(DamagedFileError, match="should have"):
        read(path)
    assert not (tmp_path / "cut.h5.lock").exists()


@pytest.mark.parametrize("finish", [False, True])
def test_a_changed_byte_is_harmless_or_refused(tmp_path: Path, finish: bool) -> None:
    good = write(tmp_path / "run.h5", finish=finish)
    data = good.read_bytes()
    whole = essence(read(good))
    # Where two commits are in the file, the one before the last is the other right answer.
    answers = [whole] if finish else [whole, essence(read(write(tmp_path / "one.h5", batches=1)))]
    path, rng = tmp_path / "bad.h5", np.random.default_rng(1)
    used = len(data[:HEADER_BYTES].rstrip())
    spots = [*range(0, used, 3), *rng.integers(HEADER_BYTES, len(data), 400).tolist()]
    refused = 0
    for spot in spots:
        changed = bytearray(data)
        changed[spot] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            stored = read(path)
        except DamagedFileError:
            refused += 1
        else:
            assert essence(stored) in answers
    assert refused > len(spots) // 4


def test_random_rubble(tmp_path: Path) -> None:
    good = write(tmp_path / "run.h5", finish=True)
    data = good.read_bytes()
    whole = essence(read(good))
    refused = 0
    path, rng = tmp_path / "bad.h5", np.random.default_rng(2)
    for _ in range(100):
        changed = bytearray(data)
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 3000))
        changed[start : start + length] = rng.bytes(min(length, len(data) - start))
        path.write_bytes(changed)
        try:
            assert essence(read(path)) == whole  # it fell on the empty slot or the header's end
        except DamagedFileError:
            refused += 1
    assert refused > 80


def test_a_torn_newest_commit(tmp_path: Path) -> None:
    path = write(tmp_path / "run.h5")
    earlier = essence(read(write(tmp_path / "one.h5", batches=1)))
    with path.open("r+b") as file:
        regions = read_header(file, path).regions
        # The slot is whole, but one of the rows it vouches for never reached the disk.
        file.seek(regions["/fits/margin"][0] + 7 * 8)
        file.write(b"\0" * 8)
    stored = read(path)
    assert stored.recovered
    assert essence(stored) == earlier
    with Store.reopen(path) as store:
        assert store.n_rows == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"index,accuracy\n1,0.5\n", "not a biasgpu results file"),
        (b"\0" * 5000, "not a biasgpu results file"),
        (b"[" * 5000, "not a biasgpu results file"),
        (b'{"format": "other"}' + b" " * 5000, "not a biasgpu results file"),
        (b'{"format": "biasgpu-run"' + b" " * 5000, "header cannot be read"),
        (b'{"format": "biasgpu-run"}' + b" " * 5000, "no format version"),
        (b'{"format": "biasgpu-run", "format_version": 1}', "header is incomplete"),
        (b'{"format": "biasgpu-run", "format_version": 3}', "has format version 3"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(content)
    for attempt in (read, read_config, Store.reopen):
        with pytest.raises(DamagedFileError, match=says) as caught:
            attempt(path)
        assert caught.value.exit_code == 4
    assert path.read_bytes() == content


def test_hdf5_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(DamagedFileError, match="an HDF5 file of another program"):
        read(path)


def test_folders_and_devices(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(DamagedFileError):
            read(place)


@pytest.mark.parametrize(
    "region",
    [[0, 10], [-1, 5], [5000, 10**9], [1.5, 2], [5000], "x", None, [10**400, 1], [True, 1]],
)
def test_a_header_that_points_elsewhere(tmp_path: Path, region: Any) -> None:
    path = write(tmp_path / "run.h5")
    data = path.read_bytes()
    line = json.loads(data[:HEADER_BYTES])
    line["regions"]["/fits/margin"] = region
    path.write_bytes(json.dumps(line).encode().ljust(HEADER_BYTES) + data[HEADER_BYTES:])
    with pytest.raises(DamagedFileError):
        read(path)


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "run.h5")

    def denied(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(BiasgpuError, match="permission denied") as caught:
        read(path)
    assert caught.value.exit_code == 1
