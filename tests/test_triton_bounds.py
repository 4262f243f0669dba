"""The bounds that the factor kernel carries, by its twin in NumPy: many draws, every error held."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

from biasgpu.architectures import Architecture, mlp
from biasgpu.deferred import orthogonal, words
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.deferred.reference import augmented
from biasgpu.engines.triton_inputs import Inputs
from biasgpu.kernels import plan, reference
from biasgpu.layers import Dense, Flatten, ReLU
from tests.kernel_cases import DEVICE, DeferredCase

Floats = npt.NDArray[np.float64]
PARAMETERS = (1.0, 0.0, 0.0, 2.0**-45, 2.0**-22, 2.0**-47)  # no biases, exact sums


def law_factors(ensemble: DeferredEnsemble, draw: int, n: int) -> list[Floats]:
    """The law's coefficients of each layer's inputs but the first's."""
    made = ensemble.plan
    assert ensemble.shared is not None
    r, factors = ensemble.shared[1][:n, :n], []
    for number, layer in enumerate(made.layers[:-1]):
        g = words.directions(ensemble.seed, draw, made, number, n)
        y = orthogonal.combine(np.zeros((n, layer.units)), layer.std * r, g)
        h = augmented(made.layers[number + 1], np.maximum(y, 0.0) if layer.rectified else y)
        r = orthogonal.orthonormalize(h, n)[1]
        factors.append(r)
    return factors


def screened_factors(
    case: DeferredCase, draws: list[int], wide: bool
) -> list[tuple[Floats, Floats, Floats]]:
    """The twins' factors with bounds, layer after layer, and what they are multiplied by."""
    ensemble, n = case.ensemble, case.n_train
    made, inputs = ensemble.plan, Inputs(ensemble, case.y_train, DEVICE)
    first = inputs.first_coefficients(n, wide)
    c = np.broadcast_to(first.values.cpu().numpy().reshape(n, n), (len(draws), n, n))
    error = np.broadcast_to(first.error.cpu().numpy(), (len(draws), n))
    limit = np.broadcast_to(first.limit.cpu().numpy(), (len(draws), n))
    unit = np.full(len(draws), first.unit.item())
    found = []
    for number, layer in enumerate(made.hidden):
        gram, square, top = reference.gram(ensemble.seed, draws, made.blocks, layer, c)
        values = tuple(inputs.parameters(number + 1, n, wide).cpu().tolist())
        tops = top if plan.tiles(layer).can_die else None
        before = unit
        root, bound, c, error, limit, unit = reference.factor(
            gram, square, tops, error, limit, unit, values
        )
        found.append((root, bound, before))
    return found


CASES = {
    "plain": DeferredCase(mlp(40, 3), (8,), n_train=6),
    "biases": DeferredCase(mlp(33, 3, bias="prior"), (5,), n_train=5, seed=2**40),
    "narrow": DeferredCase(mlp(3, 2), (4,), n_train=5),
    "dying": DeferredCase(mlp(2, 3), (4,), n_train=3),
    "one twice": DeferredCase(mlp(20, 2), (4,), n_train=5, kind="one twice"),
    "not rectified": DeferredCase(
        Architecture("odd", [Flatten(), Dense(20), Dense(17, "prior"), ReLU(), Dense(90)]), (6,)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bounds_hold_the_law(name: str) -> None:
    case, draws = CASES[name], list(range(60))
    ensemble, n = case.ensemble, case.n_train
    law = [law_factors(ensemble, draw, n) for draw in draws]
    decided = 0.0
    for number, (root, bound, unit) in enumerate(screened_factors(case, draws, wide=False)):
        truth = np.array([of_draw[number] for of_draw in law]) * unit[:, None, None]
        lower = np.isfinite(bound) & np.tril(np.ones((n, n), dtype=bool))
        assert (np.abs(root - truth) <= bound)[lower].all()
        decided += float((bound < 0.1 * np.abs(truth).max(axis=(1, 2), keepdims=True)).mean())
    if name in ("plain", "biases"):
        assert decided > 0.9 * len(ensemble.plan.hidden)


def _exact_factor(h: Floats) -> Floats:
    return orthogonal.orthonormalize(h, len(h))[1]


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("likeness", [0.0, 0.9, 0.999])
def test_bounds_hold_for_any_perturbation(size: float, likeness: float) -> None:
    """Inputs moved by delta: at random, towards each other, and along what hurts a pivot most."""
    rng = np.random.default_rng(0)
    n, length, trials = 5, 40, 60
    for trial in range(trials):
        common = rng.normal(size=length)
        h = (1 - likeness) * rng.normal(size=(n, length)) + likeness * common
        if trial % 7 == 3:
            h[3] = h[1]  # dependent
        delta = size * np.linalg.norm(h, axis=1) * rng.uniform(0.2, 1.0, n)
        direction = rng.normal(size=(n, length))
        if trial % 3 == 1:
            direction = common - h
        elif trial % 3 == 2:
            q, _ = np.linalg.qr(h.T)
            direction = q.T[rng.permutation(n)] * rng.choice([-1, 1], n)[:, None]
        norms = np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-300)
        moved = h + delta[:, None] * direction / norms
        root, bound, *_ = reference.factor(
            (moved @ moved.T).astype(np.float64)[None],  # type: ignore[arg-type]
            np.ones(1, dtype=np.float32),
            None,
            delta[None] / reference.NORM_UP,
            np.zeros((1, n)),
            np.ones(1),
            PARAMETERS,
        )
        assert (np.abs(root[0] - _exact_factor(h)) <= bound[0]).all(), (trial, size, likeness)


def test_bounds_are_not_idle() -> None:
    """Undoing a part of the bound makes it fail: what is carried is about as large as the error."""
    rng = np.random.default_rng(1)
    worst = 0.0
    for _ in range(200):
        h = rng.normal(size=(3, 10))
        delta = 1e-5 * np.linalg.norm(h, axis=1)
        q, _ = np.linalg.qr(h.T)
        moved = h + delta[:, None] * q.T[rng.permutation(3)] * rng.choice([-1, 1], 3)[:, None]
        root, bound, *_ = reference.factor(
            (moved @ moved.T)[None],  # type: ignore[arg-type]
            np.ones(1, dtype=np.float32),
            None,
            delta[None],
            np.zeros((1, 3)),
            np.ones(1),
            PARAMETERS,
        )
        lower = np.tril_indices(3)
        ratio = np.abs(root[0] - _exact_factor(h))[lower] / bound[0][lower]
        worst = max(worst, float(ratio.max()))
    assert 0.5 < worst <= 1.0


def test_certainly_dead_samples_have_no_error() -> None:
    case, draws = CASES["dying"], list(range(200))
    n = case.n_train
    law = [law_factors(case.ensemble, draw, n) for draw in draws]
    dead = 0
    for number, (root, bound, _) in enumerate(screened_factors(case, draws, wide=False)):
        truth = np.array([of_draw[number] for of_draw in law])
        zero = (np.abs(root) + bound).sum(axis=2) == 0
        assert not np.abs(truth).sum(axis=2)[zero].any()
        dead += int(zero.sum())
        assert zero.sum() > 0.9 * (np.abs(truth).sum(axis=2) == 0).sum()
    assert dead > 100


def test_extreme_lengths_leave_everything_open() -> None:
    gram = np.array([[[1.0, 0.0], [0.0, 1e-30]]], dtype=np.float32)
    one = np.ones(1, dtype=np.float32)
    ordinary = (gram[:, :1, :1], one, None, np.zeros((1, 1)), np.zeros((1, 1)))
    assert np.isfinite(reference.factor(*ordinary, np.ones(1), PARAMETERS)[1]).all()
    for unit in (1e101, 1e-101, np.nan):
        assert np.isnan(reference.factor(*ordinary, np.full(1, unit), PARAMETERS)[1]).all()
    apart = reference.factor(
        gram, one, None, np.zeros((1, 2)), np.zeros((1, 2)), np.ones(1), PARAMETERS
    )
    assert np.isnan(apart[1][0][np.tril_indices(2)]).all()
