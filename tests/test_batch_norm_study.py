"""Networks with batch norms in runs, files and studies: one N a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import biasgpu
from biasgpu import Study, family
from biasgpu.architectures import Architecture
from biasgpu.cli.root import root
from biasgpu.layers import BatchNorm2d, Conv2d, MaxPool2d, ReLU, residual
from biasgpu.study.jobs import jobs, seed_of
from biasgpu.study.table import table

TINY = Architecture(
    "tiny-residual",
    [Conv2d(2, "none"), BatchNorm2d(), ReLU(), MaxPool2d(2),
     *residual(Conv2d(2, "none", padding=1), BatchNorm2d(), ReLU())],
    bias="none",
)  # fmt: skip
RESNETS = family("resnet4", ["1/6", "2/6"], depths=[2])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    y = np.arange(26) % 2
    x = rng.normal(size=(26, 1, 8, 8)) + 2.0 * (y - 0.5)[:, None, None, None] * np.eye(8)
    path = tmp_path_factory.mktemp("data") / "diagonals.npz"
    x = x.astype(np.float32)
    np.savez(path, x_train=x[:6], y_train=y[:6], x_test=x[6:], y_test=y[6:])
    return path


def test_a_file_for_each_n() -> None:
    study = Study(architectures=(*RESNETS, biasgpu.lenet("1/6")), n_train=8, n=(2, 8))
    drawn = [job for job in jobs(study) if job.way == "guess-and-check"]
    assert [(job.architecture.name, job.n_train) for job in drawn] == [
        ("resnet4", 2), ("resnet4", 8), ("resnet4", 2), ("resnet4", 8), ("lenet", 8),
    ]  # fmt: skip
    assert len({job.seed for job in jobs(study)}) == len(jobs(study)) == 5 + 6
    of = (0, "guess-and-check", RESNETS[0], "uniform", 200)
    assert seed_of(*of, 2) != seed_of(*of, 8)


def test_a_study_of_two_n(data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "data": str(data), "architectures": (TINY,), "inits": (), "n_train": 6, "n": (2, 4),
        "fits": 3, "candidates": 400, "time_s": None,
    }  # fmt: skip
    made = biasgpu.compare(output=tmp_path / "study", engine="torch", device="cpu", **settings)
    cells = made.cells()
    assert [cell.n_train for cell in cells] == [2, 4]
    assert [cell.problem for cell in cells] == ["", ""]
    assert all(cell.n_networks >= 3 and cell.normalized_loss is not None for cell in cells)
    assert [row["n_train"] for row in table(cells)] == [2, 4]
    for cell, n in zip(cells, (2, 4), strict=True):
        run = biasgpu.open(tmp_path / "study" / cell.about["file"])
        assert isinstance(run, biasgpu.Run)
        assert (run.task.n_train, run.experiment.curve_fits) == (n, 0)
        assert run.experiment.points == (n,)
        assert run.seed == cell.about["seed"]
    # Another N is another file, and leaves those there are alone.
    grown = biasgpu.compare(
        output=tmp_path / "study", engine="torch", device="cpu", extend=True, **{**settings, "n": 6}
    )
    more = grown.cells()
    assert [cell.n_train for cell in more] == [2, 4, 6]
    for before, after in zip(cells, more, strict=False):
        np.testing.assert_array_equal(before.test_accuracy, after.test_accuracy)
    assert grown.status()["n_done"] == 3


def test_cells_not_begun_are_of_one_n_each(data: Path, tmp_path: Path) -> None:
    from biasgpu.study.reading import read_cells

    study = Study(data=str(data), architectures=(TINY,), inits=(), n_train=6, n=(2, 6))
    found = [cell.n_train for job in jobs(study) for cell in read_cells(study, job, tmp_path)]
    assert found == [2, 6]


def _command(*words: str | Path) -> str:
    result = CliRunner().invoke(root, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_file_in_every_command(data: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "r.h5"
    run = biasgpu.sample(
        biasgpu.task(str(data), n_train=4), TINY, "uniform", candidates=300, seed=2,
        engine="torch", device="cpu", output=path,
    )  # fmt: skip
    assert run.n_fits > 3
    assert len(run.summary()["curve"]) == 1
    index = int(run.fits.index[0])

    shown = json.loads(_command("show", path, "--index", str(index), "--json"))
    assert shown["fit"]
    norms = [layer for layer in shown["layers"] if layer["layer"] == "BatchNorm2d"]
    assert [layer["frobenius_norm"] for layer in norms] == [None, None]
    assert [layer["n_parameters"] for layer in norms] == [4, 4]
    assert "BatchNorm2d" in _command("show", path, "--index", str(index))
    assert "all as stored" in _command("verify", path)
    assert json.loads(_command("status", path, "--json"))["state"] == "finished"
    out = tmp_path / "fits.safetensors"
    _command("export", path, "--index", str(index), "-o", out)
    tensors = load_file(out)
    weights = run.network(index).weights()
    assert set(tensors) == {f"{index}/{name}" for name in weights}
    assert f"{index}/1.running_var" in tensors
    for name, values in weights.items():
        np.testing.assert_array_equal(tensors[f"{index}/{name}"], values)
    # From the file alone the same networks again, with the training set's statistics.
    again = biasgpu.open(path)
    np.testing.assert_array_equal(again.network(index).weights()["1.running_mean"],
                                  weights["1.running_mean"])  # fmt: skip
    _command("plot", path, "-o", tmp_path / "p.png")


def test_a_run_goes_on_as_if_it_had_not_stopped(data: Path, tmp_path: Path) -> None:
    task = biasgpu.task(str(data), n_train=6)
    engine: dict[str, Any] = {"engine": "torch", "device": "cpu"}
    whole = biasgpu.sample(task, TINY, "uniform", candidates=240, seed=3, **engine)
    path = tmp_path / "r.h5"
    biasgpu.sample(task, TINY, "uniform", candidates=90, seed=3, output=path, **engine)
    gone_on = biasgpu.resume(path, candidates=240, **engine)
    assert gone_on.fits.index.tolist() == whole.fits.index.tolist()
    assert gone_on.prefix_counts.tolist() == whole.prefix_counts.tolist()
    assert whole.n_fits > 0


def test_what_is_said_of_its_single_n(tmp_path: Path) -> None:
    words = ["sample", "--arch", "resnet4", "--width", "1/6", "--depth", "2", "--n-train", "2"]
    words += ["--candidates", "2", "--no-measures", "--engine", "torch", "--device", "cpu"]
    result = CliRunner().invoke(root, [*words, "-o", str(tmp_path / "r.h5")])
    assert result.exit_code == 0, result.output
    assert "this run is of N = 2 alone" in " ".join(result.stderr.split())
