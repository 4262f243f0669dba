"""The law: a float64 forward pass whose every rounding is specified.

Weights and inputs are canonical float32, taken to float64. A sum of products is added in a fixed
order: the terms in runs of consecutive ones (`run_length`: 16 for a dense layer, one kernel row for
a convolution), each run from zero upwards, the runs' sums in order from zero; the bias, if drawn,
last. Products are rounded before they are added (no fused multiply-add). Additions and
multiplications of IEEE float64 being what they are, the logits have the same bits on every machine;
compiled engines repeat the order and tests hold them to the bit.

A batch norm computes x a + b, the product rounded, with a = weight / sqrt(variance + 1e-5) and b =
bias - mean a for each channel. In guess and check mean and variance are those of the training set:
of all numbers of a channel and of their squares, rows from left to right, the rows' sums in order
(sample after sample, from the top) from zero; mean = sum / count, variance = max(0, sum of squares
/ count - mean mean).

This file is plain and slow on purpose: it is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import numpy as np
import numpy.typing as npt

from biasgpu.layers import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Fork,
    Join,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Scale,
)
from biasgpu.layout import Step

Floats = npt.NDArray[np.float64]
Weights = tuple[Floats, Floats | None]
RUN_LENGTH = 16
EPSILON = 1e-5  # added to a variance, as in PyTorch


def run_length(layer: Linear) -> int:
    """How many consecutive terms are added before their sum joins the total."""
    return layer.kernel if isinstance(layer, Conv2d) else RUN_LENGTH


def ordered_sum(terms: Callable[[int], Floats], n: int, run: int) -> Floats:
    """The sum of `terms(0) .. terms(n - 1)`, in the order the law prescribes."""
    total: Floats | None = None
    for start in range(0, n, run):
        part: Floats | None = None
        for k in range(start, min(start + run, n)):
            term = terms(k)
            part = 0.0 + term if part is None else part + term
        assert part is not None  # a run has at least one term
        total = 0.0 + part if total is None else total + part
    assert total is not None  # every unit has at least one input
    return total


def _dense(layer: Dense, x: Floats, weight: Floats) -> Floats:
    return ordered_sum(lambda k: x[:, k, None] * weight[None, :, k], x.shape[1], run_length(layer))


def _conv2d(layer: Conv2d, x: Floats, weight: Floats) -> Floats:
    pad, size = layer.padding, layer.kernel
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = x.shape[2] - size + 1, x.shape[3] - size + 1

    def term(k: int) -> Floats:
        channel, row, column = k // size**2, k // size % size, k % size
        patch = x[:, None, channel, row : row + height, column : column + width]
        return patch * weight[None, :, channel, row, column, None, None]

    return ordered_sum(term, x.shape[1] * size**2, run_length(layer))


def _max_pool(layer: MaxPool2d, x: Floats) -> Floats:
    if x.ndim != 4:
        return x
    size = layer.size
    samples, channels, height, width = x.shape
    height, width = height // size, width // size
    windows = x[:, :, : height * size, : width * size]
    return windows.reshape(samples, channels, height, size, width, size).max(axis=(3, 5))


def statistics(x: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of each channel over all samples and positions, in the law's order.

    Args:
        x: float64 `(samples, channels, height, width)`.

    Returns:
        float64 `(channels,)`, twice.
    """
    samples, channels, height, width = x.shape
    by_row = x.transpose(3, 0, 2, 1).reshape(width, samples * height, channels)
    found: list[Floats] = []
    for values in (by_row, by_row * by_row):
        rows = ordered_sum(lambda k, values=values: values[k], width, width)
        found.append(ordered_sum(lambda k, rows=rows: rows[k], len(rows), 1))
    count = float(samples * height * width)
    mean = found[0] / count
    return mean, np.maximum(found[1] / count - mean * mean, 0.0)


def affine(weight: Floats, bias: Floats, mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """What a batch norm multiplies with and adds: float64 `(channels,)` each."""
    factor = weight / np.sqrt(variance + EPSILON)
    return factor, bias - mean * factor


def apply(
    layer: Layer, x: Floats, weight: Floats | None = None, bias: Floats | None = None
) -> Floats:
    """One layer.

    Args:
        layer: the declaration.
        x: float64 `(samples, *in_shape)`.
        weight: float64, for layers with parameters; of a batch norm what it multiplies with.
        bias: float64 `(units,)`, or None where biases are zero; of a batch norm what it adds.

    Returns:
        float64 `(samples, *out_shape)`.
    """
    match layer:
        case Flatten():
            return x.reshape(len(x), -1)
        case ReLU():
            return np.maximum(x, 0.0)
        case MaxPool2d():
            return _max_pool(layer, x)
        case Scale():
            return x * float(layer.factor)
        case BatchNorm2d():
            assert weight is not None and bias is not None
            return x * weight[:, None, None] + bias[:, None, None]
        case Dense() | Conv2d():
            assert weight is not None
            y = _dense(layer, x, weight) if isinstance(layer, Dense) else _conv2d(layer, x, weight)
            if bias is not None:
                y = y + bias.reshape(1, -1, *[1] * (y.ndim - 2))
            return y
    raise NotImplementedError(f"the law has no rule for {layer}")


def forward(steps: Sequence[Step], weights: Sequence[Weights | None], x: npt.NDArray) -> Floats:
    """Logits of one network.

    Args:
        steps: the architecture, laid out.
        weights: for each step its weight and bias (float64), or None; for a batch norm what
            `affine` says.
        x: `(samples, *shape)`, float32 or float64.

    Returns:
        float64 `(samples, outputs)`.
    """
    return _forward(steps, list(weights), x, {})


def settle(
    steps: Sequence[Step], weights: Sequence[Weights | None], x: npt.NDArray
) -> tuple[list[Weights | None], dict[int, tuple[Floats, Floats]]]:
    """Every batch norm's statistics, those of some inputs, and the weights that `forward` takes.

    Args:
        steps: the architecture, laid out.
        weights: as for `forward`, but for a batch norm its weight and bias.
        x: `(samples, *shape)`, the training set.

    Returns:
        the weights; and mean and variance, float64 `(channels,)`, by the batch norm's position.
    """
    settled, found = list(weights), dict[int, tuple[Floats, Floats]]()
    batch_norms = {place for place, step in enumerate(steps) if isinstance(step.layer, BatchNorm2d)}
    _forward(steps, settled, x, found, batch_norms)
    return settled, found


def _forward(
    steps: Sequence[Step],
    weights: list[Weights | None],
    x: npt.NDArray,
    found: dict[int, tuple[Floats, Floats]],
    unsettled: Container[int] = (),
) -> Floats:
    y: Floats = np.asarray(x, dtype=np.float64)
    forks: list[Floats] = []
    for place, step in enumerate(steps):
        if isinstance(step.layer, Fork):
            forks.append(y)
            continue
        if isinstance(step.layer, Join):
            y = y + forks.pop()
            continue
        if place in unsettled:
            weight, bias = weights[place] or (None, None)
            assert weight is not None and bias is not None
            found[step.position] = statistics(y)
            weights[place] = affine(weight, bias, *found[step.position])
        y = apply(step.layer, y, *(weights[place] or ()))
    return y
