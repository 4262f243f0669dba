"""Tensor cores in the triton engine: the plan, the law's prefixes, constants, memory, times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

from biasgpu import doctor, priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.engines import BORDERLINE, triton_tensor, triton_timing
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.triton_direct import TritonDirectEngine
from biasgpu.engines.triton_program import Program
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels import tensor_plan
from biasgpu.layers import Dense, Flatten, ReLU
from biasgpu.margins import exact_sum_constants, gamma, layer_constants
from tests.direct_cases import CASES, DirectCase, small_lenet

CASES_HERE = {
    **{name: CASES[name] for name in ("three classes", "kaiming", "zero input", "one twice")},
    **{name: CASES[name] for name in ("fixed outputs", "zero input, bias", "pooled input")},
    "last draws": DirectCase(mlp(5, 1), n_train=9, first_draw=2**62, seed=2**63 + 3),
    "one logit": DirectCase(
        mlp(34, 1, head="one-logit", bias="prior"), (33,), "uniform8", first_draw=2**41, seed=2**33
    ),
    "not rectified": DirectCase(
        Architecture("odd", [Flatten(), Dense(3), Dense(5, "prior"), ReLU()], bias="prior"),
        n_classes=4,
        n_train=8,
    ),
    "linear": DirectCase(mlp(4, 0), (40,), "uniform:0.2", n_train=15, first_draw=2**45),
    "behind convolutions": DirectCase(small_lenet(), (1, 8, 7), "uniform16", n_train=3),
    "large": DirectCase(mlp(3, 2), prior="uniform:1e8", n_train=4, kind="large"),
}


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dense layers go to tensor cores where they can, whether that pays or not."""
    monkeypatch.setattr(tensor_plan, "pays", lambda *_, samples, **__: samples in tensor_plan.ROW)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("name", CASES_HERE)
def test_states_the_law(name: str) -> None:
    case = replace(CASES_HERE[name], n_draws=20)
    engine, law = case.engine(), case.law()
    dense = {n for n, op in enumerate(engine._program.ops) if not op.kernel}
    assert triton_tensor.layers(engine._program, 2) == dense
    with np.errstate(over="ignore", invalid="ignore"):  # the interpreter computes with NumPy
        found = engine.screen(case.first_draw, case.n_draws)
    sure = found != BORDERLINE
    assert found[sure].tolist() == law[sure].tolist()
    assert sure.all() or name in ("large", "behind convolutions")
    if name not in ("large", "behind convolutions", "one twice"):
        assert engine.tally.float64 <= 1  # float32 settles them


@pytest.mark.usefixtures("everywhere")
def test_random_ensembles() -> None:
    rng, tried = np.random.default_rng(11), 0
    while tried < 3:
        ensemble, x, y = doctor._random_ensemble(rng)
        first = int(rng.integers(2**40, 2**62))
        small = sum(s.linear.units * s.columns for s in ensemble.steps if s.linear) < 200
        if ensemble.method != "direct" or len(ensemble.shape) > 1 or not small:
            continue
        engine = TritonDirectEngine(ensemble, x, y)
        if not triton_tensor.layers(engine._program, 2):
            continue
        tried += 1
        found = engine.screen(first, 16)
        law = ReferenceEngine(ensemble, x, y).screen(first, 16)
        sure = found != BORDERLINE
        assert found[sure].tolist() == law[sure].tolist(), ensemble
        assert sure.mean() > 0.8


@pytest.mark.usefixtures("everywhere")
def test_too_tight_a_bound_loses_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarse inputs, of four bits: bounds say so, and nothing wrong is stated."""
    case = DirectCase(mlp(4, 0), (9,), n_train=12, n_draws=400)
    law, exact = case.law(), triton_tensor.shared_digits

    def coarse(units: float) -> Any:
        def made(program: Program, stage: plan.Stage) -> Any:
            digits, numbers = exact(program, stage)
            digits[:, :, :] = 0
            kept, _ = exact(program, stage)
            digits[:, :, 3::4] = kept[:, :, 3::4] & -8  # of the upper digit the upper five bits
            bound = 2.0**24 * program.scale(0) * 9 * units * numbers[0] / program.scale(0)
            return digits, np.stack([*numbers[:2], numbers[2] + bound, numbers[3]])

        return made

    right = 0.5 * 2.0**27  # an input is off by less than so many units
    for units, wrong in ((right, False), (0.0, True)):
        monkeypatch.setattr("biasgpu.engines.triton_forward.shared_digits", coarse(units))
        engine = case.engine()
        monkeypatch.setattr(engine, "_try", _once(engine))
        found = engine.screen(case.first_draw, case.n_draws)
        sure = found != BORDERLINE
        assert (found[sure] != law[sure]).any() == wrong
        assert sure.all() == wrong


def _once(engine: TritonDirectEngine) -> Any:
    tried = engine._try

    def first(*args: Any) -> None:
        if not args[2]:
            tried(*args)

    return first


# --- the plan ------------------------------------------------------------------------------------


def program(
    architecture: Architecture, prior: str = "uniform", shape: tuple[int, ...] = (1, 28, 28)
) -> Program:
    ensemble = Ensemble(architecture, priors.make(prior), shape, 2, 0)
    return Program(ensemble, np.ones((8, *shape), dtype=np.float32))


@pytest.mark.parametrize(
    ("architecture", "prior", "expected"),
    [
        (mlp(512, 2), "uniform", [{0, 1}, {0, 1}, {0, 1}]),
        (mlp(512, 2), "uniform8", [{0, 1}, {0, 1}, {0, 1}]),
        (mlp(512, 2), "kaiming-normal", [set(), set(), set()]),
        (paper_mlp("2/6"), "uniform", [{0}, {0}, {0}]),
        (lenet("2/6"), "uniform", [set(), set(), {2}]),
        (mlp(8, 1, bias="prior"), "uniform", [{0}, {0}, {0}]),
        (mlp(512, 1), "uniform:1e-12", [set(), set(), set()]),
    ],
)
def test_the_plan(architecture: Architecture, prior: str, expected: list[set[int]]) -> None:
    made = program(architecture, prior)
    assert [set(triton_tensor.layers(made, samples)) for samples in (2, 4, 8)] == expected
    assert triton_tensor.layers(made, 1) == triton_tensor.layers(made, 16) == frozenset()


def test_the_first_stage_takes_more_where_it_costs_little() -> None:
    wide, narrow = program(mlp(512, 2)), program(paper_mlp("2/6"))
    assert triton_tensor.stages(wide, 16) == [plan.Stage(0, 4), plan.Stage(4, 8), plan.Stage(12, 4)]
    assert triton_tensor.stages(narrow, 16) == plan.stages(16)
    assert triton_tensor.stages(program(mlp(512, 2), "kaiming-normal"), 16) == plan.stages(16)
    assert triton_tensor.stages(program(lenet("1")), 16) == plan.stages(16)
    assert triton_tensor.stages(wide, 3) == [plan.Stage(0, 3)]


def test_points_stay_with_threads() -> None:
    made = program(mlp(8, 1, head="one-logit", bias="prior"), shape=(2,))
    assert not any(triton_tensor.layers(made, samples) for samples in (2, 4, 8))


def test_amd_needs_more_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_tensor, "maker", lambda: "hip")
    made = program(mlp(512, 2))
    assert [set(triton_tensor.layers(made, n)) for n in (2, 4, 8)] == [set(), {0, 1}, {0, 1}]
    assert tensor_plan.bounds(4, "hip") == 16 and tensor_plan.bounds(4, "cuda") == 8


def test_tiles() -> None:
    assert [tensor_plan.rows(n, False) for n in (28, 40, 64, 96, 100, 512)] == [
        32, 64, 64, 32, 64, 64,
    ]  # fmt: skip
    assert tensor_plan.rows(3, True) == plan.BLOCK
    assert tensor_plan.padded(196, 32) == 800 and tensor_plan.padded(1, 8) == 128


def test_constants_of_exact_sums() -> None:
    """No rounding but the law's and the weights'; none of these where steps are powers of two."""
    usual = layer_constants(784, depth=60)
    exact, rounded = exact_sum_constants(784), exact_sum_constants(784, 2.0**-24)
    assert gamma(786, 2.0**-53) < exact.inject < 1e-12 < 2.0**-24 < rounded.inject < 2.0**-23
    assert rounded.inject < usual.inject / 30
    assert min(exact.gain, rounded.gain) > 1.0
    layers = frozenset({0, 1})
    for prior, inject in (("uniform", 1e-12), ("uniform:0.2", 2.0**-23)):
        made = program(mlp(64, 1), prior)
        assert made.constants(0, False, layers)[2] < inject
        assert made.constants(0, False)[2] > 2.0**-23
        assert (made.constants(0, True, layers) == made.constants(0, True)).all()


def test_memory_of_digits_is_counted() -> None:
    made = program(mlp(512, 2))
    none = program(mlp(512, 2), "kaiming-normal")
    assert made.padded_inputs == 512 and none.padded_inputs == 0
    extra = made.bytes_per_draw(2, False) - none.bytes_per_draw(2, False)
    assert extra >= 512 * (8 + tensor_plan.bounds(2, "cuda"))
    assert made.bytes_per_draw(2, True) == none.bytes_per_draw(2, True)


@pytest.mark.usefixtures("everywhere")
def test_every_kernel_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_timing, "REPEATS", 0)
    engine = DirectCase(mlp(4, 1), n_train=2).engine()
    found = triton_timing.kernel_times(engine, 64)
    assert [(one.kernel, one.layer) for one in found] == [
        ("product", 0), ("digits", 1), ("product", 1),
    ]  # fmt: skip
