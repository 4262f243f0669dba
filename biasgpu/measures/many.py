"""The law of training's gradients for many networks at once: the same formulas, one more axis.

Sums are left to matrix products, so results differ from `biasgpu.training.law` by float64's
rounding. Each network is a matrix product of its own: how many there are changes no bit of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.packing import Packing

Floats = npt.NDArray[np.float64]


def loss_gradients(
    steps: Sequence[Step],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
) -> Floats:
    """The gradient of the mean cross-entropy by each network's parameters.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`.
        x: float32 `(samples, *shape)`.
        labels: int64 `(samples,)`.

    Returns:
        float64 `(n, n_parameters)`.
    """
    packing = Packing(tuple(steps))
    layers = packing.unpack(flat.astype(np.float64))
    kept: list[Any] = []  # what the way back needs of each layer's input
    y: Floats = x[None].astype(np.float64)  # one for all networks, until they have seen it
    for step, pair in zip(steps, layers, strict=True):
        y, note = _forward(step, pair, y)
        kept.append(note)
    upstream = _logit_gradient(y, labels)
    found: list[Any] = [None] * len(steps)
    first = next(i for i, pair in enumerate(layers) if pair is not None)
    for place in range(len(steps) - 1, first - 1, -1):
        found[place], upstream = _backward(
            steps[place], layers[place], kept[place], upstream, wanted=place > first
        )
    result: Any = packing.pack(found)
    return result


def values_held(steps: Sequence[Step], n_samples: int) -> int:
    """About how many float64 values `loss_gradients` holds for each network."""
    total = 0
    held = 3 * Packing(tuple(steps)).n_parameters
    for step in steps:
        total += 3 * int(np.prod(step.out_shape))
        if isinstance(step.layer, Conv2d):
            total += 2 * int(np.prod(step.out_shape[1:])) * step.fan_in
    return n_samples * total + held


def _forward(step: Step, pair: Any, y: Floats) -> tuple[Floats, Any]:
    """A layer's outputs, and what its backward pass needs."""
    match step.layer:
        case Dense():
            return y @ pair[0].transpose(0, 2, 1) + pair[1][:, None], y
        case Conv2d(units=units):
            patches = _patches(step.layer, y)
            weight = pair[0].reshape(len(pair[0]), units, -1)
            out = patches @ weight.transpose(0, 2, 1) + pair[1][:, None]
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
    raise NotImplementedError(f"the law has no gradient for {step.layer}")


def _backward(
    step: Step, pair: Any, note: Any, upstream: Floats, *, wanted: bool
) -> tuple[Any, Floats]:
    """Gradients by a layer's parameters, and by its inputs where they are `wanted`."""
    n, samples = upstream.shape[:2]
    match step.layer:
        case Dense():
            by = (upstream.transpose(0, 2, 1) @ note, upstream.sum(axis=1))
            return by, upstream @ pair[0] if wanted else upstream
        case Conv2d(units=units):
            rows = upstream.reshape(n, samples, units, -1).transpose(0, 2, 1, 3)
            rows = rows.reshape(n, units, -1)
            weight = pair[0].reshape(n, units, -1)
            by = ((rows @ note).reshape(pair[0].shape), rows.sum(axis=2))
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
    return None, upstream


def _logit_gradient(logits: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """(softmax - one hot) / samples; of one logit z that of (0, z)."""
    one = logits.shape[2] == 1
    full = np.concatenate([np.zeros_like(logits), logits], axis=2) if one else logits
    odds = np.exp(full - full.max(axis=2, keepdims=True))
    gradient = odds / odds.sum(axis=2, keepdims=True)
    gradient[:, np.arange(len(labels)), labels] -= 1.0
    gradient /= len(labels)
    return gradient[..., 1:] if one else gradient


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
