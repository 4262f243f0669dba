"""Files made to mislead, with every checksum right: each lie is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from biasgpu.errors import DamagedFileError
from biasgpu.results import Store, read, read_config
from biasgpu.results.commits import decode_commits, slot_dtype
from biasgpu.results.header import read_header
from biasgpu.results.layout import SLOTS
from tests.stores import N_TRAIN, change_rows, reseal, rewrite_commit, write

CAPACITY = 4096


def _replace(name: str, **new: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, **new)

    return change


def _remove(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def _link(name: str, link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return change


def _attribute(name: str, key: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name].attrs[key] = value

    return change


def _virtual(file: h5py.File) -> None:
    del file["fits/margin"]
    plan = h5py.VirtualLayout((CAPACITY,), "<f8")
    plan[:] = h5py.VirtualSource("other.h5", "x", (CAPACITY,))
    file.create_virtual_dataset("fits/margin", plan)


def _text(name: str, text: bytes) -> Callable[[h5py.File], None]:
    return _replace(name, data=np.array(text, h5py.string_dtype("utf-8", len(text))))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_link("config", h5py.ExternalLink("/etc/passwd", "/x")), "missing or a link"),
        (_link("config", h5py.SoftLink("/provenance")), "missing or a link"),
        (_link("fits", h5py.ExternalLink("other.h5", "/fits")), "missing or a link"),
        (_link("task/x_test", h5py.SoftLink("/task/x_train")), "missing or a link"),
        (_virtual, "stored in a way"),
        (
            _replace("fits/margin", shape=(CAPACITY,), dtype="<f8", external="other.bin"),
            "stored in a way",
        ),
        (
            _replace("fits/margin", shape=(CAPACITY,), dtype="<f8", chunks=(4,)),
            "does not lie in one",
        ),
        (_replace("fits/margin", shape=(CAPACITY,), dtype="<f4"), "another shape or type"),
        (_replace("fits/margin", shape=(CAPACITY - 1,), dtype="<f8"), "another shape or type"),
        (_replace("fits/margin", shape=(2**50,), dtype="<f8", chunks=(4,)), "another shape"),
        (_replace("fits/index", data="text"), "damaged"),
        (_remove("fits/index"), "index in /fits is missing"),
        (_remove("task"), "task in / is missing"),
        (_replace("commit/slots", data=np.zeros(2)), "another shape or type"),
        (_replace("task/x_test", shape=(2**40, 2), dtype="<f4", chunks=(64, 2)), "claims"),
        (
            _replace("task/x_test", shape=(2**22, 2), dtype="<f4", chunks=(2**22, 2)),
            "claims 33554432 bytes, of which it has 0",
        ),
        (_replace("task/x_test", data=np.zeros((6, 2))), "another type"),
        (_replace("task/x_test", data=np.zeros((5, 2), "<f4")), "5 test inputs but 6 test labels"),
        (_replace("task/x_test", data=np.ones((6, 2), "<f4")), "do not match their checksum"),
        (_replace("task/x_train", data=np.full((N_TRAIN, 2), np.nan, "<f4")), "infinite or not a"),
        (_replace("task/x_train", data=np.ones((N_TRAIN, 2), "<f4")), "no network can fit"),
        (_replace("task/y_test", data=np.full(6, 2, "<i8")), "test labels run from 2 to 2"),
        (_attribute("task", "checksum", "0"), "do not match their checksum"),
        (_attribute("task", "format_version", 2), "/task has format version 2"),
        (_attribute("fits", "format_version", 2), "/fits has format version 2"),
        (_attribute("/", "format_version", 3), "/ has format version 3"),
        (_attribute("/", "format_version", "one"), "no format version"),
        (_attribute("/", "format_version", [1, 1]), "no format version"),
        (_attribute("/", "format", "other"), "does not name its format"),
        (_text("config", b"[1]"), "not a JSON object"),
        (_text("config", b"{"), "damaged"),
        (_text("config", b'{"a": NaN}'), "JSON"),
        (_text("config", b'{"a": ' + b"[" * 50_000), "damaged"),
        (_text("config", b"\xff\xfe"), "damaged"),
        (_text("task/about", b"{}"), "class_names"),
        (_text("task/about", b'{"class_names": [1, 2]}'), "not text"),
        (_replace("config", data="variable length"), "not a text"),
        (_replace("config", data=1), "not a text"),
    ],
)
def test_a_file_made_to_mislead(
    tmp_path: Path, change: Callable[[h5py.File], None], says: str
) -> None:
    path = write(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    reseal(path)
    for attempt in (read, read_config, Store.reopen):
        with pytest.raises(DamagedFileError, match=says):
            attempt(path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("index", (0).to_bytes(8, "little"), "indices do not increase"),
        ("prefix", (7).to_bytes(2, "little"), "longer than the 6 training samples"),
        ("test_accuracy", np.float64(1.5).tobytes(), "outside 0 to 1"),
        ("test_accuracy_per_class", np.float64(-0.5).tobytes(), "outside 0 to 1"),
    ],
)
def test_rows_that_cannot_be(tmp_path: Path, name: str, value: bytes, says: str) -> None:
    path = write(tmp_path / "run.h5")
    change_rows(path, name, 3, value)
    with pytest.raises(DamagedFileError, match=says):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"n_rows": 11},
        {"n_rows": CAPACITY + 1},
        {"n_rows": 2**63},
        {"elapsed_s": float("nan")},
        {"elapsed_s": -1.0},
        {"prefix_counts": np.full(N_TRAIN + 1, -1)},
        {"counters": {"n": -1}},
        {"counters": {"n": [1]}},
        {"counters": []},
    ],
)
def test_commits_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "run.h5")
    with path.open("r+b") as file:
        regions = read_header(file, path).regions
        file.seek(regions[SLOTS][0])
        commit = decode_commits(file.read(regions[SLOTS][1]), slot_dtype(N_TRAIN, 6))[0]
        rewrite_commit(file, regions, commit, **change)
    with pytest.raises(DamagedFileError, match="no commit in it is whole"):
        read(path)


def test_what_else_is_in_the_file_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        file["notes"] = "a newer writer of the same version may add things"
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/x")
    reseal(path)
    assert len(read(path).fits) == 10
