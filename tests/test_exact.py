"""The compiled law has the bits of the plain one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biasgpu import exact, priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.priors import NormalPrior, UniformPrior
from tests.strategies import Case, cases, strokes


def check(case: Case, threads: int | None = 1) -> None:
    draws = np.uint64(case.first_draw) + np.arange(case.n_draws, dtype=np.uint64)
    found = exact.logits(case.ensemble, draws, case.x_train, threads=threads)
    assert found.dtype == np.float64
    assert found.shape == (case.n_draws, len(case.x_train), case.ensemble.n_outputs)
    for row, draw in zip(found, draws.tolist(), strict=True):
        np.testing.assert_array_equal(row, case.ensemble.logits(draw, case.x_train))


@settings(
    derandomize=True,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases(), threads=st.sampled_from([1, 1, 2, None]))
def test_random_ensembles(case: Case, threads: int | None) -> None:
    check(case, threads)


KNOWN = [
    (lenet("1/6"), "uniform", (1, 28, 28), 2),
    (lenet("2/6,1/6,1/24,1/24"), "kaiming-normal", (1, 28, 28), 3),
    (lenet("1/6", bias="prior"), "uniform8:3", (3, 32, 32), 2),
    (paper_mlp("1/6"), "kaiming-uniform16", (1, 28, 28), 2),
    (mlp(33, 2, bias="prior"), "normal:1e-6", (17,), 3),
    (mlp(5, 1, head="one-logit"), "uniform16", (1,), 2),
    (mlp(depth=0, bias="prior"), "kaiming-uniform8", (16,), 2),
    (
        Architecture(
            "padded",
            [
                *(ReLU(), MaxPool2d(2), Conv2d(3, "prior", kernel=4, padding=3), MaxPool2d(3)),
                *(Conv2d(5, kernel=2, padding=1), ReLU(), MaxPool2d(2), ReLU(), Flatten()),
                *(Dense(18), Dense(2, "prior"), ReLU()),
            ],
        ),
        "uniform:1e6",
        (2, 9, 12),
        3,
    ),
]


@pytest.mark.parametrize(("architecture", "prior", "shape", "n_classes"), KNOWN, ids=str)
@pytest.mark.parametrize("buffer_bytes", [exact.BUFFER_BYTES, 1 << 16, 1])
def test_known_networks_in_blocks_of_any_size(
    architecture: Architecture,
    prior: str,
    shape: tuple[int, ...],
    n_classes: int,
    buffer_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact, "BUFFER_BYTES", buffer_bytes)
    ensemble = Ensemble(architecture, priors.make(prior), shape, n_classes, 2**63 + 5)
    rng = np.random.default_rng(1)
    x = strokes(5) if shape == (1, 28, 28) else rng.normal(size=(5, *shape)).astype(np.float32)
    check(Case(ensemble, x, np.zeros(5, np.int64), 2**40 + 2**32 - 3, 11), threads=2)


def test_draws_need_not_follow_each_other() -> None:
    ensemble = Ensemble(mlp(6, 2), priors.make("kaiming-normal"), (4,), 2, 9)
    x = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    draws = np.array([2**63 - 1, 0, 7, 7, 2**32, 2**32 - 1, 1, 2**40, 12, 3], np.uint64)
    found = exact.logits(ensemble, draws[::-1], x)[::-1]
    for row, draw in zip(found, draws.tolist(), strict=True):
        np.testing.assert_array_equal(row, ensemble.logits(draw, x))


@pytest.mark.parametrize(("n_draws", "n_samples"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_asked(n_draws: int, n_samples: int) -> None:
    ensemble = Ensemble(mlp(6, 2), priors.make("uniform"), (4,), 3, 9)
    x = np.ones((n_samples, 4), np.float32)
    found = exact.logits(ensemble, np.arange(n_draws, dtype=np.uint64), x)
    assert found.shape == (n_draws, n_samples, 3)


def test_a_prior_that_changes_under_its_name() -> None:
    x = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    for prior in (
        NormalPrior("mine", lambda fan_in: 1.0),
        NormalPrior("mine", lambda fan_in: 2.0 / fan_in),
        UniformPrior("mine", lambda fan_in: 1.0),
        UniformPrior("mine", lambda fan_in: 1.0, 16),
    ):
        check(Case(Ensemble(mlp(6, 2), prior, (4,), 2, 9), x, np.zeros(3, np.int64), 0, 5))
