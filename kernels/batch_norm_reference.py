"""Twins in NumPy of the kernels for networks with batch norms, one draw at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.margins import LIMIT, UNIT_ROUNDOFF
from biasgpu.reference import EPSILON

Floats = npt.NDArray[np.float64]
ROUNDOFF = UNIT_ROUNDOFF["float64"]
SLACK = 2.0**-20
TINY = 1e-290
SMALLEST = 1e-200


def read(x: Floats, affine: Floats | None, rectified: bool) -> Floats:
    """What kernels make of numbers as they read them.

    Args:
        x: `(samples, channels, rows, columns)`.
        affine: `(channels, 2)`: what to multiply with and to add, or None.
        rectified: whether a ReLU follows.
    """
    if affine is not None:
        x = x * affine[:, 0, None, None] + affine[:, 1, None, None]
    return np.maximum(x, 0.0) if rectified else x


def images(
    weight: Floats, bias: Floats | None, x: Floats, padding: int, pooled: bool
) -> tuple[Floats, Floats]:
    """The twin of `batch_norm_conv._images_kernel`.

    Args:
        weight: `(units, channels, kernel, kernel)`.
        bias: `(units,)`, or None.
        x: `(samples, channels, rows, columns)`, read.
        padding: rows and columns of zeros.
        pooled: maxima in windows of 2 by 2 are taken.

    Returns:
        outputs `(samples, units, rows, columns)`; sums of them before pooling, and of their
        squares, `(units, 2)`.
    """
    size, pad = weight.shape[-1], (padding, padding)
    x = np.pad(x, ((0, 0), (0, 0), pad, pad))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    y = np.einsum("scijkl,uckl->suij", windows, weight)
    if bias is not None:
        y = y + bias[:, None, None]
    return _pooled(y, 2) if pooled else y, sums(y)


def sums(x: Floats) -> Floats:
    """Each channel's sums of numbers and of their squares: `(channels, 2)`."""
    return np.stack([x.sum(axis=(0, 2, 3)), (x * x).sum(axis=(0, 2, 3))], axis=-1)


def elements(x: Floats, other: Floats | None, after: bool, size: int, factor: float) -> Floats:
    """The twin of `batch_norm_element._element_kernel`: of numbers that are read."""
    if other is not None:
        x = x + other
    return _pooled(np.maximum(x, 0.0) if after else x, size) * factor


def element_bound(
    reach: Floats, total: float, other: tuple[Floats, float] | None, factor: float
) -> tuple[Floats, float]:
    """The reach `(channels,)` and the total that it writes; `other` are those of what joins."""
    if other is not None:
        reach, total = reach + other[0], total + other[1]
    sizes = float((reach + total).sum())
    total = abs(factor) * (total + 5 * ROUNDOFF * sizes) * (1 + SLACK)
    return abs(factor) * reach * (1 + SLACK), total if sizes < LIMIT["float64"] else np.inf


def settle(
    weight: Floats | None, bias: Floats | None, reach: Floats, total: float,
    norm: tuple[Floats, Floats, Floats] | None, constants: Floats, dense: bool,
) -> tuple[Floats | None, Floats, Floats]:  # fmt: skip
    """The twin of `batch_norm_settle._settle_kernel`.

    Args:
        weight: `(units, channels, taps)`, or None without a linear layer.
        bias: `(units,)`, or None.
        reach, total: of the inputs, `(channels,)`.
        norm: of a batch norm the sums `(units, 2)`, weights and biases `(units,)`; or None.
        constants: float64 `(8,)`, as the kernel's.
        dense: a dense layer, not a convolution.

    Returns:
        what to multiply with and to add `(units, 2)`, or None; reach `(units,)`; and `(units, 4)`.
    """
    length, rounding, error = np.ones_like(reach), np.zeros_like(reach), np.full_like(reach, total)
    if weight is not None:
        gains = np.sqrt((weight**2).sum(axis=2)) if dense else np.abs(weight).sum(axis=2)
        length, reach = np.sqrt((weight**2).sum(axis=(1, 2))), gains @ (reach + total)
        if bias is not None:
            reach = reach + constants[1] * np.abs(bias)
        rounding = np.where(reach < LIMIT["float64"], constants[0] * reach, np.inf)
        error = (length * constants[7] * total + rounding) * (1 + SLACK)
    affine, gain = None, np.ones_like(length)
    if norm is not None:
        found, scale, shift = norm
        count, root, gamma = constants[2:5]
        mean, square = found[:, 0] / count, found[:, 1] / count
        variance = np.maximum(square - mean * mean, 0.0)
        factor = scale / np.sqrt(variance + EPSILON)
        affine = np.stack([factor, shift - mean * factor], axis=-1)
        off = error * (1 + SLACK) / root
        high = np.sqrt(square) * (1 + SLACK) + off
        spread = np.sqrt(np.maximum(variance - 4 * gamma * (1 + SLACK) * square, 0.0))
        spread = np.maximum(spread * (1 - SLACK) - off, 0.0)
        least = np.sqrt(spread**2 + EPSILON) * (1 - SLACK)
        ratio = 4 * gamma * (1 + SLACK) * (high / least) ** 2
        gain = scale / least
        own = 4 * gamma * (gain * high + np.abs(shift)) + scale * (ratio + 10 * ROUNDOFF)
        sure = (ratio <= 0.5) & (count * high**2 * (1 + gain) < LIMIT["float64"])
        rounding = np.where(sure, gain * rounding + 2 * root * own, np.inf)
        error = gain * error + 2 * root * own
        reach = root * (scale + np.abs(shift))
    parts = np.stack([gain, gain * length, rounding, error * (1 + SLACK)], axis=-1)
    return affine, reach * (1 + SLACK), parts


def total(weight: Floats | None, parts: Floats, before: float, constants: Floats) -> float:
    """The twin of `batch_norm_total._products_kernel` and `_total_kernel`.

    Args:
        weight: `(units, columns)`, biases included; None without a linear layer.
        parts: `(units, 4)`, as `settle` says.
        before: the inputs' total.
        constants: float64 `(8,)`, as the kernel's.
    """
    norm = parts[:, 0].max()
    if weight is not None:
        scaled = parts[:, :1] * weight
        gram = scaled @ scaled.T
        powers = float(((gram @ gram) ** 2).sum())
        norm = np.sqrt((parts[:, 1] ** 2).sum())
        if powers > SMALLEST:
            norm = min(norm, powers**0.125)
    norm *= constants[7] * (1 + SLACK)
    return float((norm * before + np.sqrt((parts[:, 2] ** 2).sum())) * (1 + SLACK) + TINY)


def _pooled(values: Floats, size: int) -> Floats:
    rows, columns = values.shape[2] // size, values.shape[3] // size
    values = values[:, :, : rows * size, : columns * size]
    return values.reshape(*values.shape[:2], rows, size, columns, size).max(axis=(3, 5))
