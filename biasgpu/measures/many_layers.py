"""Layers of many networks at once, forwards and back, in plain float64: `biasgpu.measures.many`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Scale
from biasgpu.layout import Step
from biasgpu.reference import EPSILON

Floats = npt.NDArray[np.float64]
OF_A_CHANNEL = (1, 3, 4)  # samples, rows, columns


def forward(step: Step, pair: Any, y: Floats, *, batch: bool) -> tuple[Floats, Any]:
    """A layer's outputs, and what its backward pass needs.

    Args:
        step: the layer.
        pair: float64, its parameters by network, as `Packing.unpack` gives them, or None.
        y: `(n or 1, samples, *in_shape)`.
        batch: whether batch norms take the statistics of `y`, or those that come with them.

    Returns:
        `(n or 1, samples, *out_shape)`, and a note for `backward`.
    """
    match step.layer:
        case Dense():
            return y @ pair[0].transpose(0, 2, 1) + _bias(pair), y
        case Conv2d(units=units):
            patches = _patches(step.layer, y)
            weight = pair[0].reshape(len(pair[0]), units, -1)
            out = patches @ weight.transpose(0, 2, 1) + _bias(pair)
            out = out.reshape(len(out), y.shape[1], -1, units).transpose(0, 1, 3, 2)
            return out.reshape(*out.shape[:2], *step.out_shape), patches
        case MaxPool2d() if y.ndim == 5:
            split = _windows(step.layer.size, y)
            first = split.argmax(axis=-1)[..., None]
            return np.take_along_axis(split, first, axis=-1)[..., 0], (y.shape, first)
        case MaxPool2d():
            return y, ()
        case ReLU():
            return np.maximum(y, 0.0), y > 0.0
        case Flatten():
            return y.reshape(*y.shape[:2], -1), y.shape
        case Scale(factor=factor):
            return y * factor, None
        case BatchNorm2d():
            weight, bias, mean, variance = (_by_channel(part) for part in pair)
            if batch:
                mean, variance = (f(y, axis=OF_A_CHANNEL, keepdims=True) for f in (np.mean, np.var))
            root = np.sqrt(variance + EPSILON)
            unit = (y - mean) / root
            return unit * weight + bias, (unit, root, batch)
    raise NotImplementedError(f"the law has no gradient for {step.layer}")


def backward(
    step: Step, pair: Any, note: Any, upstream: Floats, *, wanted: bool
) -> tuple[Any, Floats]:
    """Gradients by a layer's parameters (None without), and by its inputs where they are `wanted`.

    Args:
        step, pair, note: the layer, its parameters and the note of `forward`.
        upstream: `(n, samples, *out_shape)`, by its outputs.
        wanted: whether anything before the layer has parameters.
    """
    n, samples = upstream.shape[:2]
    match step.layer:
        case Dense():
            by = (upstream.transpose(0, 2, 1) @ note, upstream.sum(axis=1))
            by = by[: len(pair)]
            return by, upstream @ pair[0] if wanted else upstream
        case Conv2d(units=units):
            rows = upstream.reshape(n, samples, units, -1).transpose(0, 2, 1, 3)
            rows = rows.reshape(n, units, -1)
            weight = pair[0].reshape(n, units, -1)
            by = ((rows @ note).reshape(pair[0].shape), rows.sum(axis=2))[: len(pair)]
            if wanted:
                upstream = _fold(step, rows.transpose(0, 2, 1) @ weight, samples)
            return by, upstream
        case MaxPool2d() if note:
            shape, first = note
            spread = np.zeros((*upstream.shape, step.layer.size**2))
            np.put_along_axis(spread, first, upstream[..., None], axis=-1)
            result = np.zeros((n, *shape[1:]))
            _windows(step.layer.size, result, spread)
            return None, result
        case ReLU():
            return None, np.where(note, upstream, 0.0)
        case Flatten():
            return None, upstream.reshape(n, *note[1:])
        case Scale(factor=factor):
            return None, upstream * factor
        case BatchNorm2d():
            return _batch_norm_backward(pair, note, upstream)
    return None, upstream


def _batch_norm_backward(pair: Any, note: Any, upstream: Floats) -> tuple[Any, Floats]:
    """By weight and bias; by inputs also through the mean and variance, if they are the batch's."""
    unit, root, batch = note
    by_weight = (upstream * unit).sum(axis=OF_A_CHANNEL)
    by_bias = upstream.sum(axis=OF_A_CHANNEL)
    zeros = np.zeros_like(by_bias)
    if batch:
        n = upstream[0, :, 0].size
        upstream = upstream - _by_channel(by_bias) / n - unit * (_by_channel(by_weight) / n)
    return (by_weight, by_bias, zeros, zeros), upstream * (_by_channel(pair[0]) / root)


def _by_channel(part: Floats) -> Floats:
    return part[:, None, :, None, None]


def _bias(pair: Any) -> Any:
    return pair[1][:, None] if len(pair) > 1 else 0.0


def _patches(layer: Conv2d, y: Floats) -> Floats:
    """`(n, samples * positions, channels * kernel * kernel)`: what each output position sees."""
    pad, size = layer.padding, layer.kernel
    padded = np.pad(y, ((0, 0), (0, 0), (0, 0), (pad, pad), (pad, pad)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(3, 4))
    seen = seen.transpose(0, 1, 3, 4, 2, 5, 6)
    return seen.reshape(len(y), -1, y.shape[2] * size * size)


def _fold(step: Step, patches: Floats, samples: int) -> Floats:
    """Gradients by what each position sees, added up: `(n, samples, *in_shape)`."""
    layer = step.layer
    assert isinstance(layer, Conv2d)
    pad, size = layer.padding, layer.kernel
    channels, height, width = step.in_shape
    rows, columns = step.out_shape[1:]
    parts = patches.reshape(len(patches), samples, rows, columns, channels, size, size)
    total = np.zeros((len(patches), samples, channels, height + 2 * pad, width + 2 * pad))
    for i in range(size):
        for j in range(size):
            part = parts[..., i, j].transpose(0, 1, 4, 2, 3)
            total[..., i : i + rows, j : j + columns] += part
    return total[..., pad : pad + height, pad : pad + width]


def _windows(size: int, y: Floats, values: Floats | None = None) -> Floats:
    """The elements of each pooling window, `(..., rows, columns, size * size)`; or set them."""
    *leading, height, width = y.shape
    rows, columns = height // size, width // size
    cut = y[..., : rows * size, : columns * size]
    if values is None:
        split = cut.reshape(*leading, rows, size, columns, size)
        return np.moveaxis(split, -3, -2).reshape(*leading, rows, columns, size * size)
    split = np.moveaxis(values.reshape(*leading, rows, columns, size, size), -2, -3)
    cut[...] = split.reshape(cut.shape)
    return y
