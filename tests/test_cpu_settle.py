"""What screening could not tell is decided by the law, from where the doubt is; nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from biasgpu import exact, priors
from biasgpu.architectures import mlp
from biasgpu.decision import arrange, decide, predictions
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu import settle as settling
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.engines.cpu.program import INJECT
from biasgpu.engines.cpu.settle import Doubts, follow
from biasgpu.engines.cpu.walk import STRAIGHT, SWAPPED
from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError
from biasgpu.priors import UniformPrior
from biasgpu.sampling import screening
from tests.strategies import strokes
from tests.test_cpu_engine import CASES, N, law

TWO_UNITS = ["lenet", "normal", "one logit", "dead"]
MUCH = 1e5  # times the bounds: much is in doubt then


@pytest.mark.parametrize("stages", [None, [1, 3]])
@pytest.mark.parametrize("name", TWO_UNITS)
def test_wide_bounds_change_nothing(
    name: str, stages: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    plan = None if stages is None else [*stages, case.n_train]
    engine = case.engine(threads=2, stages=plan)
    engine.program.constants[:, INJECT] *= MUCH
    asked = []
    monkeypatch.setattr(
        screening,
        "decide_prefixes",
        lambda engine, draws, **options: asked.extend(draws) or np.zeros(len(draws)),
    )
    prefixes, borderline = screening.screen(engine, case.first_draw, N)
    assert prefixes.tolist() == law(name).tolist()
    assert len(borderline) > N / 10
    assert not asked  # the law never had to begin at the first sample
    engine.close()


def test_more_units_are_left_to_the_law_from_the_first_sample() -> None:
    case = CASES["three classes"]
    engine = case.engine(threads=1)
    engine.program.constants[:, INJECT] *= MUCH
    prefixes = engine.screen(case.first_draw, N)
    left = np.flatnonzero(prefixes == BORDERLINE)
    assert len(left) > N / 4
    engine.settle(case.first_draw, prefixes)
    assert np.flatnonzero(prefixes == BORDERLINE).tolist() == left.tolist()
    engine.close()


def states_before(
    logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], sample: int
) -> np.uint64:
    """What samples before this one say of a draw's arrangement."""
    fits = [(predictions(arrange(logits, a)) == labels)[:sample].all() for a in (0, 1)]
    assert any(fits)
    return np.uint64(0) if all(fits) else (STRAIGHT if fits[0] else SWAPPED)


@pytest.mark.parametrize("ahead", [1, 2, 9])
@pytest.mark.parametrize("name", TWO_UNITS[1:])
def test_doubts_at_any_sample(name: str, ahead: int) -> None:
    """Every draw in doubt at each sample up to its first error, in turn."""
    case, expected = CASES[name], law(name)
    engine = case.engine(threads=1, stages=[1, 3, case.n_train])
    engine._ahead = ahead
    draws = np.uint64(case.first_draw) + np.arange(N, dtype=np.uint64)
    logits = exact.logits(case.ensemble, draws, case.inputs, threads=1)
    for back in range(case.n_train):
        samples = np.maximum(np.minimum(expected.astype(np.int64), case.n_train - 1) - back, 0)
        rows = zip(logits, samples.tolist(), strict=True)
        states = np.array([states_before(row, case.labels, k) for row, k in rows], np.uint64)
        prefixes = engine.screen(case.first_draw, N)
        prefixes[:] = BORDERLINE
        engine._latest = case.first_draw, [Doubts(np.arange(N), samples, states)]
        engine.settle(case.first_draw, prefixes, threads=1)
        assert prefixes.tolist() == expected.tolist()
    engine.close()


def test_the_law_is_asked_for_few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["lenet"]
    engine = case.engine(threads=1)
    engine.program.constants[:, INJECT] *= 300
    asked = []
    original = exact.logits

    def counted(ensemble: Ensemble, draws: npt.NDArray, x: npt.NDArray, **options: int):
        asked.append(len(draws) * len(x))
        return original(ensemble, draws, x, **options)

    monkeypatch.setattr(settling.exact, "logits", counted)
    _, borderline = screening.screen(engine, case.first_draw, N)
    engine.close()
    assert len(borderline) > 5
    assert sum(asked) <= 4 * len(borderline)


def test_settling_knows_only_the_latest_range() -> None:
    case = CASES["dead"]
    engine = case.engine(threads=1)
    engine.program.constants[:, INJECT] *= MUCH
    prefixes = engine.screen(case.first_draw, N)
    engine.screen(case.first_draw + N, 16)
    before = prefixes.copy()
    engine.settle(case.first_draw, prefixes)
    assert prefixes.tolist() == before.tolist()
    engine.close()


def test_following_refuses_what_is_not_finite() -> None:
    ensemble, draws = CASES["dead"].ensemble, np.array([7], np.uint64)
    logits, labels = np.array([[[0.0, 1.0], [np.inf, 0.0], [1.0, 0.0]]]), np.array([1, 0, 0])
    unknown = np.zeros((1, 3), bool)
    state = np.array([0], np.uint64)
    with pytest.raises(NonFiniteError, match="draw 7"):
        follow(logits, labels, unknown, state, ensemble, draws)
    # Not where screening was certain, nor behind the first error.
    known = np.array([[True, True, False]])
    after, reached = follow(logits, labels, known, np.array([STRAIGHT]), ensemble, draws)
    assert (after.tolist(), reached.tolist()) == ([STRAIGHT], [3])
    _, reached = follow(logits, labels, unknown, np.array([SWAPPED]), ensemble, draws)
    assert reached.tolist() == [0]


def test_following_keeps_both_arrangements_through_ties() -> None:
    ensemble, draws = CASES["dead"].ensemble, np.arange(2, dtype=np.uint64)
    logits, labels = np.zeros((2, 2, 2)), np.array([0, 0])
    logits[1, 1] = [0.0, 1.0]
    states, reached = follow(
        logits, labels, np.zeros((2, 2), bool), np.zeros(2, np.uint64), ensemble, draws
    )
    assert states.tolist() == [0, SWAPPED]
    assert reached.tolist() == [2, 2]
    assert decide(logits, labels, ensemble, draws).prefix.tolist() == [2, 2]


@pytest.mark.parametrize(("scale", "supported"), [(2.0**-94, True), (2.0**-96, False)])
def test_grids_too_fine_for_float32(scale: float, supported: bool) -> None:
    ensemble = Ensemble(mlp(2, 1), UniformPrior("test-fine", lambda fan_in: scale), (3,), 2, 1)
    found = CpuEngine.supports(ensemble)
    assert (found is None) == supported
    if not supported:
        assert "too small for float32" in str(found)
        return
    x = 1e25 * np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    logits = exact.logits(ensemble, np.arange(9, dtype=np.uint64), x)
    assert [row.tolist() for row in logits] == [ensemble.logits(d, x).tolist() for d in range(9)]
    wider = replace(ensemble, prior=priors.make("uniform"))
    assert CpuEngine.supports(wider) is None


def test_strokes_have_still_inputs() -> None:
    assert (strokes(4) == strokes(4)[0]).all(axis=0).mean() > 0.3
