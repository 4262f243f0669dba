"""The kernels' twins in NumPy: the same numbers, up to rounding, for many draws at once.

Each is as plain as its kernel allows, and tests hold the two together. They also measure, without a
GPU, how many draws a screen would leave to the law.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.deferred.plan import GROUP, LANES, Layer

Single = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
UP = 1.0 + 2.0**-20
NORM_UP = 1.0 + 2.0**-8
MAX_NORMAL = 6.34
SPREAD = 2.0**-40
LARGE = 1e100
CENTRE = (
    3.196968023644331e-08, 4.839788516619592e-07, -4.885795988229802e-06, -6.19474576524226e-06,
    0.0003087411751039326, -0.0017730827676132321, -0.005907659884542227, 0.34880271553993225,
    2.1233134269714355,
)  # fmt: skip
TAIL = (
    4.8634705308359116e-05, -0.0001975505001610145, -5.922065247432329e-05, 0.00180977548006922,
    -0.0050123450346291065, 0.008157176896929741, -0.010833908803761005, 0.013341983780264854,
    1.4165852069854736, 4.006434440612793,
)  # fmt: skip
LOG = (
    0.11657806485891342, -0.18573839962482452, 0.2052544355392456, -0.2492033690214157,
    0.3331356346607208, -0.500008761882782, 1.000001072883606,
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], x: Single) -> Single:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + np.float32(coefficient)
    return value


def normal(words: npt.NDArray[np.uint32]) -> Single:
    """The twin of `normal.normal`, without fused operations."""
    bits = words.view(np.int32)
    magnitude = bits & np.int32(0x7FFFFFFF)
    half = np.float32(0.5)
    x = (magnitude ^ np.int32(0x7FFFFFFF)).astype(np.float32) + half
    t = magnitude.astype(np.float32) + half
    product = (t * (np.float32(2.0**32) - t)).view(np.int32)
    exponent = (product - np.int32(0x3F3504F3 + (62 << 23))) >> 23
    mantissa = (product - np.int32(62 << 23) - (exponent << 23)).view(np.float32)
    f = mantissa - np.float32(1.0)
    log = np.asarray(_polynomial(LOG, f) * f, dtype=np.float32)
    w = np.asarray(exponent.astype(np.float32) * np.float32(-np.log(2.0)) - log, dtype=np.float32)
    root = np.sqrt(np.maximum(w, np.float32(1.0)), dtype=np.float32)
    tail = _polynomial(TAIL, np.asarray(root - np.float32(3.0), dtype=np.float32))
    p = np.where(
        w >= np.float32(5.0),
        tail,
        _polynomial(CENTRE, np.asarray(w - np.float32(2.5), dtype=np.float32)),
    )
    value = p * (x * np.float32(2.0**-31))
    return (value.view(np.int32) ^ (bits & np.int32(-0x80000000))).view(np.float32)


def directions(seed: int, draw: int, blocks: int, layer: Layer, n: int) -> Single:
    """The images of `n` directions under a hidden layer of unit scale: float32 `(n, units)`."""
    groups = np.arange(layer.offset // GROUP, -(-(layer.offset + layer.units) // GROUP))
    inside = LANES * groups[:, None] + np.arange(LANES)
    numbers = blocks * np.arange(n)[:, None, None] + inside
    words = rng.words(seed, draw, numbers, stream=rng.STREAM_DIRECTIONS)
    flat = np.ascontiguousarray(words.swapaxes(-1, -2)).reshape(n, -1)
    begin = layer.offset - GROUP * int(groups[0])
    return normal(np.ascontiguousarray(flat[:, begin : begin + layer.units]))


def gram(
    seed: int, draws: list[int], blocks: int, layer: Layer, coefficients: Single
) -> tuple[Single, Single, Single]:
    """The twin of `gram._gram_kernel`.

    Args:
        coefficients: float32 `(n draws, samples, samples)`.

    Returns:
        inner products `(n, samples, samples)`, squared norms `(n,)`, tops `(n, samples)`.
    """
    products, squares, tops = [], [], []
    for draw, c in zip(draws, coefficients, strict=True):
        g = directions(seed, draw, blocks, layer, len(c))
        y = np.tril(c) @ g
        squares.append((g * g).sum())
        tops.append((y if layer.rectified else np.abs(y)).max(axis=1))
        h = np.maximum(y, np.float32(0)) if layer.rectified else y
        products.append(h @ h.T)
    return np.array(products), np.array(squares), np.array(tops)


def factor(
    gram: Single,
    square: Single,
    top: Single | None,
    error: Double,
    limit: Double,
    unit: Double,
    parameters: tuple[float, float, float, float, float, float],
) -> tuple[Double, Double, Single, Double, Double, Double]:
    """The twin of `factor._factor_kernel`.

    Args:
        gram: float32 `(n, samples, samples)`.
        square: float32 `(n,)`.
        top: float32 `(n, samples)`, or None where no layer dies.
        error, limit: `(n, samples)`.
        unit: `(n,)`.
        parameters: as the kernel's.

    Returns:
        factor and its bound `(n, samples, samples)`, the next layer's coefficients, errors, limits
        and units.
    """
    std, biased, gamma, law, epsilon, tiny = parameters
    gamma += tiny
    n, s = gram.shape[:2]
    norm = np.sqrt(square.astype(np.float64)) * NORM_UP
    constant = biased * unit * unit
    g = gram.astype(np.float64) + constant[:, None, None]
    diagonal = np.diagonal(gram.astype(np.float64), axis1=1, axis2=2)
    length = np.sqrt(diagonal * (1 + 2 * gamma) + constant[:, None]) * UP
    delta = (error * norm[:, None] + law * length) * UP
    good = (delta >= 0).all(axis=1)
    if top is not None:
        delta = np.where(top <= -limit, law * length * UP, delta)
    reached = length + delta
    longest = np.fmax(reached.max(axis=1), 0.0)
    near = (reached >= longest[:, None] * SPREAD) | (reached == 0)
    good &= near.all(axis=1)
    longest = np.where(longest > 0, longest, 1.0)
    good &= (longest / unit < LARGE) & (longest / unit > 1 / LARGE)
    poison = np.where(good, 1.0, np.nan)
    r, e = np.zeros((n, s, s)), np.zeros((n, s, s))  # the factor; its error by rounded sums
    total = np.zeros((n, s, s))  # and by the activations' as well
    inverse = np.zeros((n, s, s))
    turn = np.zeros((n, s))  # of a direction against the law's
    sums = np.zeros((n, s))  # norm of a row of e
    columns = np.zeros((n, s))  # squares of the inverse's columns
    skew = np.zeros(n)  # square of what e makes of the inverse
    broken = np.zeros(n, dtype=bool)
    squares, largest = np.zeros((n, s)), np.zeros((n, s))
    for i in range(s):
        l_i, d_i = length[:, i], delta[:, i]
        rest = g[:, i, i].copy()
        rest_error = gamma * l_i * l_i
        spread = (delta * np.sqrt(columns)).sum(axis=1)
        spread = spread / np.where(skew < 0.25, 1 - np.sqrt(np.fmin(skew, 0.25)), 1.0) * UP
        for j in range(i):
            before_i, before_j = (slice(None), i, slice(j)), (slice(None), j, slice(j))
            value = g[:, i, j] - (r[before_i] * r[before_j]).sum(axis=1)
            err = gamma * l_i * length[:, j]
            err = err + (np.abs(r[before_i]) * e[before_j]).sum(axis=1)
            err = err + (e[before_i] * (np.abs(r[before_j]) + e[before_j])).sum(axis=1)
            pivot, pivot_error = r[:, j, j], e[:, j, j]
            zero = (pivot == 0) & (total[:, j, j] == 0)
            sure = pivot > total[:, j, j]
            safe = np.where(sure, pivot, 1.0)
            value = np.where(sure, value / safe, 0.0)
            err = (err + np.abs(value) * pivot_error) / (safe - np.where(sure, pivot_error, 0.0))
            err = np.where(sure, err * UP, 0.0)
            size = np.abs(value) + err
            beside = np.sqrt(np.fmax(l_i * l_i - np.fmax(np.abs(value) - err, 0) ** 2, 0))
            swing = turn[:, j] * (beside + 0.5 * turn[:, j] * size) * UP
            rest = rest - value * value
            rest_error = (rest_error + err * (2 * np.abs(value) + err)) * UP
            r[:, i, j], e[:, i, j] = value, err
            total[:, i, j] = np.where(zero | ~sure, 0.0, err + swing)
            sums[:, i] += err * err
        c = np.abs(np.einsum("nj,njk->nk", r[:, i, :i], inverse[:, :i, :i]))
        inexact = (c * sums[:, :i]).sum(axis=1) + np.sqrt(sums[:, i])
        moved = ((c * delta[:, :i]).sum(axis=1) + spread * inexact) * UP
        top_length = np.sqrt(np.fmax(rest + rest_error, 0))
        drift = (moved + top_length * spread * spread) * UP
        reach = (top_length + d_i + moved) * UP
        for j in range(i):
            zero = (r[:, j, j] == 0) & (total[:, j, j] == 0)
            sure = r[:, j, j] > total[:, j, j]
            own = np.where(zero, 0.0, np.where(sure, total[:, i, j], reach) * UP)
            total[:, i, j] = (own + np.where(sure, d_i, 0.0)) * poison
            squares[:, i] += own * own
            largest[:, i] += total[:, i, j]
        value = np.sqrt(np.fmax(rest, 0))
        low = np.sqrt(np.fmax(rest - rest_error, 0))
        halves = value + low
        err = np.where(halves > 0, rest_error / np.where(halves > 0, halves, 1.0), 0.0)
        err = (err + tiny * value) * UP
        shift = (moved + d_i + top_length * spread) * UP
        sure = (rest > 2 * rest_error) & (value > 2 * (err + shift) + 2.0**-34 * l_i) & ~broken
        sure &= (skew < 0.25) & (spread < 0.5)
        own = np.where(sure, err + drift, np.fmax(value, reach)) * UP
        zero = (l_i == 0) & (d_i == 0)
        own = np.where(zero, 0.0, own)
        broken |= ~sure & ~zero
        turn[:, i] = (
            np.where(sure, 2 * shift / np.where(sure, 2 * (value - err) - shift, 1), 0) * UP
        )
        r[:, i, i], e[:, i, i] = value, err
        total[:, i, i] = (own + np.where(sure, d_i, 0)) * poison
        squares[:, i] += own * own
        largest[:, i] += total[:, i, i]
        sums[:, i] = np.sqrt(sums[:, i] + err * err)
        over = np.where(sure, 1.0 / np.where(sure, value, 1.0), 0.0)
        row = -over[:, None] * np.einsum("nj,njk->nk", r[:, i, :i], inverse[:, :i, :i])
        inverse[:, i, :i], inverse[:, i, i] = row, over
        columns += inverse[:, i] ** 2
        skew += (np.abs(inverse[:, i]) * sums).sum(axis=1) ** 2
    scale = longest[:, None]
    c = (r / scale[..., None]).astype(np.float32)
    size = np.abs(c.astype(np.float64))
    row = np.sqrt((size * size).sum(axis=2))
    next_error = (delta + np.sqrt(squares)) / scale + epsilon * row
    next_limit = (largest / scale + epsilon * size.sum(axis=2)) * MAX_NORMAL * UP
    next_limit[:, 0] = np.where(r[:, 0, 0] > total[:, 0, 0], 0.0, next_limit[:, 0])
    return (
        r, total, c, next_error * UP * poison[:, None], next_limit * UP * poison[:, None],
        unit / (longest * std) * poison,
    )  # fmt: skip


def tops(root: Double, root_error: Double, normals: Double, epsilon: float) -> npt.NDArray:
    """The certain units of `check._check_kernel`, by its rules.

    Args:
        root, root_error: `(n, samples, samples)`.
        normals: `(n, samples, outputs)`.

    Returns:
        int64 `(n, samples)`: a unit, -1 where none is certain, -2 where all logits are zero.
    """
    values = root @ normals
    errors = (root_error + epsilon * np.abs(root)) @ np.abs(normals) * UP
    n_outputs = normals.shape[2]
    if n_outputs == 1:
        best, sure = (values[..., 0] > 0).astype(np.int64), np.abs(values) > errors
        sure = sure[..., 0]
    else:
        best = np.argmax(np.nan_to_num(values - errors, nan=-np.inf), axis=2)
        low = np.take_along_axis(values - errors, best[..., None], axis=2)[..., 0]
        high = values + errors
        np.put_along_axis(high, best[..., None], -np.inf, axis=2)
        sure = low > high.max(axis=2)
    tied = (np.abs(root) + root_error).sum(axis=2) == 0
    return np.where(tied, -2, np.where(sure, best, -1))
