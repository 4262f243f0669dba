"""Compiled batch norms: the bits of the plain law, and its prefixes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from biasgpu import batch_norm_law, engines, exact, priors
from biasgpu.architectures import Architecture, resnet4
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.decision import decide
from biasgpu.drawn import drawn_parameters
from biasgpu.engines.cpu.batch_norm_engine import BatchNormEngine
from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError, UsageError
from biasgpu.given import classify, reference_logits
from biasgpu.given import logits as given_logits
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, residual
from biasgpu.packing import Packing
from biasgpu.sampling.screening import screen
from tests.batch_norm_cases import cases
from tests.strategies import Case, strokes

FEW = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def reference_prefixes(case: Case) -> list[int]:
    draws = np.uint64(case.first_draw) + np.arange(case.n_draws, dtype=np.uint64)
    logits = np.stack([case.ensemble.logits(draw, case.x_train) for draw in draws.tolist()])
    return decide(logits, case.y_train, case.ensemble, draws).prefix.tolist()


@FEW
@given(case=cases())
def test_random_architectures(case: Case) -> None:
    ensemble = case.ensemble
    assert isinstance(ensemble, BatchNormEnsemble)
    draws = np.uint64(case.first_draw) + np.arange(case.n_draws, dtype=np.uint64)
    logits, statistics = batch_norm_law.settle(ensemble, draws, threads=1)
    x = np.random.default_rng(0).normal(size=(9, *ensemble.shape)).astype(np.float32)
    elsewhere = exact.logits(ensemble, draws, x, threads=1)
    for row, draw in enumerate(draws.tolist()):
        expected = ensemble.statistics(draw).values()
        expected = np.concatenate([np.stack(pair, axis=-1) for pair in expected])
        np.testing.assert_array_equal(statistics[row], expected)
        np.testing.assert_array_equal(logits[row], ensemble.logits(draw, ensemble.x_train))
        np.testing.assert_array_equal(elsewhere[row], ensemble.logits(draw, x))
    if BatchNormEngine.supports(ensemble) is None:
        engine = BatchNormEngine(ensemble, case.x_train, case.y_train, threads=1)
        prefixes, _ = screen(engine, case.first_draw, case.n_draws, threads=1)
        engine.close()
        assert prefixes.tolist() == reference_prefixes(case)
