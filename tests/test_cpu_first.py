"""A first dense layer: inputs sorted into still and moving ones, and bounds that cover both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from biasgpu import priors
from biasgpu.architectures import lenet, mlp
from biasgpu.engines.cpu.first import HEAD, Inputs
from biasgpu.engines.cpu.program import INJECT, Program, lower
from biasgpu.ensemble import Ensemble
from tests.strategies import strokes
from tests.test_cpu_bounds import check, screen


def inputs(prior: str = "uniform", stages: tuple[int, ...] = (2, 3, 6)) -> Inputs:
    x = np.array(
        [[1, 5, 0, -2], [1, 5, 0, 3], [1, 7, 0, 3], [2, 7, 0, 3], [2, 7, 0, 3], [2, 7, 9, 3]],
        np.float32,
    )
    program = lower(Ensemble(mlp(3, 1), priors.make(prior), (4,), 2, 1))
    largest = 1.0 if prior == "uniform" else float("inf")
    return Inputs.make(program, x, np.array(stages), largest)


def test_inputs_are_sorted_by_stage() -> None:
    found = inputs()
    assert found.order[:, 0].tolist() == [3, 4, 3]
    assert found.order[:, HEAD:].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 3, 2]]
    assert found.rows.reshape(-1, 4).tolist() == [
        [1, 5, 0, -2], [1, 5, 0, -2], [1, 5, 0, 3],
        [1, 7, 0, 3], [1, 7, 0, 3],
        [2, 7, 3, 0], [2, 7, 3, 0], [2, 7, 3, 0], [2, 7, 3, 9],
    ]  # fmt: skip
    assert found.wide.tolist() == found.rows.tolist()
    assert found.peaks.tolist() == [2, 7, 9, 3]


def test_magnitudes_cover_every_input() -> None:
    found = inputs()
    assert found.order[:, 1].tolist() == [3, 4, 3]  # still inputs are covered by the first entry
    assert (found.magnitudes[:, 0] >= [6, 11, 12]).all()
    assert found.magnitudes[:, 0] == pytest.approx([6, 11, 12], rel=1e-5)
    assert found.magnitudes[0, HEAD:].tolist() == pytest.approx([1, 5, 0, 3])
    assert found.magnitudes[2, HEAD:].tolist() == pytest.approx([2, 7, 3, 9])
    normal = inputs("kaiming-normal")
    assert normal.order[:, 1].tolist() == [0, 0, 0]  # no largest weight: each is looked at
    assert normal.magnitudes[:, 0].tolist() == [0, 0, 0]


def test_other_first_layers_take_inputs_as_they_are() -> None:
    ensemble = Ensemble(lenet("1/6"), priors.make("uniform"), (1, 28, 28), 2, 1)
    found = Inputs.make(lower(ensemble), strokes(3), np.array([3]), 1.0)
    assert found.rows.tolist() == strokes(3).reshape(-1).tolist()


@pytest.mark.parametrize("prior", ["uniform", "uniform8:0.3", "kaiming-normal"])
@pytest.mark.parametrize("size", [1, 5, 8, 9, 64, 65, 130, 300])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_bounds_hold_whatever_is_still(prior: str, size: int, share: float) -> None:
    rng = np.random.default_rng(size)
    x = rng.normal(size=(5, size)).astype(np.float32)
    still = rng.random(size) < share
    x[:, still] = x[0, still]
    check(screen(Ensemble(mlp(6, 1, bias="prior"), priors.make(prior), (size,), 2, 5), x, 99))


@pytest.mark.parametrize("covered", [True, False])
def test_a_bound_without_still_inputs_would_be_noticed(
    covered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(1).normal(size=(1, 200)).astype(np.float32)  # one sample: all still
    ensemble = Ensemble(mlp(8, 1), priors.make("uniform"), (200,), 2, 5)
    original = Inputs.make

    def make(program: Program, *parts: Any) -> Inputs:
        program.constants[1, INJECT] = 0.0  # so that only the first layer's bound is left
        found = original(program, *parts)
        if not covered:
            found.magnitudes[:, 0] = 0
        return found

    monkeypatch.setattr(Inputs, "make", make)
    if covered:
        check(screen(ensemble, x, 0))
        return
    with pytest.raises(AssertionError):
        check(screen(ensemble, x, 0))
