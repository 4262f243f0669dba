"""Gram-Schmidt by the law, and what becomes of inputs that bring no new direction.

Warnings are errors here as in all tests. Tolerances are multiples of float64's rounding, except
where a new part below `DEPENDENT` of an input's length may be dropped. The one statistical test has
a false-alarm rate of 1e-6 a case."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from biasgpu import mlp, reference
from biasgpu.architectures import Architecture
from biasgpu.deferred.orthogonal import BLOCK, DEPENDENT, blocks_of, combine, dots, orthonormalize
from biasgpu.deferred.words import directions
from biasgpu.engines.cpu.deferred_law import orthonormalize_rows
from biasgpu.layers import Dense, Flatten
from tests.deferred_cases import logits, make


def line_behind_a_layer(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    """Inputs from an interval behind one hidden layer: 0.1 u of the way are new kinks."""
    return np.maximum(
        np.linspace(1, 2, n)[:, None] * rng.normal(size=length) + rng.normal(size=length), 0
    )


def near_a_plane(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    plane = rng.normal(size=(n, 3)) @ rng.normal(size=(3, length))
    return plane + 10.0 ** -rng.integers(3, 14) * rng.normal(size=(n, length))


def near_a_point(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    steps = rng.integers(-2, 3, size=(n, 3)) @ rng.normal(size=(3, length))
    return rng.normal(size=length) + 10.0 ** -rng.integers(3, 14) * steps


def of_all_sizes(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    return 10.0 ** -rng.integers(0, 14, size=(n, length)) * rng.normal(size=(n, length))


def powers(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    return np.vander(np.sort(rng.random(n)), length, increasing=True)


KINDS = [line_behind_a_layer, near_a_plane, near_a_point, of_all_sizes, powers]


def test_inner_products_survive() -> None:
    """What the law rests on: images have the inner products of the inputs as covariance."""
    rng = np.random.default_rng(9)
    for n, length in ((34, 48), (34, 96), (70, 200)):
        t = np.array([-2.0, 2.0, *np.linspace(-1, 1, n - 2)])[:, None]
        for _ in range(10):
            x = np.maximum(t * rng.normal(size=length) + rng.normal(size=length), 0)
            r = orthonormalize(x, 2)[1]
            size = np.linalg.norm(x, axis=1)
            assert (np.abs(r @ r.T - x @ x.T) <= 3 * DEPENDENT * np.outer(size, size)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_directions_are_orthonormal_and_give_the_inputs_back(kind) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        n, length, singles = rng.integers(1, 80), rng.integers(1, 60), rng.integers(0, 20)
        x = kind(rng, n, length)
        q, r = orthonormalize(x, int(singles))
        compiled = orthonormalize_rows(x, int(singles))
        assert np.array_equal(compiled[0], q)
        assert np.array_equal(compiled[1], r)
        live = q.any(axis=1)
        assert live.sum() <= min(n, length)
        error = np.abs(q @ q.T - np.diag(live.astype(float)))
        # Some rounding errors of sums of 60 terms; more in a block, whose rows hand theirs on.
        assert error[:singles, :singles].max(initial=0.0) <= 1e-14
        assert error.max() <= 1e-13
        assert np.array_equal(r, np.tril(r))
        assert (np.diag(r)[live] > 0).all()
        assert not r[:, ~live].any()
        missing = np.linalg.norm(x - r @ q, axis=1)
        assert (missing <= 1.01 * DEPENDENT * np.linalg.norm(x, axis=1) + 1e-300).all()


def test_close_inputs_on_a_line_bring_two_directions() -> None:
    """However close, and in one block: rounding of the first two is no third direction."""
    rng = np.random.default_rng(2)
    base, step = rng.normal(size=(2, 50))
    for distance in (1e-3, 1e-6, 1e-7, 1e-8, 1e-9):
        x = base + distance * np.arange(BLOCK)[:, None] * step
        q, _ = orthonormalize(x, 0)
        assert q.any(axis=1).tolist() == [True, True] + [False] * (BLOCK - 2)


def test_training_inputs_one_by_one_test_inputs_in_blocks() -> None:
    assert blocks_of(0, 3) == []
    assert blocks_of(2, 3) == [(0, 1), (1, 2)]
    assert blocks_of(4 + BLOCK, 3) == [(0, 1), (1, 2), (2, 3), (3, 3 + BLOCK), (3 + BLOCK, 36)]
    x = np.random.default_rng(3).normal(size=(60, 90))
    one, block = orthonormalize(x, 60), orthonormalize(x, 0)
    np.testing.assert_allclose(one[0], block[0], atol=1e-13)
    np.testing.assert_allclose(one[1], block[1], atol=1e-12)


def test_sums_in_their_order() -> None:
    rng = np.random.default_rng(8)
    for length in (1, 7, 8, 9, 37):
        a, b = rng.normal(size=(2, 1, length)) * 10.0 ** rng.integers(-9, 9, size=(2, 1, length))
        sums = [0.0] * 8
        for k in range(length):
            sums[k % 8] += a[0, k] * b[0, k]
        four = [sums[k] + sums[k + 4] for k in range(4)]
        assert dots(a, b)[0, 0] == (four[0] + four[2]) + (four[1] + four[3])
        total = a[0].copy()
        for j in range(length):
            total += b[0, j] * a[0]
        assert np.array_equal(combine(a, b, np.repeat(a, length, axis=0))[0], total)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("width", [2, 64])
def test_equal_inputs_multiples_and_zeros(depth: int, width: int) -> None:
    """Equal inputs get equal logits; without biases a network is positively homogeneous."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(4, 5))
    asked = np.vstack([x, x[:2], 4.0 * x[1:2], 0.0 * x[:1], 3.0 * x[2:3], x[3:]])
    for part in (len(asked), 4):  # all training inputs; the doubtful ones test inputs
        ensemble = make(mlp(width, depth), asked[:part], asked[part:])
        z = logits(ensemble, 50)
        assert np.isfinite(z).all()
        assert not z[:, 7].any()
        size = np.abs(z).max(axis=(1, 2), keepdims=True)
        for copy, of, factor in ((4, 0, 1.0), (5, 1, 1.0), (6, 1, 4.0), (8, 2, 3.0), (9, 3, 1.0)):
            close = np.abs(z[:, copy] - factor * z[:, of]) <= 1e-9 * size[:, 0]
            # float32 triples are rounded: nothing but powers of two is an exact multiple.
            assert close.all() if factor != 3.0 else np.isfinite(z[:, copy]).all()


def test_a_linear_network_is_linear() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-3, 4, size=(3, 6)).astype(float)
    asked = np.vstack([x, x[0] + x[1], x[0] - 2 * x[2], -x[1]])
    for architecture in (mlp(depth=0), Architecture("linear", [Flatten(), Dense(7), Dense(9)])):
        z = logits(make(architecture, asked), 30)
        expected = np.concatenate(
            [z[:, :3], (z[:, 0] + z[:, 1])[:, None], (z[:, 0] - 2 * z[:, 2])[:, None], -z[:, 1:2]],
            axis=1,
        )
        np.testing.assert_allclose(z, expected, atol=1e-11)


def test_more_inputs_than_units_of_any_layer() -> None:
    """The inputs span less than there are of them; what a layer does to them is decided."""
    x = np.random.default_rng(6).normal(size=(40, 3))
    ensemble = make(mlp(5, 2, bias="prior"), x[:25], x[25:])
    parameters = ensemble._float64_parameters(3)
    assert [p[0].shape for p in parameters if p] == [(5, 3), (5, 5), (2, 5)]
    found = reference.forward(ensemble.steps, parameters, ensemble.x)
    np.testing.assert_allclose(found, logits(ensemble, 4)[3], rtol=1e-10, atol=1e-10)


def test_one_training_input() -> None:
    ensemble, y = make(mlp(8, 2), np.array([[2.0, 0.0, 0.0]])), np.zeros(2)
    length = 2.0
    for number, layer in enumerate(ensemble.plan.layers):
        y = length * layer.std * directions(ensemble.seed, 1, ensemble.plan, number, 1)[0]
        length = float(np.linalg.norm(np.maximum(y, 0.0)))
    np.testing.assert_allclose(ensemble.logits(1, ensemble.x_train)[0], y, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_dead_layers(depth: int) -> None:
    """One unit a layer lets an input through with probability 2**-depth; all logits are 0 else."""
    n = 2000
    x = np.array([[1.0, 2.0], [-3.0, 0.5], [2.0, 4.0]])
    z = logits(make(mlp(1, depth), x[:2], x[2:]), n)
    alive: np.ndarray = (z != 0).any(axis=-1)
    for i in range(3):
        assert binomtest(int(alive[:, i].sum()), n, 0.5**depth).pvalue > 1e-6 / 3
    assert np.array_equal(alive[:, 0], alive[:, 2])
    assert np.isfinite(z).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_scale_of_the_inputs(scale: float) -> None:
    """The inputs' scale passes through; dependence is judged relative to an input's length."""
    factor = 2.0 ** np.round(np.log2(scale))
    x = np.random.default_rng(7).normal(size=(5, 3)).astype(np.float32)
    one, other = (logits(make(mlp(6, 2), s * x[:3], s * x[3:]), 20) for s in (1.0, factor))
    assert np.array_equal(factor * one, other)
