"""CIFAR-10 through everything: its archives to tasks, networks, measures, studies and figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import biasgpu
from biasgpu.cli.root import root
from biasgpu.data.datasets import DATASETS
from biasgpu.data.images import ImageSet
from biasgpu.data.published import published_orders, select_published
from biasgpu.training.recipe import published_learning_rate
from tests import colour_images

PAIRS = {
    "bird,ship": (2, 8),
    "deer,truck": (4, 9),
    "plane,frog": (0, 6),
    "car,ship": (1, 8),
    "horse,truck": (7, 9),
}
ARCHITECTURES: dict[str, list[str]] = {
    "lenet": ["--arch", "lenet", "--width", "1/6"],
    "paper-mlp": ["--arch", "paper-mlp", "--width", "1/6"],
    "mlp": ["--arch", "mlp", "--width", "8", "--depth", "1"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_images.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(root, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("binary", [False, True])
def test_the_published_pairs_by_name(data: Path, tmp_path: Path, binary: bool) -> None:
    folder = colour_images.write(tmp_path / "binary", binary=True) if binary else data
    for names, pair in PAIRS.items():
        task = biasgpu.task("cifar10", names, n_train=6, data_dir=folder)
        assert task.class_names == tuple(DATASETS["cifar10"].classes[number] for number in pair)
        assert task.shape == (3, 32, 32)
        assert task.y_train.tolist() == [0, 1] * 3
        x, y = colour_images.expected(pair)
        np.testing.assert_array_equal(task.x_test, x)
        np.testing.assert_array_equal(task.y_test, y)
    assert biasgpu.task("cifar10", n_train=2, data_dir=folder).class_names == ("bird", "ship")


@pytest.mark.parametrize("data_seed", [200, 201])
def test_the_published_selection(data: Path, data_seed: int) -> None:
    from biasgpu.data.load import load

    found = load(DATASETS["cifar10"], data_dir=data)
    images = ImageSet(
        found.x_train, found.y_train, found.x_test, found.y_test, "files", official=True
    )
    counts = {"n_train": len(found.y_train), "n_test": len(found.y_test)}
    spec = replace(DATASETS["cifar10"], **counts)
    n = [colour_images.N_TRAIN] * 2, [colour_images.N_TEST] * 2
    for pair in PAIRS.values():
        places = select_published(spec, images, pair, data_seed, 128)
        orders = published_orders(pair, data_seed, *n)
        for label, mine, order in zip(pair, places, orders, strict=True):
            assert (found.y_train[mine] == label).all()
            expected = np.flatnonzero(found.y_train == label)[order]
            assert mine.tolist() == expected.tolist()


def test_published_learning_rates() -> None:
    assert published_learning_rate("uniform", "cifar10") == 0.0001
    assert published_learning_rate("kaiming-uniform", "cifar10") == 0.01


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_commands(name: str, data: Path) -> None:
    task = ["--data", "cifar10", "--data-dir", str(data), "--classes", "car,ship", "--n-train", "4"]
    given = [*task, *ARCHITECTURES[name]]
    drawn = run("sample", *given, "--fits", "6", "--measures", "-o", "drawn.h5")
    assert drawn["n_fits"] >= 6
    assert run("verify", "drawn.h5")
    trained = run(
        *("train", *given, "--networks", "12", "--init", "uniform", "--epochs", "3"),
        *("--measures", "-o", "trained.h5"),
    )
    stored = biasgpu.open("trained.h5")
    assert isinstance(stored, biasgpu.Trained)
    assert stored.experiment.recipe.learning_rate == 0.0001
    assert trained["n_fits"] == stored.n_fits
    for path in ("drawn.h5", "trained.h5"):
        opened = biasgpu.open(path)
        assert opened.task.class_names == ("automobile", "ship")
        if opened.n_fits:
            constants = biasgpu.measures.lipschitz(opened)
            assert np.isfinite(constants).all() and (constants > 0).all()
        run("show", path)


def test_a_study_from_archive_to_figures(data: Path, tmp_path: Path) -> None:
    study = biasgpu.compare(
        data="cifar10",
        data_dir=str(data),
        arch="lenet",
        widths=["1/6", "2/6"],
        data_seeds=[200, 201],
        n_train=4,
        fits=6,
        trained=6,
        networks=64,
        epochs=20,
        time_s=None,
        gradient_norms=True,
        output=tmp_path / "study",
    )
    assert study.problems() == {}
    cells = study.cells()
    assert {(cell.n_train, cell.data_seed) for cell in cells} == {
        (n, seed) for n in (2, 4) for seed in (200, 201)
    }
    for cell in cells:
        accuracies = np.asarray(cell.test_accuracy)
        assert len(accuracies) >= 6
        assert ((accuracies >= 0) & (accuracies <= 1)).all()
        losses = np.asarray(cell.normalized_loss)
        assert np.isfinite(losses).all() and (losses > 0).all()
    trained = [cell for cell in cells if cell.n_train == 4 and cell.way == "sgd"]
    # Two colours are told apart better than by chance: some 6 networks on 24 images in each cell.
    assert np.mean([np.mean(cell.test_accuracy) for cell in trained]) > 0.6
    assert run("show", "study")["status"]["n_done"] == 2 * 2 * 3
    result = CliRunner().invoke(root, ["plot", "study", "-o", "figures", "--format", "svg"])
    assert result.exit_code == 0, result.output
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert len(drawn) >= 4, drawn
