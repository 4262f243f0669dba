"""Twins in NumPy of the kernels of method "direct": the same bounds, sums in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.engines.consistency import ALL_TIED, UNSURE, prefixes

Floats = npt.NDArray[np.float64]
UP = 1.0 + 2.0**-20


def settle(y: Floats, bound: Floats, constants: Floats, rectified: bool) -> tuple[Floats, Floats]:
    """The twin of `direct_dense.settle`: activations and slack."""
    gain, inject, floor = constants[3:]
    h = y
    if rectified:
        bound = np.where((y <= -bound) & (bound < np.inf), 0.0, bound)
        h = np.maximum(y, 0.0)
    slack = gain * bound + inject * np.maximum(np.abs(h), floor)
    return h, np.where((bound == 0) & (h == 0), 0.0, slack)


def dense(
    weight: Floats,
    bias: Floats | None,
    x: Floats,
    slack: Floats,
    constants: Floats,
    rectified: bool,
) -> tuple[Floats, Floats]:
    """The twin of `direct_dense._dense_kernel` for one draw.

    Args:
        weight: `(units, inputs)`.
        bias: `(units,)`, or None.
        x, slack: `(samples, inputs)`.
        constants: float64 `(6,)`, as the kernel's.
        rectified: whether a ReLU follows.

    Returns:
        activations and slack, `(samples, units)`.
    """
    y, error, live = x @ weight.T, slack @ np.abs(weight).T, slack.sum(axis=1, keepdims=True)
    if bias is not None:
        y, error, live = y + bias, error + np.abs(bias) * constants[2], live + constants[2]
    return settle(y, _bound(error, live, constants), constants, rectified)


def exact_dense(
    weight: Floats,
    bias: Floats | None,
    x: Floats,
    slack: Floats,
    constants: Floats,
    rectified: bool,
    most: float,
    shared: bool,
) -> tuple[Floats, Floats]:
    """The twin of `direct_digits` and `direct_tensor` for one draw: their bounds, sums in float64.

    Args:
        weight, bias, x, slack, constants, rectified: as those of `dense`.
        most: more than any |weight| before it is rounded, a power of two times the prior's step.
        shared: the inputs are every draw's: all units have one bound.

    Returns:
        activations and slack, `(samples, units)`.
    """
    if bias is not None:
        weight = np.concatenate([weight, bias[:, None]], axis=1)
        x = np.pad(x, ((0, 0), (0, 1)), constant_values=1.0)
        slack = np.pad(slack, ((0, 0), (0, 1)), constant_values=constants[2])
    y, largest = x @ weight.T, slack.max(axis=1, keepdims=True)
    exponent = np.frexp(np.abs(x).max(axis=1, keepdims=True))[1] - 1
    unit = np.ldexp(1.0, np.clip(exponent, -40, 100) - 29)
    bound = most * 33.0 * x.shape[1] * unit
    if shared:
        bound = bound + most * slack.sum(axis=1, keepdims=True)
    else:
        by_slack = 126.0 / np.maximum(largest, 2.0**-60)
        units = np.floor(slack * by_slack) + (slack > 0)
        upper = np.floor(weight / most * 128.0)  # a number's upper byte
        magnitudes = np.where(upper < 0, -1.0 - upper, upper)
        bound = bound + most / 128.0 / by_slack * (units @ (magnitudes + 1.0).T)
    bound = np.where(largest == 0, 0.0, bound + 2.0**-20 * np.abs(y) + constants[1])
    return settle(y, bound, constants, rectified)


def convolution(
    weight: Floats,
    bias: Floats | None,
    x: Floats,
    group: Floats,
    constants: Floats,
    rectified: bool,
    pooled: bool,
) -> tuple[Floats, Floats, Floats]:
    """The twin of `direct_conv._convolution_kernel` for one draw.

    Args:
        weight: `(units, channels, kernel, kernel)`.
        bias: `(units,)`, or None.
        x: `(samples, channels, height, width)`.
        group: `(samples, channels)`, the largest slack of each channel.
        constants: float64 `(6,)`, as the kernel's.
        rectified, pooled: what follows.

    Returns:
        activations and slack `(samples, units, rows, columns)`, and each channel's slack.
    """
    size = weight.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    y = np.einsum("scijkl,uckl->suij", windows, weight)
    error = group @ np.abs(weight).sum(axis=(2, 3)).T
    live = group.sum(axis=1, keepdims=True)
    if bias is not None:
        y = y + bias[:, None, None]
        error, live = error + np.abs(bias) * constants[2], live + constants[2]
    bound = _bound(error, live, constants)
    if pooled:
        y = _pooled(y, 2)
    h, slack = settle(y, bound[..., None, None], constants, rectified)
    top = y.max(axis=(2, 3)) if rectified else np.abs(y).max(axis=(2, 3))
    return h, slack, settle(top, bound, constants, rectified)[1]


def pool(h: Floats, slack: Floats, size: int) -> tuple[Floats, Floats]:
    """The twin of `direct_conv._pool_kernel`: `(samples, channels, height, width)`."""
    return _pooled(h, size), 2.0 * _pooled(slack, size)


def decide(
    logits: Floats,
    errors: Floats,
    labels: npt.NDArray[np.int64],
    n_arrangements: int,
) -> npt.NDArray[np.uint16]:
    """The twin of `direct_check._decide_kernel` from the first sample on.

    Args:
        logits, errors: `(draws, samples, outputs)`.
        labels: int64 `(samples,)`.
        n_arrangements: of a draw.
    """
    n_outputs = logits.shape[2]
    errors = errors * UP
    finite = (np.abs(logits) + errors < np.inf).all(axis=2)
    if n_outputs == 1:
        best, sure = (logits[..., 0] > 0).astype(np.int64), (np.abs(logits) > errors)[..., 0]
    else:
        low, high = logits - errors, logits + errors
        best = np.argmax(np.where(np.isnan(low), -np.inf, low), axis=2)
        first = np.take_along_axis(low, best[..., None], axis=2)[..., 0]
        np.put_along_axis(high, best[..., None], -np.inf, axis=2)
        sure = first > high.max(axis=2)
    tops = np.where(finite & sure, best, UNSURE)
    tops = np.where((np.abs(logits) + errors).sum(axis=2) == 0, ALL_TIED, tops)
    return prefixes(tops, labels, n_outputs, n_arrangements)


def _bound(error: Floats, live: Floats, constants: Floats) -> Floats:
    return np.where(live == 0, 0.0, error + constants[1])


def _pooled(values: Floats, size: int) -> Floats:
    rows, columns = values.shape[2] // size, values.shape[3] // size
    values = values[:, :, : rows * size, : columns * size]
    return values.reshape(*values.shape[:2], rows, size, columns, size).max(axis=(3, 5))
