"""Measures with every row: taken of the right networks, stored, read back, honoured on resume."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import biasgpu
from biasgpu import mlp
from biasgpu.drawn import drawn_parameters
from biasgpu.errors import UsageError
from biasgpu.measured import COLUMNS
from biasgpu.network import Network
from biasgpu.networks import GivenNetworks
from biasgpu.packing import Packing
from biasgpu.run import Run
from tests.train_cases import assert_same_fits, fake_measures, make_task, train


@pytest.fixture(autouse=True)
def measures(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ModuleType("biasgpu.measures.columns")
    columns.measure_columns = fake_measures  # type: ignore[attr-defined]
    if "biasgpu.measures" not in sys.modules:
        monkeypatch.setitem(sys.modules, "biasgpu.measures", ModuleType("biasgpu.measures"))
    monkeypatch.setitem(sys.modules, "biasgpu.measures.columns", columns)


def sample(output: Path | None = None, fits: int = 6, **options: object) -> Run:
    settings: dict[str, object] = {"seed": 5, "engine": "reference", "measures": True}
    return biasgpu.sample(
        make_task(), mlp(4, 1), "uniform", fits=fits, curve_fits=3, output=output,
        **{**settings, **options},  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("method", ["direct", "deferred"])
def test_each_row_has_its_own(method: str) -> None:
    prior = "uniform" if method == "direct" else "normal"
    run = biasgpu.sample(
        make_task(), mlp(4, 1), prior, method=method, fits=4, curve_fits=3, seed=5, measures=True,
        engine="reference",
    )  # fmt: skip
    assert len(run.fits) > len(run)  # rows of smaller N have them too
    flat = drawn_parameters(run.ensemble, run.fits.index)
    given = GivenNetworks(run.task, run.steps, flat)
    for name, values in fake_measures(given).items():
        np.testing.assert_array_equal(getattr(run.fits, name), values)
    assert (run.fits.index % 2).any()  # swapped outputs among them
    for row, index in enumerate(run.fits.index.tolist()):
        layers = Packing(run.steps).unpack(flat[row])
        network = run.network(index).weights()
        for step, pair in zip(run.steps, layers, strict=True):
            if pair is not None:
                np.testing.assert_array_equal(pair[0], network[f"{step.position}.weight"])
                np.testing.assert_array_equal(pair[1], network[f"{step.position}.bias"])


def test_a_selection_at_a_smaller_n() -> None:
    run = sample()
    some = run.at(4)
    assert some.task.n_train == 4
    np.testing.assert_array_equal(some.task.x_train, run.task.x_train[:4])
    assert some.fits is not None and some.fits.train_logits is not None
    assert some.fits.train_logits.shape == (len(some), 4, 2)
    rows = run.fits_at(4)
    assert some.fits.index.tolist() == rows.index.tolist()
    assert rows.train_logits is not None
    np.testing.assert_array_equal(some.fits.train_logits, rows.train_logits[:, :4])
    np.testing.assert_array_equal(
        some.parameters(1, 3), drawn_parameters(run.ensemble, rows.index[1:3])
    )
    assert len(run.at(6)) == len(run)
    np.testing.assert_array_equal(run.parameters(0, len(run)), run.at(6).parameters(0, len(run)))


def test_stored_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    sample(path, fits=3)
    assert biasgpu.open(path).config["measures"] is True
    done, whole = biasgpu.resume(path, fits=6, engine="reference"), sample()
    for run in (done, biasgpu.open(path)):
        assert_same_fits(run.fits, whole.fits)
        assert run.config == whole.config
    assert set(COLUMNS) <= set(done.fits.optional)
    with path.open("rb") as file:
        assert b'"format_version": 2' in file.read(200)


def test_without_measures_the_file_is_that_of_version_1(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = sample(path, measures=False)
    assert "measures" not in run.config
    assert run.fits.optional == {}
    with path.open("rb") as file:
        assert b'"format_version": 1' in file.read(200)


def test_of_trained_networks(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    made = train(path, measures=True)
    for trained in (made, biasgpu.open(path)):
        for name, values in fake_measures(trained).items():
            np.testing.assert_array_equal(getattr(trained.fits, name), values)


def test_none_of_infinitely_wide_networks() -> None:
    with pytest.raises(UsageError, match="infinitely wide network has no weights"):
        biasgpu.sample(make_task(), mlp("inf", 1), "kaiming-normal", fits=1, measures=True)


@pytest.mark.parametrize("prior", ["uniform", "uniform8", "kaiming-normal", "kaiming-uniform16"])
@pytest.mark.parametrize("bias", ["zero", "prior"])
def test_parameters_of_many(prior: str, bias: Any) -> None:
    from biasgpu.ensemble import Ensemble
    from biasgpu.priors import make

    for shape, classes, architecture in (
        ((5,), 3, mlp(7, 2, bias=bias)),
        ((1, 16, 16), 2, biasgpu.lenet(width="1/6", bias=bias)),
        ((4,), 2, mlp(3, 1, head="one-logit", bias=bias)),
    ):
        ensemble = Ensemble(architecture, make(prior), shape, classes, 9)
        last = ensemble.n_arrangements * (ensemble.max_draws - 1)
        index = np.array([0, 1, 7, 12, last + 1], np.uint64)
        flat = drawn_parameters(ensemble, index)
        for row, name in enumerate(index.tolist()):
            weights = list(Network(ensemble, name).weights().values())
            expected = np.concatenate([array.ravel() for array in weights])
            np.testing.assert_array_equal(flat[row], expected)
