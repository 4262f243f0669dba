"""Runs by method "deferred": chosen, stored, resumed, verified, shown, exported as any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

import biasgpu as bg
from biasgpu import methods, priors
from biasgpu.architectures import Architecture
from biasgpu.cli.root import root
from biasgpu.errors import RefusedError, UsageError
from biasgpu.experiment import Experiment
from biasgpu.sampling.events import Note, Progress
from tests.runs import assert_same, interrupting

TASK = bg.task("mnist", n_train=8)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments))


def start(output: Path | None = None, **options: Any) -> bg.Run:
    return bg.sample(
        TASK, bg.mlp(40, 2), output=output, **{"fits": 5, "curve_fits": 4, "seed": 3, **options}
    )


@pytest.mark.parametrize(
    ("architecture", "prior", "expected"),
    [
        (bg.mlp(512), "kaiming-normal", "deferred"),
        (bg.paper_mlp(), "normal:0.2", "deferred"),
        (bg.mlp("inf"), "kaiming-normal", "deferred"),
        (bg.mlp(512), "uniform", "direct"),
        (bg.lenet(), "kaiming-normal", "direct"),
    ],
)
def test_the_method_chosen(architecture: Architecture, prior: str, expected: str) -> None:
    assert methods.choose("auto", TASK, architecture, priors.make(prior)) == expected


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    whole = start(batch_draws=150)
    assert whole.experiment.method == "deferred"
    assert whole.n_draws > 300
    path = tmp_path / "run.h5"
    with pytest.raises(KeyboardInterrupt):
        start(path, batch_draws=150, on_event=interrupting(Progress, 2))
    assert bg.open(path).n_draws == 300
    assert_same(bg.resume(path, batch_draws=70), whole)
    again = bg.open(path)
    assert_same(again, whole)
    assert again.experiment.method == "deferred"
    assert again.verify().ok


def test_engines_find_the_same_run() -> None:
    assert_same(
        start(engine="cpu", fits=None, candidates=600),
        start(engine="reference", fits=None, candidates=600),
    )


def test_the_method_is_part_of_the_experiment(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    start(path)
    found = command("sample", "--resume", str(path), "--method", "direct", "--fits", "9")
    assert found.exit_code == RefusedError.exit_code
    assert "method is deferred in the file, direct now" in found.stderr
    found = command("sample", "--resume", str(path), "--method", "auto", "--fits", "6", "--json")
    assert json.loads(found.stdout)["method"] == "deferred"


def test_networks_are_what_they_were_found_to_be(tmp_path: Path) -> None:
    run = start(tmp_path / "run.h5")
    for network in run:
        weights = network.weights()
        assert weights["1.weight"].shape == (40, 784)
        x = TASK.x_test.reshape(len(TASK.x_test), -1).astype(np.float64)
        for name in ("1", "3", "5"):
            matrix = weights[f"{name}.weight"].astype(np.float64)
            x = x @ matrix.T + weights[f"{name}.bias"].astype(np.float64)
            x = x if name == "5" else np.maximum(x, 0)
        assert np.allclose(x, network.logits(TASK.x_test), atol=1e-5)
        accuracy = float((network.predict(TASK.x_test) == TASK.y_test).mean())
        row = run.fits_at(8).index.tolist().index(network.index)
        assert accuracy == run.test_accuracy[row]


def test_shown_and_exported(tmp_path: Path) -> None:
    path, tensors = tmp_path / "run.h5", tmp_path / "fits.safetensors"
    run = start(path)
    shown = command("show", str(path), "--index", str(run[0].index), "--json")
    found = json.loads(shown.stdout)
    assert found["fit"] and found["without_weights"] == ""
    assert found["margin"] == pytest.approx(float(run.fits_at(8).margin[0]))
    assert command("export", str(path), "-o", str(tensors), "--fits", "2").exit_code == 0
    names = run[1].weights()
    stored = load_file(tensors)
    for name, array in names.items():
        assert np.array_equal(stored[f"{run[1].index}/{name}"], array)


def test_infinite_width(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    found = command(
        *("sample", "--width", "inf", "--n-train", "8", "--fits", "20", "-o", str(path), "--json")
    )
    summary = json.loads(found.stdout)
    assert (summary["method"], summary["architecture"]) == ("deferred", "mlp width inf depth 2")
    assert summary["test_accuracy"]["mean"] > 0.6
    run = bg.open(path)
    assert run.verify().ok
    shown = command("show", str(path), "--index", str(run[0].index))
    assert shown.exit_code == 0
    assert "an infinitely wide network has no weights" in shown.stderr
    refused = command("export", str(path), "-o", str(tmp_path / "x.safetensors"))
    assert refused.exit_code == UsageError.exit_code
    assert "Gaussian process" in refused.stderr
    with pytest.raises(UsageError, match="no weights"):
        run[0].logits(TASK.x_test + np.float32(1))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--method deffered", "Did you mean 'deferred'?"),
        ("--method deferred --prior uniform", "is not Gaussian"),
        ("--method direct --width inf", "has no weights to draw"),
        ("--width inf --prior normal", "no limit of infinite width"),
        ("--width inf --prior uniform", "is not Gaussian"),
        ("--width infinite", "or 'inf'"),
        ("--engine torch", "does not know method 'deferred'"),
        ("--method direct --width 400000", "method='deferred'"),
    ],
)
def test_refused_before_any_work(arguments: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "never.h5"
    found = command("sample", *arguments.split(), "--fits", "1", "-o", str(path))
    assert found.exit_code == UsageError.exit_code
    assert expected in found.stderr
    assert "Why:" in found.stderr and "Fix:" in found.stderr
    assert not path.exists()


def test_too_wide_to_be_written_down(tmp_path: Path) -> None:
    run = bg.sample(TASK, bg.mlp(50_000, 2), fits=1, curve_fits=0, candidates=4000)
    assert run.n_candidates > 0
    network = run.network(0)
    with pytest.raises(UsageError, match="weights"):
        network.weights()
    assert network.logits(TASK.x_train).shape == (8, 2)


def test_a_note_where_measuring_takes_long() -> None:
    seen: list[str] = []

    def note(event: object) -> None:
        if isinstance(event, Note):
            seen.append(event.text)

    wide = bg.mlp(20_000, 1)
    bg.sample(TASK, wide, candidates=2, curve_fits=0, on_event=note)
    assert not any("curve_fits=0" in text for text in seen)
    experiment = Experiment(TASK, bg.mlp(100_000, 2), priors.make("normal"), 1, method="deferred")
    assert "curve_fits=0 (--curve-fits 0)" in experiment.note
