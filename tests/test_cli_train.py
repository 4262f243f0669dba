"""`biasgpu train`, and the other commands on the files it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors import safe_open

import biasgpu
from biasgpu.cli.root import root
from tests.train_cases import assert_same

SMALL = [
    *("--data", "kink", "--n-train", "4", "--width", "4", "--depth", "1", "--engine", "reference"),
    *("--learning-rate", "0.1", "--epochs", "3", "--seed", "2"),
]  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    done = run("train", *SMALL, "--networks", "20", "--keep-epochs", "0,1", "-o", str(path))
    assert done.exit_code == 0, done.stderr
    return path


def test_it_trains_what_the_library_trains(stored: Path) -> None:
    found = biasgpu.open(stored)
    again = biasgpu.train(
        biasgpu.task("kink", n_train=4), biasgpu.mlp(4, 1), networks=20, learning_rate=0.1,
        epochs=3, keep_epochs=(0, 1), seed=2, engine="reference",
    )  # fmt: skip
    assert_same(found, again)
    assert 0 < found.n_fits < 20


def test_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    done = run("train", *SMALL, "--networks", "20", "-o", str(path), "--no-weights")
    trained = biasgpu.open(path)
    low, high = trained.success_rate_interval
    for text in (
        "Trained 20 networks",
        f"{100 * trained.success_rate:.1f}%  (95%: {100 * low:.1f}% to {100 * high:.1f}%)",
        "sgd, learning rate 0.1, batch 2, 3 epochs",
        f"biasgpu train --resume {path}",
    ):
        assert text in done.stdout
    assert "Until 20 networks" in done.stderr
    shown = run("show", str(path))
    assert shown.exit_code == 0 and "weights were not kept" in shown.stderr
    exported = run("export", str(path), "-o", str(tmp_path / "x.safetensors"))
    assert exported.exit_code == 2 and "not kept" in exported.stderr
    verified = run("verify", str(path))
    assert verified.exit_code == 0 and "not verified" in verified.stdout


def test_json(stored: Path) -> None:
    found = json.loads(run("show", str(stored), "--json").stdout)
    trained = biasgpu.open(stored)
    assert found["kind"] == "trained"
    assert found["n_networks"] == 20 and found["n_fits"] == trained.n_fits
    assert found["success_rate"] == trained.success_rate
    assert found["recipe"]["keep_epochs"] == [0, 1]
    status = json.loads(run("status", str(stored), "--json").stdout)
    assert (status["state"], status["n_candidates"], status["counted"]) == (
        "finished", 20, "networks",
    )  # fmt: skip
    assert json.loads(run("verify", str(stored), "--json").stdout)["ok"]


def test_show_and_export_one(stored: Path, tmp_path: Path) -> None:
    trained = biasgpu.open(stored)
    index = int(trained.fits.index[0])
    shown = json.loads(run("show", str(stored), "--index", str(index), "--json").stdout)
    assert shown["fit"] and shown["margin"] == trained.fits.margin[0]
    missing = run("show", str(stored), "--index", str(index + 1))
    assert missing.exit_code == 2 and "none of the" in missing.stderr
    path = tmp_path / "x.safetensors"
    done = run("export", str(stored), "-o", str(path), "--index", str(index))
    assert done.exit_code == 0, done.stderr
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["recipe"]) == trained.recipe.to_config()
        for name, array in trained[0].weights().items():
            np.testing.assert_array_equal(file.get_tensor(f"{index}/{name}"), array)


def test_plot_says_why_not(stored: Path, tmp_path: Path) -> None:
    done = run("plot", str(stored), "-o", str(tmp_path / "x.png"))
    assert done.exit_code == 2 and "no curve against n_train" in done.stderr


def test_resume(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(stored.read_bytes())
    done = run("train", "--resume", str(path), "--networks", "30", "--epochs", "3", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["n_networks"] == 30


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--resume", "RUN", "--epochs", "4"], 3, "epochs is 3 in the file, 4 now"),
        (["--resume", "RUN", "--measures"], 3, "measures is false in the file, true now"),
        (["--resume", "RUN", "--seed", "5"], 3, "seed is 2 in the file, 5 now"),
        (["--resume", "RUN", "--init", "uniform"], 3, "kaiming-uniform in the file, uniform now"),
        (["--resume", "RUN", "-o", "x.h5"], 2, "-o does not go with --resume"),
        ([*SMALL, "-o", "RUN"], 3, "exists"),
        ([*SMALL, "--keep-epochs", "1,x"], 2, "whole numbers with commas"),
        ([*SMALL, "--keep-epochs", "1,3"], 2, "keep_epochs is (1, 3) with 3 epochs"),
        ([*SMALL, "--optimizer", "sdg"], 2, "Did you mean 'sgd'"),
    ],
)
def test_refusals(stored: Path, arguments: list[str], code: int, says: str) -> None:
    done = run("train", *[str(stored) if part == "RUN" else part for part in arguments])
    assert done.exit_code == code, done.stderr
    assert says in done.stderr
    if code == 3:
        assert "biasgpu sample" not in done.stderr


def test_each_command_names_the_other(stored: Path, tmp_path: Path) -> None:
    done = run("sample", "--resume", str(stored))
    assert done.exit_code == 2 and f"biasgpu train --resume {stored}" in done.stderr
    drawn = tmp_path / "drawn.h5"
    options: dict[str, Any] = {"candidates": 20, "output": drawn, "engine": "reference"}
    biasgpu.sample(biasgpu.task("kink", n_train=4), biasgpu.mlp(4, 1), "uniform", **options)
    done = run("train", "--resume", str(drawn))
    assert done.exit_code == 2 and f"biasgpu sample --resume {drawn}" in done.stderr
