"""The weights of a draw as a whole: independent normals, and the network that was revealed.

Seeds are fixed. Every test of a distribution has a false-alarm rate of at most 1e-6 over seeds,
shared among its comparisons (Bonferroni); correlations are taken as normal, as 2,500 draws allow.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biasgpu import mlp, reference
from biasgpu.architectures import Architecture, lenet
from biasgpu.deferred import reference as law
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.deferred.exact import arithmetic
from biasgpu.deferred.orthogonal import DEPENDENT
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.network import Network
from biasgpu.normal import MAX_NORMAL
from tests.deferred_cases import make
from tests.strategies import strokes

ALARM = 1e-6
N_DRAWS = 2500
U32, U64 = 2.0**-24, 2.0**-53


def unit_matrices(ensemble: DeferredEnsemble, n_draws: int) -> list[np.ndarray]:
    """The matrices in units of their scale: for each layer float64 `(draws, units, columns)`."""
    drawn = []
    for draw in range(n_draws):
        features = ensemble.features(draw, len(ensemble.x))
        drawn.append(law.weights(ensemble.plan, ensemble.seed, draw, features, ensemble.shared,
                                 arithmetic()))  # fmt: skip
    layers = zip(ensemble.plan.layers, zip(*drawn, strict=True), strict=True)
    return [np.array(matrices) / layer.std for layer, matrices in layers]


def check_correlations(values: np.ndarray) -> None:
    """All columns of `(draws, k)` uncorrelated; so are their squares, and columns with squares."""
    n, k = values.shape
    for a, b in ((values, values), (values**2, values**2), (values, values**2)):
        a, b = ((v - v.mean(axis=0)) / v.std(axis=0) for v in (a, b))
        z = (a.T @ b / np.sqrt(n))[~np.eye(k, dtype=bool)]
        # Squares have heavy tails: their correlations are tested with a tenfold rarer alarm.
        assert np.abs(z).max() < stats.norm.isf(ALARM / 60 / k**2)


# Inputs that stretch one direction and nearly repeat another, and ask first layers in both ways.
ASKED = {
    "one by one": (mlp(5, 2), 2, 1, [3, 3, 3]),
    "one by one, biases": (mlp(4, 2, bias="prior"), 2, 1, [3, 3, 3]),
    "some as a whole": (mlp(5, 2), 2, 4, [6, 2, 2]),
    "as a whole": (mlp(4, 2), 2, 8, [2, 2, 2]),
    "everything is asked": (mlp(3, 1), 9, 0, [9, 9]),
}


@pytest.mark.parametrize("kind", ASKED)
def test_independent_standard_normals(kind: str) -> None:
    architecture, n_train, n_test, asked = ASKED[kind]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n_train + n_test, 4)) * [9.0, 1.0, 1.0, 0.1] + [3.0, 0.0, 0.0, 0.0]
    ensemble = make(architecture, x[:n_train], x[n_train:])
    assert [layer.n_asked for layer in ensemble.plan.layers] == asked
    matrices = unit_matrices(ensemble, N_DRAWS)
    flat = np.concatenate([m.reshape(N_DRAWS, -1) for m in matrices], axis=1)
    n, k = flat.shape
    for matrix in matrices:
        assert stats.kstest(matrix.reshape(-1), "norm").pvalue > ALARM / 10
    mean = np.abs(flat.mean(axis=0)) * np.sqrt(n)
    assert mean.max() < stats.norm.isf(ALARM / 20 / k)
    squares = (flat**2).sum(axis=0)
    p = np.minimum(stats.chi2.cdf(squares, n), stats.chi2.sf(squares, n))
    assert p.min() > ALARM / 20 / k
    check_correlations(flat)
    # Across and along what was asked: images of the revealed directions, and of the others.
    q = ensemble.shared
    assert q is not None
    basis = np.linalg.svd(q[0])[2]
    images = (matrices[0] @ basis.T).reshape(n, -1)
    assert stats.kstest(images.reshape(-1), "norm").pvalue > ALARM / 10
    check_correlations(np.concatenate([images, matrices[1].reshape(n, -1)], axis=1))


def test_behind_what_is_known_of_earlier_layers() -> None:
    """Given the first layer, the second is still standard: along its own inputs and between any."""
    x = np.random.default_rng(2).normal(size=(4, 3)) + 1.0
    ensemble = make(mlp(6, 2), x[:3], x[3:])
    first, second, third = unit_matrices(ensemble, N_DRAWS)
    std = [layer.std for layer in ensemble.plan.layers]
    h = np.maximum(std[0] * ensemble.x.astype(np.float64) @ first.swapaxes(1, 2), 0.0)
    for matrix, inputs in ((second, h[:, 0]), (third, None)):
        if inputs is None:
            images = np.maximum(std[1] * h @ second.swapaxes(1, 2), 0.0)
            inputs = images[:, 3]
        length = np.linalg.norm(inputs, axis=1)
        alive = length > 0
        image = np.einsum("nuk,nk->nu", matrix[alive], inputs[alive] / length[alive, None])
        assert stats.kstest(image.reshape(-1), "norm").pvalue > ALARM / 2
        check_correlations(np.concatenate([image, first.reshape(N_DRAWS, -1)[alive]], axis=1))


def test_wide_layers_in_all_their_words() -> None:
    """Units and columns beyond a group of words; few draws, all entries pooled."""
    x = np.random.default_rng(3).normal(size=(6, 150))
    matrices = unit_matrices(make(mlp(131, 2), x[:4], x[4:]), 5)
    for matrix in matrices:
        assert stats.kstest(matrix.reshape(-1), "norm").pvalue > ALARM / 6
    whole = matrices[1].reshape(-1, 131)
    for rows in (whole, whole.T):  # no unit and no column like another
        z = np.corrcoef(rows) * np.sqrt(rows.shape[1])
        # By Fisher's transformation, as normal as 131 terms make it.
        z = np.arctanh(z[np.triu_indices(len(z), 1)] / np.sqrt(rows.shape[1]))
        z *= np.sqrt(rows.shape[1] - 3)
        assert np.abs(z).max() < stats.norm.isf(ALARM / 12 / len(z))


def rounding_bound(ensemble: DeferredEnsemble, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """How far logits of the float32 weights, in float64, may lie from the revealed ones.

    Layer by layer, for an input h of the float32 network that is e away (Euclidean) from the
    revealed one: weights W' with |W - W'| <= u |W'| send it to within

        ||W'||_2 e  +  || u |W'| |h| ||  +  || (D + c u64) (|w'_j| + 6.34 std sqrt(columns)) |h| ||

    of the revealed image. The first term is what arrives, the second the rounding to float32, the
    third float64: directions and coefficients of Gram-Schmidt are within c u64 of an input's
    length, c = 8 (columns + inputs), a new part of up to D = 2^-36 of it may have been dropped, and
    a row of W before it was projected is at most 6.34 std sqrt(columns) long. Both sums of the two
    forward passes are in c. ReLUs do not lengthen e. The last layer's rows are taken one by one.

    Returns:
        the logits of the float32 network and their bounds: float64 `(inputs, outputs)`.
    """
    parameters = ensemble.parameters(draw)
    h = ensemble.features(draw, len(ensemble.x))
    error, bounds = np.zeros(len(h)), np.zeros((len(h), 1))
    layers = iter(ensemble.plan.layers)
    for step, pair in list(zip(ensemble.steps, parameters, strict=True))[
        len(ensemble.plan.front) :
    ]:
        if pair is None:
            h = reference.apply(step.layer, h)
            continue
        layer = next(layers)
        weight = pair[0].astype(np.float64)
        if pair[1] is not None:
            weight = np.hstack([weight, pair[1].astype(np.float64)[:, None]])
            h = np.hstack([h, np.ones((len(h), 1))])
        length = np.linalg.norm(h, axis=1)[:, None]
        rows = np.linalg.norm(weight, axis=1) + MAX_NORMAL * layer.std * np.sqrt(layer.columns)
        c = 8 * (layer.columns + len(h))
        fresh = U32 * np.abs(h) @ np.abs(weight).T + (DEPENDENT + c * U64) * rows * length
        bounds = np.linalg.norm(weight, axis=1) * error[:, None] + fresh
        error = np.linalg.norm(weight, 2) * error + np.linalg.norm(fresh, axis=1)
        h = h @ weight.T
    return h, bounds


def revealed(ensemble: DeferredEnsemble, draw: int) -> np.ndarray:
    return ensemble.logits(draw, ensemble.x)


MATERIALISED: dict[str, tuple[Architecture, int, int, int]] = {
    "narrow": (mlp(8, 2), 4, 4, 5),
    "wide": (mlp(300, 2), 20, 6, 9),
    "deep, biases": (mlp(64, 4, bias="prior"), 10, 5, 40),
    "as a whole": (mlp(16, 2), 6, 5, 200),
    "more inputs than units": (mlp(9, 3, head="one-logit"), 5, 30, 20),
    "linear": (mlp(depth=0), 784, 8, 8),
}


def check_rounding(ensemble: DeferredEnsemble, draws: list[int]) -> None:
    tightness = []
    for draw in draws:
        found, bounds = rounding_bound(ensemble, draw)
        difference = np.abs(found - revealed(ensemble, draw))
        assert (difference <= bounds).all()
        assert difference.any() or not found.any()
        size = np.abs(found).max()
        if size:
            assert bounds.max() < 1e-2 * size
            tightness.append((difference / np.where(bounds > 0, bounds, 1.0)).max())
    # A bound a thousand times too large would prove little.
    assert np.median(tightness) > 1e-3


@pytest.mark.parametrize("kind", MATERIALISED)
def test_the_float32_network_gives_the_revealed_logits(kind: str) -> None:
    """Any draw, near and far, whatever it makes of the task."""
    architecture, features, n_train, n_test = MATERIALISED[kind]
    x = np.random.default_rng(4).normal(size=(n_train + n_test, features))
    ensemble = make(architecture, x[:n_train], x[n_train:], seed=2**45)
    check_rounding(ensemble, [0, 1, 2, 5, 2**40, 2**62 - 1])


FRONT = Architecture(
    "front",
    [
        *(Conv2d(3, "prior"), ReLU(), MaxPool2d(), Flatten()),
        *(Dense(20, "prior"), Flatten(), ReLU(), Dense(7), Dense(5), ReLU()),
    ],
)


@pytest.mark.parametrize("architecture", [lenet("1/6"), FRONT], ids=str)
def test_behind_convolutions(architecture: Architecture) -> None:
    x = strokes(14)
    check_rounding(make(architecture, x[:6], x[6:]), list(range(4)))


def test_every_fit() -> None:
    """Fits have margins far above the bound: the network handed out is a fit, as a module too."""
    import torch

    x = np.random.default_rng(5).normal(size=(12, 6))
    ensemble = make(mlp(32, 2), x[:4], x[4:])
    labels, n_fits = np.arange(4) % 2, 0
    for draw in range(80):
        z = ensemble.logits(draw, ensemble.x_train)
        right = (z[:, 1] > z[:, 0]) == labels
        if not (right.all() or not right.any()):
            continue
        n_fits += 1
        check_rounding(ensemble, [draw])
        index = 2 * draw + (not right.all())
        network = Network(ensemble, index)
        module = network.module(torch.float64)
        with torch.no_grad():
            found = module(torch.tensor(x, dtype=torch.float64)).numpy()
        np.testing.assert_allclose(found, network.logits(ensemble.x), rtol=1e-4, atol=1e-5)
        assert (found[:4].argmax(axis=1) == labels).all()
    assert n_fits > 4
