"""Networks with batch norms, trained: their files, the commands, and interruptions."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open

import biasgpu
from biasgpu.architectures import resnet4
from biasgpu.cli.root import root
from biasgpu.packing import Packing
from biasgpu.training.trained import Trained
from tests.commands import command, read_line
from tests.test_crash_train import OFTEN, check_nothing_lost
from tests.train_cases import assert_same

NETWORKS = 12
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.05, "epochs": 8, "keep_epochs": (0, 1), "seed": 4,
    "gradient_norms": True, "engine": "torch", "device": "cpu",
}  # fmt: skip
OPTIONS = [
    *("--arch", "resnet4", "--width", "1/6", "--depth", "2", "--n-train", "4", "--seed", "4"),
    *("--learning-rate", "0.05", "--epochs", "8", "--keep-epochs", "0,1"),
    *("--gradient-norms", "--engine", "torch", "--device", "cpu"),
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 8 x 8, small so that a network's verdict does not take long."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    labels = np.arange(24) % 2
    images = rng.normal(size=(24, 1, 8, 8)) + labels[:, None, None, None]
    np.savez(
        path, x_train=images[:12].astype(np.float32), y_train=labels[:12],
        x_test=images[12:].astype(np.float32), y_test=labels[12:],
    )  # fmt: skip
    return path


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments))


def _train(data: Path, networks: int = NETWORKS, **options: Any) -> Trained:
    task = biasgpu.task(str(data), n_train=4)
    settings = {**SETTINGS, **options}
    return biasgpu.train(task, resnet4("1/6", 2), networks=networks, **settings)


@pytest.fixture(scope="module")
def stored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    arguments = ("--data", str(data), *OPTIONS, "--networks", str(NETWORKS), "-o", str(path))
    done = _run("train", *arguments)
    assert done.exit_code == 0, done.stderr
    return path


def test_the_command_trains_what_the_library_trains(stored: Path, data: Path) -> None:
    found = biasgpu.open(stored)
    assert isinstance(found, Trained)
    assert_same(found, _train(data))
    assert 1 < found.n_fits < NETWORKS
    assert json.loads(_run("verify", str(stored), "--json").stdout)["ok"]


def test_a_reopened_network_is_the_module_in_evaluation_mode(stored: Path) -> None:
    trained = biasgpu.open(stored)
    x = trained.task.x_test
    for network in trained:
        module = network.module(torch.float64)
        assert not module.training
        logits = module(torch.from_numpy(x).double()).detach().numpy()
        assert np.allclose(network.logits(x), logits, rtol=1e-12, atol=1e-13)
    state = trained[0].state_dict()
    fresh = trained[0].initial.module()
    fresh.load_state_dict(state, strict=False)
    means = {name: value for name, value in state.items() if name.endswith("running_mean")}
    assert means and all(value.abs().max() > 0 for value in means.values())
    inputs = torch.from_numpy(x)
    assert torch.equal(fresh(inputs), trained[0].module()(inputs))
    accuracy = (trained[0].predict(x) == trained.task.y_test).mean()
    assert trained.fits.test_accuracy[0] == pytest.approx(accuracy, abs=1e-12)


def test_export(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "networks.safetensors"
    assert _run("export", str(stored), "-o", str(path)).exit_code == 0
    trained: Any = biasgpu.open(stored)
    with safe_open(path, "numpy") as file:
        names = set(file.keys())
        for network in trained:
            for name, array in network.weights().items():
                assert np.array_equal(file.get_tensor(f"{network.index}/{name}"), array)
                names.remove(f"{network.index}/{name}")
    assert not names


def test_verify_sees_changed_running_statistics(stored: Path, data: Path) -> None:
    trained = _train(data)
    assert trained.verify().n_wrong == 0
    steps, flat = trained.ensemble.steps, trained.fits.weights
    assert flat is not None
    parts = Packing(steps).unpack(flat[0, -1])[1]
    assert parts is not None
    parts[2][...] += 100.0  # a view: the running means of the first batch norm
    assert trained.verify().n_wrong == 1


@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_engines_agree(data: Path, optimizer: str) -> None:
    options = {"optimizer": optimizer, "learning_rate": 0.01}
    torch_ = _train(data, 4, **options)
    law = _train(data, 4, **{**options, "engine": "reference", "device": None})
    assert np.array_equal(torch_.prefix_counts, law.prefix_counts)
    assert torch_.fits.weights is not None and law.fits.weights is not None
    assert len(law.fits)
    assert np.abs(torch_.fits.weights - law.fits.weights).max() < 1e-3


def test_resume_goes_on(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    _train(data, 5, output=path)
    done = _run("train", "--resume", str(path), "--networks", str(NETWORKS))
    assert done.exit_code == 0, done.stderr
    # Two of five stored networks, trained again, may be rounded differently: no reason to refuse.
    assert "Until 12 networks" in done.stderr
    whole, found = _train(data), biasgpu.open(path)
    assert np.array_equal(found.fits.index, whole.fits.index)
    assert found.fits.weights is not None and whole.fits.weights is not None
    assert np.allclose(found.fits.weights, whole.fits.weights, rtol=0, atol=1e-4)


def test_the_compiled_trainer_resumes_to_the_bit(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    assert _train(data, 5, output=path, engine="auto").engine == "cpu"
    done = _run("train", "--resume", str(path), "--networks", str(NETWORKS))
    assert done.exit_code == 0, done.stderr  # two of five were trained again, and compared
    whole, found = _train(data, engine="cpu"), biasgpu.open(path)
    assert_same(found, whole)
    assert 1 < found.n_fits < NETWORKS and found.verify().n_wrong == 0


@pytest.mark.crash
def test_kill_and_resume(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    moments = random.Random(3)
    before: Trained | None = None
    for _ in range(3):
        new = ["--data", str(data), *OPTIONS, "--networks", "100000", "-o", str(path)]
        what = ["--resume", str(path)] if path.exists() else new
        process = command(OFTEN, "train", *what, "--quiet")
        try:
            read_line(process, "training")
            time.sleep(moments.random() * 0.5)
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()
        before = check_nothing_lost(before, path)
    assert before is not None
    end = before.n_networks + 5
    done = biasgpu.resume(path, networks=end)
    assert done.n_networks == end and done.verify().n_wrong == 0
