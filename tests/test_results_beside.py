"""Beside the rows: whose experiment a file holds, how a run is getting on, by what it was made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from biasgpu.errors import BiasgpuError, DamagedFileError, RefusedError, UsageError
from biasgpu.results import StatusFile, check_config, read_status

STORED = {
    "seed": 0,
    "architecture": {"name": "mlp", "width": 512, "depth": 2},
    "prior": {"name": "uniform:0.2"},
    "task": {"name": "mnist", "n_train": 16, "classes": [7, 0]},
}


def test_the_same_experiment() -> None:
    given = STORED | {"task": {"name": "mnist", "n_train": 16, "classes": (7, 0)}}
    check_config(STORED, given, path="run.h5")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"architecture": {"name": "mlp", "width": 256, "depth": 2}}, "width is 512 in the file"),
        ({"architecture": {"name": "lenet", "width": 512, "depth": 2}}, "architecture is mlp in"),
        ({"prior": {"name": "normal"}}, "prior is uniform:0.2 in the file, normal now"),
        ({"architecture": {"name": "mlp", "width": 512}}, "depth is 2 in the file, not set now"),
        ({"bits": 8}, "bits is not set in the file, 8 now"),
        ({"seed": False}, "seed is 0 in the file, false now"),
        ({"task": STORED["task"] | {"classes": [7, 1]}}, r"classes is \[7, 0\] in .*\[7, 1\] now"),
    ],
)
def test_another_experiment(given: dict[str, object], says: str) -> None:
    with pytest.raises(RefusedError, match=f"run.h5 holds another experiment: {says}") as caught:
        check_config(STORED, STORED | given, path="run.h5")
    assert caught.value.why == "a results file holds one experiment."
    assert "--resume run.h5" in caught.value.fix


def test_every_difference_is_named_without_doubt() -> None:
    stored = {"train": {"width": 1, "depth": 2}, "test": {"width": 3}}
    given = {"train": {"width": 9, "depth": 4}, "test": {"width": 3}}
    with pytest.raises(RefusedError) as caught:
        check_config(stored, given, path="run.h5")
    assert caught.value.what == (
        "run.h5 holds another experiment: train.width is 1 in the file, 9 now; "
        "depth is 2 in the file, 4 now."
    )


def test_status(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    status = StatusFile(path)
    assert status.write({"n_fits": np.int64(3), "eta_s": float("inf"), "curve": ({"n": 2},)})
    assert read_status(path) == {"n_fits": 3, "eta_s": None, "curve": [{"n": 2}]}
    assert status.write({"a": np.float64("nan"), "b": np.arange(2), "path": path})
    assert read_status(path) == {"a": None, "b": [0, 1], "path": str(path)}
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5.status.json"]
    status.remove()
    status.remove()
    with pytest.raises(UsageError, match="there is no file"):
        read_status(path)
    path.touch()
    with pytest.raises(BiasgpuError, match="no run has left a status"):
        read_status(path)


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert StatusFile(tmp_path / "file" / "run.h5").write({"n": 1}) is False


@pytest.mark.parametrize("text", [b"", b"[1]", b"\xff\xfe", b"[" * 100_000, b"{"])
def test_a_damaged_status(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "run.h5.status.json").write_bytes(text)
    with pytest.raises(DamagedFileError, match="not a status file"):
        read_status(tmp_path / "run.h5")


def test_provenance_is_json_and_says_the_versions() -> None:
    from biasgpu.results.provenance import collect

    facts = json.loads(json.dumps(collect()))
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(facts) >= {"date", "command", "platform", "machine", "cpu"}
