"""What `biasgpu data` lists and shows."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from biasgpu.cli.data import command
from biasgpu.data import catalogue
from biasgpu.data.datasets import DATASETS
from biasgpu.errors import UsageError


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("BIASGPU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("BIASGPU_DATA_DIR", raising=False)


def test_entries_are_whole():
    for name, spec in DATASETS.items():
        assert spec.name == name
        assert len(set(spec.classes)) == len(spec.classes)
        assert all(number < len(spec.classes) for number in spec.default_classes)
        assert len(spec.mean) == len(spec.std) == (spec.shape[0] if len(spec.shape) == 3 else 0)
        assert all(len(source.md5) == 32 and source.urls for source in spec.downloads)
        assert all(len(md5) == 32 for md5 in spec.unpacked_md5.values())
        assert spec.licence


def test_available():
    entries = {entry["name"]: entry for entry in catalogue.available()}
    assert set(entries) == set(DATASETS)
    assert entries["mnist"]["present"]
    assert not entries["mnist"]["complete"]
    assert entries["mnist"]["official"] is None
    assert not entries["cifar10"]["present"]
    assert entries["kink"]["complete"]
    json.dumps(list(entries.values()))


def test_present_in_a_folder(tmp_path):
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(b"x")
    entry = catalogue.info("mnist", tmp_path)
    assert not entry["present"]
    assert entry["official"] is False
    assert [row["name"] for row in entry["files"]] == [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ]
    assert entry["missing"] == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert "t10k-images-idx3-ubyte.gz: missing" in catalogue.text(entry)
    with pytest.raises(UsageError, match="does not exist"):
        catalogue.available(tmp_path / "absent")


def test_commands(tmp_path):
    run = CliRunner().invoke
    listed = run(command, ["list"], catch_exceptions=False)
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == list(DATASETS)
    assert listed.stdout == catalogue.table(catalogue.available()) + "\n"
    as_json = run(command, ["list", "--json"], catch_exceptions=False)
    assert json.loads(as_json.stdout) == catalogue.available()
    one = run(command, ["info", "cifar10", "--json"], catch_exceptions=False)
    assert json.loads(one.stdout) == catalogue.info("cifar10")
    shown = run(command, ["info", "cifar10", "--data-dir", str(tmp_path)], catch_exceptions=False)
    assert shown.stdout == catalogue.text(catalogue.info("cifar10", tmp_path)) + "\n"
    assert "c58f30108f718f92721af3b95e74349a" in one.stdout
    with pytest.raises(UsageError, match="no files to fetch"):
        run(command, ["fetch", "slab"], catch_exceptions=False)
