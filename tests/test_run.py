"""What a run says, from memory or from its file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import biasgpu
from biasgpu import mlp, priors
from biasgpu.errors import DamagedFileError, UsageError
from biasgpu.experiment import Experiment
from biasgpu.reopen import from_stored
from biasgpu.results import read
from tests.runs import N_TRAIN, assert_same, make_task, start


def test_a_file_holds_the_whole_run(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = start(path, keep_predictions=True)
    assert run.output == path
    stored = biasgpu.open(path)
    assert_same(stored, run)
    assert stored.elapsed_s == run.elapsed_s > 0
    assert stored.summary() == run.summary()
    assert stored.provenance["engine"] == stored.engine == "reference"
    assert stored.device == "cpu"
    assert stored.provenance["stopping"] == {"fits": 4, "candidates": None, "time_s": None}
    assert stored.fits.test_predictions is not None
    assert run.fits.test_predictions is not None
    assert np.array_equal(stored.fits.test_predictions, run.fits.test_predictions)
    assert_same(start(), from_stored(read(start_file(tmp_path))))


def start_file(folder: Path) -> Path:
    path = folder / "other.h5"
    start(path)
    return path


def test_a_configuration_that_is_not_of_this_task() -> None:
    task = make_task()
    experiment = Experiment(task, mlp(3, 1), priors.make("uniform"), 11)
    config = json.loads(json.dumps(experiment.to_config()))
    assert Experiment.from_config(config, task).to_config() == config
    for key in ("seed", "architecture", "prior", "first_draw"):
        with pytest.raises(DamagedFileError, match="incomplete"):
            Experiment.from_config({k: v for k, v in config.items() if k != key}, task)
    with pytest.raises(DamagedFileError, match="not the one"):
        Experiment.from_config(config, make_task(n_test=3))
    with pytest.raises(UsageError, match="method 'deferred'"):
        Experiment.from_config({**config, "method": "deferred"}, task)


def test_what_a_run_says() -> None:
    run = start(fits=None, candidates=400)
    assert len(run) == run.n_fits == len(run.test_accuracy) == len(list(run))
    assert [network.index for network in run] == run.fits_at(N_TRAIN).index.tolist()
    assert run[0].index == next(iter(run)).index
    assert run[-1].index == run[len(run) - 1].index
    with pytest.raises(IndexError):
        run[len(run)]
    assert run.network(5).index == 5
    with pytest.raises(UsageError):
        run.network(2**64)
    assert (run[0].predict(run.task.x_train) == run.task.y_train).all()
    assert run.verify().ok
    assert [point["n_train"] for point in run.curve] == [2, 4]
    assert [point["n_fits"] for point in run.curve] == [run.n_fits_at(2), run.n_fits]
    assert run.curve[0]["test_accuracy"]["n"] == 3
    assert run.curve[1]["test_accuracy"]["mean"] == run.test_accuracy.mean()
    low, high = run.fit_probability_interval
    assert run.fit_probability == run.n_fits / run.n_candidates
    assert low < run.n_fits / run.n_candidates < high
    assert run.minus_log2_fit_probability == -math.log2(run.n_fits / run.n_candidates)
    wide = run.estimate(2, confidence=0.999)
    assert wide.low < run.estimate(2).low
    assert "mlp width 3 depth 1" in repr(run)
    with pytest.raises(UsageError, match="n_train is 3; the curve of this run has 2, 4"):
        run.fits_at(3)


def test_a_summary_is_json() -> None:
    for run in (start(), start(fits=None, candidates=2, first_index=4)):
        summary = run.summary()
        text = json.dumps(summary, allow_nan=False)
        assert json.loads(text) == summary
        for key in (
            "n_candidates",
            "n_fits",
            "fit_probability",
            "fit_probability_interval",
            "minus_log2_fit_probability",
            "candidates_per_s",
            "elapsed_s",
            "engine",
            "device",
            "seed",
            "output",
            "versions",
            "n_borderline",
        ):
            assert key in summary
        assert {"mean", "std", "min", "max"} <= set(summary["test_accuracy"])
        for point in summary["curve"]:
            assert {"n_train", "n_fits", "minus_log2_fit_probability", "interval"} <= set(point)
            assert "mean" in point["test_accuracy"]


def test_a_run_without_fits() -> None:
    run = start(fits=None, candidates=2)
    assert (run.n_fits, len(run), bool(run)) == (0, 0, True)
    assert run.fit_probability == 0.0
    assert run.minus_log2_fit_probability is None
    assert run.curve[-1]["interval"][1] is None
    assert run.curve[-1]["test_accuracy"]["mean"] is None
    with pytest.raises(IndexError):
        run[0]


def test_confidence_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = start(path, confidence=0.5)
    assert biasgpu.open(path).fit_probability_interval == run.fit_probability_interval
    assert biasgpu.open(path, confidence=0.9).confidence == 0.9
    with pytest.raises(UsageError, match="confidence is 2"):
        biasgpu.open(path, confidence=2)
