"""Infinite width: the Gaussian process that an architecture becomes, by the arc-cosine recursion.

As layers widen, pre-activations become Gaussian processes over the inputs, with covariance

    K_1(x, x') = v_1 (x . x' + [bias])
    K_{l+1}(x, x') = c E[relu(u) relu(u')],  (u, u') normal with the covariance K_l at x, x'

where v_1 is the variance of the first layer's weights and c the limit of fan-in times variance. (A
drawn bias has the weights' variance, which vanishes behind an infinite layer.) The expectation is
sqrt(K K') (sin t + (pi - t) cos t) / (2 pi), t being the angle between x and x' under K_l.

Everything is computed with additions, multiplications, divisions and square roots in a fixed order,
the arc cosine included, so that it has the same bits on every machine.

Source: Neal, "Priors for infinite networks" (1994); Cho and Saul, "Kernel methods for deep
learning" (NIPS 2009); Lee et al., "Deep neural networks as Gaussian processes" (ICLR 2018).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.deferred.orthogonal import dots

Floats = npt.NDArray[np.float64]
PI = 3.141592653589793
HALVINGS = 3  # of the angle, before the series of the arc tangent
TERMS = 13
DEPENDENT = 2.0**-40  # of a variance: no more is left where an input follows from those before


def arccos(x: Floats) -> Floats:
    """The arc cosine of numbers in [-1, 1]: float64, the same bits on every machine."""
    # acos x = 2 atan(t) with t = sqrt((1 - x) / (1 + x)); beyond 1 by atan t = pi/2 - atan(1/t).
    top, bottom = np.sqrt(1.0 - x), np.sqrt(1.0 + x)
    turned = top > bottom
    t = np.where(turned, bottom, top) / np.where(turned, top, bottom)
    for _ in range(HALVINGS):
        t = t / (1.0 + np.sqrt(1.0 + t * t))
    square = t * t
    series = np.full_like(t, (-1.0) ** (TERMS - 1) / (2 * TERMS - 1))
    for k in range(TERMS - 2, -1, -1):
        series = series * square + (-1.0) ** k / (2 * k + 1)
    angle = 2.0 ** (HALVINGS + 1) * (t * series)
    return np.where(turned, PI - angle, angle)


def rectified(k: Floats, scale: float) -> Floats:
    """`scale * E[relu(u) relu(u')]` for normals with covariance `k`.

    Args:
        k: float64 `(n, n)`, symmetric.
        scale: c of the recursion.

    Returns:
        float64 `(n, n)`.
    """
    length = np.sqrt(np.diag(k))
    product = length[:, None] * length[None, :]
    safe = np.where(product > 0, product, 1.0)
    cosine = np.clip(k / safe, -1.0, 1.0)
    np.fill_diagonal(cosine, 1.0)
    angle = arccos(cosine)
    sine = np.sqrt((1.0 - cosine) * (1.0 + cosine))
    result = product * ((sine + (PI - angle) * cosine) * (scale / (2.0 * PI)))
    return np.where(product > 0, result, 0.0)


def covariance(x: Floats, variance: float, limit: float, biases: tuple[bool, ...]) -> Floats:
    """The covariance of the logits of an infinitely wide network.

    Args:
        x: float64 `(n, features)`.
        variance: of the first layer's weights.
        limit: fan-in times variance of a weight, as the width grows.
        biases: for each hidden layer, whether its biases are drawn.

    Returns:
        float64 `(n, n)`.
    """
    k = variance * (dots(x, x) + (1.0 if biases[0] else 0.0))
    for _ in biases:
        k = rectified(k, limit)
    return k


def cholesky(k: Floats) -> Floats:
    """The lower triangular square root of a covariance; nearly dependent inputs get a zero column.

    Args:
        k: float64 `(n, n)`, symmetric, non-negative.

    Returns:
        float64 `(n, n)`: `r` with `r @ r.T` equal to `k` but for rounding.
    """
    n, left = len(k), k.copy()
    r = np.zeros((n, n))
    for j in range(n):
        pivot = left[j, j]
        if not pivot > DEPENDENT * k[j, j]:
            continue
        r[j, j] = np.sqrt(pivot)
        r[j + 1 :, j] = left[j + 1 :, j] / r[j, j]
        left[j + 1 :, j + 1 :] -= r[j + 1 :, j, None] * r[None, j + 1 :, j]
    return r
