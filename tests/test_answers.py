"""Predictions on test sets: in float32 where that is sure, and always the law's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biasgpu import answers, exact, priors
from biasgpu import given as given_networks
from biasgpu.architectures import lenet, mlp
from biasgpu.decision import arrange, predictions
from biasgpu.engines.cpu import answers as cpu_answers
from biasgpu.engines.cpu.answers import OPEN, TIED
from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError
from biasgpu.packing import Packing
from tests.strategies import Case, cases, strokes


def by_law(
    ensemble: Ensemble, draws: npt.NDArray[np.uint64], arrangement: npt.NDArray, x: npt.NDArray
) -> npt.NDArray[np.int64]:
    """One draw at a time, by the plain law."""
    rows = [
        predictions(arrange(ensemble.logits(draw, x), one))
        for draw, one in zip(draws.tolist(), arrangement.tolist(), strict=True)
    ]
    return np.array(rows).reshape(len(draws), len(x))


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases(), threads=st.sampled_from([1, 2]), block_bytes=st.sampled_from([1, 1 << 21]))
def test_predictions_are_those_of_the_law(case: Case, threads: int, block_bytes: int) -> None:
    ensemble = case.ensemble
    draws = np.uint64(case.first_draw) + np.arange(case.n_draws, dtype=np.uint64)
    arrangement = np.arange(case.n_draws) % ensemble.n_arrangements
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_answers, "BLOCK_BYTES", block_bytes)
        found = answers.classify(ensemble, draws, arrangement, case.x_train, threads=threads)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, by_law(ensemble, draws, arrangement, case.x_train))


def test_float32_decides_most_of_it_and_the_law_the_rest() -> None:
    ensemble = Ensemble(lenet("2/6"), priors.make("uniform"), (1, 28, 28), 2, 3)
    draws, x = np.arange(40, dtype=np.uint64), strokes(60)
    units = answers._units(ensemble, draws, x, 2)
    shares = [(units == kind).mean() for kind in (0, 1, int(OPEN))]
    assert min(shares[:2]) > 0.2
    assert 0.0 < shares[2] < 0.1
    arrangement = np.arange(40) % 2
    found = answers.classify(ensemble, draws, arrangement, x)
    np.testing.assert_array_equal(found, by_law(ensemble, draws, arrangement, x))


def test_a_silent_network_predicts_class_0_in_every_arrangement() -> None:
    ensemble = Ensemble(mlp(1, 3), priors.make("kaiming-uniform"), (5,), 2, 1)
    draws = np.arange(50, dtype=np.uint64)
    x = np.random.default_rng(2).normal(size=(9, 5)).astype(np.float32)
    units = answers._units(ensemble, draws, x, 1)
    assert (units == TIED).any(axis=1).sum() > 10
    for arrangement in (np.zeros(50, np.int64), np.ones(50, np.int64)):
        found = answers.classify(ensemble, draws, arrangement, x)
        assert not found[units == TIED].any()
        np.testing.assert_array_equal(found, by_law(ensemble, draws, arrangement, x))


def test_pairs_of_draws_and_samples_have_the_bits_of_the_law() -> None:
    rng = np.random.default_rng(4)
    for architecture, shape in (
        (lenet("1/6", bias="prior"), (1, 28, 28)),
        (mlp(3, 1), (40,)),  # more inputs than any layer has units
        (mlp(depth=0), (7,)),
    ):
        ensemble = Ensemble(architecture, priors.make("uniform"), shape, 2, 2**63 + 1)
        x = strokes(12) if len(shape) == 3 else rng.normal(size=(12, *shape)).astype(np.float32)
        for n in (1, 8, 21):
            draws = np.sort(rng.integers(2**40, 2**40 + 5, n)).astype(np.uint64)
            samples = rng.integers(0, 12, n)
            found = exact.pair_logits(ensemble, draws, samples, x, threads=2)
            for row, draw, sample in zip(found, draws.tolist(), samples.tolist(), strict=True):
                expected = ensemble.logits(draw, x[sample : sample + 1])[0]
                np.testing.assert_array_equal(row, expected)


def test_many_pairs_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "CACHE_BYTES", 1)
    ensemble = Ensemble(mlp(4, 1), priors.make("normal"), (6,), 3, 0)
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    draws = np.repeat(np.arange(7, dtype=np.uint64), 5)
    found = exact.pair_logits(ensemble, draws, np.tile(np.arange(5), 7), x, threads=2)
    expected = exact.logits(ensemble, np.arange(7, dtype=np.uint64), x)
    np.testing.assert_array_equal(found, expected.reshape(35, 3))


def test_a_logit_that_overflows_is_an_error() -> None:
    ensemble = Ensemble(mlp(24, 12), priors.make("uniform:1e12"), (6,), 2, 0)
    x = np.full((3, 6), 3e38, np.float32)
    deep = Ensemble(mlp(24, 40), priors.make("uniform:1e12"), (6,), 2, 0)
    assert not np.isfinite(deep.logits(0, x)).all()
    assert np.isfinite(ensemble.logits(0, x)).all()
    zeros = np.zeros(1, np.int64)
    answers.classify(ensemble, np.zeros(1, np.uint64), zeros, x)
    with pytest.raises(NonFiniteError):
        answers.classify(deep, np.zeros(1, np.uint64), zeros, x)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases(), threads=st.sampled_from([1, 2]), block_bytes=st.sampled_from([1, 1 << 21]))
def test_given_networks_are_classified_as_by_their_logits(
    case: Case, threads: int, block_bytes: int
) -> None:
    ensemble, packing = case.ensemble, Packing(case.ensemble.steps)
    flat = np.stack(
        [
            packing.pack(ensemble.parameters(draw))
            for draw in range(case.first_draw, case.first_draw + case.n_draws)
        ]
    ).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_answers, "BLOCK_BYTES", block_bytes)
        found, finite = given_networks.classify(ensemble.steps, flat, case.x_train, threads=threads)
    logits = given_networks.logits(ensemble.steps, flat, case.x_train)
    np.testing.assert_array_equal(finite, np.isfinite(logits).all(axis=(1, 2)))
    np.testing.assert_array_equal(found[finite], predictions(arrange(logits, 0))[finite])


def test_given_networks_that_overflow_are_named() -> None:
    ensemble = Ensemble(lenet("1/6"), priors.make("uniform"), (1, 28, 28), 2, 0)
    packing = Packing(ensemble.steps)
    flat = np.stack([packing.pack(ensemble.parameters(draw)) for draw in range(20)])
    flat = flat.astype(np.float32)
    flat[7] *= np.float32(3e38)
    flat[11, -1] = np.nan
    _, finite = given_networks.classify(ensemble.steps, flat, strokes(9))
    assert np.flatnonzero(~finite).tolist() == [11]
    flat[13, -1] = np.inf
    _, finite = given_networks.classify(ensemble.steps, flat, strokes(9))
    assert np.flatnonzero(~finite).tolist() == [11, 13]
