"""Closed forms: orthant probabilities, the arc-cosine kernel, and the limit of infinite width.

Seeds are fixed. Every statistical test has a false-alarm rate of at most 1e-6 over seeds, where its
statistic is the normal that a mean of thousands is taken for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from biasgpu import mlp, priors
from biasgpu.architectures import Architecture
from biasgpu.deferred import kernel
from biasgpu.errors import UsageError
from biasgpu.layers import Conv2d, Dense, Flatten, InfiniteDense, ReLU
from tests.deferred_cases import directly, homogeneity, ks, logits, make

ALARM = 1e-6
FAR = float(stats.norm.isf(ALARM / 2))  # 4.9 standard errors


def pair(angle: float) -> np.ndarray:
    return np.array([[1.0, 0.0], [2.0 * math.cos(angle), 2.0 * math.sin(angle)]])


def angle_between(k: np.ndarray) -> float:
    return math.acos(k[0, 1] / math.sqrt(k[0, 0] * k[1, 1]))


@pytest.mark.parametrize("angle", [0.3, 1.0, math.pi / 2, 2.5])
@pytest.mark.parametrize("options", [{"depth": 0}, {"depth": 1}, {"depth": 3}], ids=str)
def test_two_inputs_are_parted_by_their_angle(angle: float, options: dict[str, Any]) -> None:
    """P(signs differ) = angle / pi: of the inputs, or under the kernel of the infinite network."""
    ensemble = make(mlp("inf", head="one-logit", **options), pair(angle))
    n = 4000
    z = logits(ensemble, n)[..., 0]
    k = kernel.covariance(ensemble.x_train.astype(np.float64), 1.0, 2.0, (False,))
    for _ in range(options["depth"] - 1):
        k = kernel.rectified(k, 2.0)
    if options["depth"]:
        angle = angle_between(k)
    parted = int((z[:, 0] * z[:, 1] < 0).sum())
    assert stats.binomtest(parted, n, angle / math.pi).pvalue > ALARM
    assert stats.binomtest(int((z[:, 0] > 0).sum()), n, 0.5).pvalue > ALARM


def mean_products(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of the products of two logits of one unit."""
    products = z[:, :, None, :] * z[:, None, :, :]
    products = products.mean(axis=3)  # over the units, which are not independent of each other
    return products.mean(axis=0), products.std(axis=0) / math.sqrt(len(z))


@pytest.mark.parametrize("bias", ["zero", "prior"])
@pytest.mark.parametrize("width", [1, 16, "inf"])
def test_one_hidden_layer_has_the_arc_cosine_kernel(width: Any, bias: Any) -> None:
    """Exactly, at every width: units are independent. (An output's bias adds its variance.)"""
    x = np.random.default_rng(1).normal(size=(6, 3))
    ensemble = make(mlp(width, 1, bias=bias), x[:4], x[4:])
    n_in = 3
    gram = ensemble.x.astype(np.float64) @ ensemble.x.astype(np.float64).T
    k = kernel.rectified(2 / n_in * (gram + (bias == "prior")), 2.0)
    if bias == "prior" and width != "inf":
        k = k + 2.0 / width
    mean, error = mean_products(logits(ensemble, 5000))
    assert (np.abs(mean - k) < float(stats.norm.isf(ALARM / 2 / 36)) * error).all()
    assert (error < 0.3 * np.sqrt(np.outer(np.diag(k), np.diag(k)))).all()


def test_the_kernel_is_the_expectation() -> None:
    """By numerical integration over the two normals in polar coordinates."""
    k = np.array([[2.0, -0.6], [-0.6, 0.7]])
    r = np.linalg.cholesky(k)

    def product(t: float) -> float:
        u = r @ [math.cos(t), math.sin(t)]
        return max(u[0], 0.0) * max(u[1], 0.0)

    # E r^2 = 2, and the angle is uniform.
    expected = 2.0 * integrate.quad(product, 0, 2 * math.pi, limit=400)[0] / (2 * math.pi)
    assert kernel.rectified(k, 1.5)[0, 1] == pytest.approx(1.5 * expected, rel=1e-7)
    assert np.diag(kernel.rectified(k, 1.5)) == pytest.approx(1.5 * np.diag(k) / 2, rel=1e-15)
    far = np.array(
        [[1.0, -1.0, 1.0, 0.0], [-1.0, 1.0, -1.0, 0.0], [1.0, -1.0, 1.0, 0.0], [0.0] * 4]
    )
    found = kernel.rectified(far, 2.0)
    np.testing.assert_allclose(found, np.maximum(far, 0.0), atol=1e-15)


def test_arc_cosine() -> None:
    """Five units in the last place at most, and NumPy's is within one."""
    ends = np.concatenate([2.0 ** -np.arange(1.0, 53.0), 2.0**-53 * np.arange(1, 9)])
    x = np.concatenate([np.linspace(-1, 1, 100_001), 1 - ends, ends - 1, ends, -ends])
    x = x.astype(np.float64)
    found, true = kernel.arccos(x), np.arccos(x)
    assert (np.abs(found - true) <= 6 * np.spacing(true)).all()
    assert kernel.arccos(np.array([1.0, -1.0, 0.0])).tolist() == [0.0, math.pi, math.pi / 2]


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_cholesky_gives_the_covariance_back(n: int) -> None:
    rng = np.random.default_rng(n)
    for rank in (1, 2, n, 2 * n):
        a = rng.normal(size=(n, rank)) * 10.0 ** rng.integers(-3, 4, size=(n, 1))
        k = a @ a.T
        size = np.sqrt(np.diag(k))
        r = kernel.cholesky(k)
        assert np.array_equal(r, np.tril(r))
        assert (np.diag(r) > 0).sum() == min(n, rank)
        # No variance above DEPENDENT is dropped; its root times an input's size may be, off the
        # diagonal, but dependent inputs here are so up to rounding.
        assert (np.abs(r @ r.T - k) <= 2 * kernel.DEPENDENT * np.outer(size, size)).all()
        for part in range(1, n):
            assert np.array_equal(kernel.cholesky(k[:part, :part]), r[:part, :part])


def same_distribution(one: np.ndarray, other: np.ndarray) -> None:
    """Two-sample KS tests of logits `(draws, inputs, 2)` and of functions of them."""
    rng = np.random.default_rng(0)

    def functions(z: np.ndarray) -> list[np.ndarray]:
        flat, gap = z.reshape(len(z), -1), z[..., 1] - z[..., 0]
        projections = flat @ np.random.default_rng(0).normal(size=(flat.shape[1], 8))
        products = [gap[:, i] * gap[:, i + 1] for i in range(gap.shape[1] - 1)]
        size = np.abs(flat).max(axis=1)
        return [*flat.T, *projections.T, *products, size, gap.min(axis=1), (gap > 0).sum(axis=1)]

    rng.shuffle(one)
    pairs = list(zip(functions(one), functions(other), strict=True))
    for a, b in pairs:
        assert ks(a, b) > ALARM / len(pairs)


@pytest.mark.parametrize("depth", [1, 2])
def test_wide_networks_converge_to_the_infinite_one(depth: int) -> None:
    """At width 2048 the kernel is within about 2048 ** -0.5 of its limit: no test of 2,000 draws
    against 6,000 sees the mixture of normals that makes."""
    x = np.random.default_rng(2).normal(size=(6, 4))
    wide = logits(make(mlp(2048, depth), x[:4], x[4:], seed=3), 2000)
    limit = logits(make(mlp("inf", depth), x[:4], x[4:], seed=4), 6000)
    same_distribution(wide, limit)
    fits = [int(((z[:, :4, 1] > z[:, :4, 0]) == [0, 1, 0, 1]).all(axis=1).sum())
            for z in (wide, limit)]  # fmt: skip
    table = [fits, [len(wide) - fits[0], len(limit) - fits[1]]]
    assert homogeneity(table) > ALARM
    assert min(fits) > 20


def test_narrow_networks_do_not() -> None:
    """The test above has the power to tell."""
    x = np.random.default_rng(2).normal(size=(6, 4))
    narrow = logits(make(mlp(4, 2), x[:4], x[4:], seed=3), 2000)
    limit = logits(make(mlp("inf", 2), x[:4], x[4:], seed=4), 6000)
    with pytest.raises(AssertionError):
        same_distribution(narrow, limit)


def test_equal_and_dependent_inputs_of_an_infinite_network() -> None:
    x = np.random.default_rng(3).normal(size=(3, 4)).astype(np.float32)
    asked = np.vstack([x, x[:1], 2 * x[1:2], 0 * x[:1], -x[:1]])
    z = logits(make(mlp("inf", 2), asked), 50)
    for i, j, factor in ((3, 0, 1.0), (4, 1, 2.0)):
        np.testing.assert_allclose(z[:, i], factor * z[:, j], rtol=1e-5, atol=1e-5)
    assert not z[:, 5].any()
    assert np.isfinite(z).all()
    assert (np.abs(z[:, 6] - z[:, 0]) > 1e-3).any()  # an opposite input is another input


def test_words_of_an_infinite_network_are_those_of_an_output_layer() -> None:
    """The process is drawn as an output layer over the kernel's Cholesky rows."""
    x = np.random.default_rng(4).normal(size=(4, 3))
    ensemble = make(mlp("inf", 1), x, seed=2**50)
    k = kernel.covariance(ensemble.x_train.astype(np.float64), 2 / 3, 2.0, (False,))
    linear = make(mlp(depth=0), np.eye(4), prior="normal", seed=2**50)
    expected = np.linalg.cholesky(k) @ logits(linear, 3)
    np.testing.assert_allclose(logits(ensemble, 3), expected, rtol=1e-12)


X = np.random.default_rng(5).normal(size=(3, 1, 4, 4))


@pytest.mark.parametrize(
    ("layers", "prior", "message"),
    [
        ([Flatten(), InfiniteDense(), ReLU()], "normal", "has no limit of infinite width"),
        ([Flatten(), InfiniteDense(), ReLU()], "uniform", "is not Gaussian"),
        ([Flatten(), InfiniteDense()], "kaiming-normal", "without a ReLU behind it"),
        ([Flatten(), Dense(3), ReLU(), InfiniteDense(), ReLU()], "kaiming-normal", "are mixed"),
        ([Conv2d(2), Flatten(), InfiniteDense(), ReLU()], "kaiming-normal", "convolutions stand"),
    ],
    ids=str,
)
def test_what_has_no_limit_is_refused(layers: list, prior: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(Architecture("custom", layers), X, prior=prior)


def test_an_infinite_network_has_no_weights() -> None:
    ensemble = make(mlp("inf", 2), X[:2], X[2:])
    with pytest.raises(UsageError, match="an infinitely wide network has no weights"):
        ensemble.parameters(0)
    with pytest.raises(UsageError, match="an infinitely wide network has no weights"):
        ensemble.logits(0, X[1:2])
    with pytest.raises(UsageError, match="no weights to draw"):
        directly(ensemble)
    from biasgpu.network import Network

    with pytest.raises(UsageError, match="an infinitely wide network has no weights"):
        Network(ensemble, 0).module()
    assert np.isfinite(Network(ensemble, 1).logits(ensemble.x_test)).all()


def test_the_limit_of_a_prior_of_ones_own() -> None:
    """Fan-in times variance, whatever the first layer's scale."""
    from biasgpu.deferred.plan import limit_variance

    def prior(scale) -> priors.NormalPrior:
        return priors.NormalPrior("mine", scale)

    assert limit_variance(prior(lambda n: math.sqrt(3.0 / n))) == pytest.approx(3.0)
    assert limit_variance(prior(lambda n: math.sqrt(3.0 / (n + 5)))) == pytest.approx(3.0)
    assert limit_variance(prior(lambda n: 1.0 / n)) is None
    assert limit_variance(prior(lambda n: n**-0.25)) is None
