"""Gradients of many networks at once: the formulas of training's law with one more axis.

A batch norm's statistics depend on the parameters where the gradient is one of training: there they
are those of all inputs that are given. In a gradient by the input they are constants, those that
come with the network. Sums are left to matrix products, so results differ from
`biasgpu.training.law` by float64's rounding. Each network is a matrix product of its own: how many
there are changes no bit of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.layers import Conv2d, Fork, Join
from biasgpu.layout import Step
from biasgpu.measures import many_layers
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
    y, kept = _forward(steps, layers, x, batch=True)
    first = next(i for i, pair in enumerate(layers) if pair is not None)
    found, _ = _backward(steps, layers, kept, _logit_gradient(y, labels), first)
    result: Any = packing.pack(found)
    return result


def input_gradients(
    steps: Sequence[Step],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    pairs: Sequence[tuple[int, int]],
) -> list[Floats]:
    """Gradients of differences of two logits by the input.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`.
        x: float32 `(samples, *shape)`.
        pairs: outputs (a, b) of the differences z_b - z_a; a = -1 for z_b alone.

    Returns:
        for each pair float64 `(n, samples, *shape)`.
    """
    layers = Packing(tuple(steps)).unpack(flat.astype(np.float64))
    y, kept = _forward(steps, layers, x, batch=False)
    found: list[Floats] = []
    for low, high in pairs:
        upstream = np.zeros((len(flat), *y.shape[1:]))
        upstream[..., high] = 1.0
        if low >= 0:
            upstream[..., low] = -1.0
        found.append(_backward(steps, layers, kept, upstream, 0)[1])
    return found


def _forward(
    steps: Sequence[Step], layers: Sequence[Any], x: npt.NDArray, *, batch: bool
) -> tuple[Floats, list[Any]]:
    """Logits `(n, samples, outputs)`, and what the way back needs of each layer's input."""
    kept: list[Any] = []
    forks: list[Floats] = []
    y: Floats = x[None].astype(np.float64)  # one for all networks, until they have seen it
    for step, pair in zip(steps, layers, strict=True):
        note: Any = None
        if isinstance(step.layer, Fork):
            forks.append(y)
        elif isinstance(step.layer, Join):
            y = y + forks.pop()
        else:
            y, note = many_layers.forward(step, pair, y, batch=batch)
        kept.append(note)
    return y, kept


def _backward(
    steps: Sequence[Step], layers: Sequence[Any], kept: Sequence[Any], upstream: Floats, first: int
) -> tuple[list[Any], Floats]:
    """Gradients by the parameters, and by the inputs of the layer `first`, where that is 0."""
    found: list[Any] = [None] * len(steps)
    joined: list[Floats] = []
    for place in range(len(steps) - 1, first - 1, -1):
        if isinstance(steps[place].layer, Join):
            joined.append(upstream)
        elif isinstance(steps[place].layer, Fork):
            upstream = upstream + joined.pop()
        else:
            wanted = place > first or first == 0
            found[place], upstream = many_layers.backward(
                steps[place], layers[place], kept[place], upstream, wanted=wanted
            )
    return found, upstream


def values_held(steps: Sequence[Step], n_samples: int) -> int:
    """About how many float64 values `loss_gradients` holds for each network."""
    total = 0
    held = 3 * Packing(tuple(steps)).n_parameters
    for step in steps:
        total += 3 * int(np.prod(step.out_shape))
        if isinstance(step.layer, Conv2d):
            total += 2 * int(np.prod(step.out_shape[1:])) * step.fan_in
    return n_samples * total + held


def _logit_gradient(logits: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """(softmax - one hot) / samples; of one logit z that of (0, z)."""
    one = logits.shape[2] == 1
    full = np.concatenate([np.zeros_like(logits), logits], axis=2) if one else logits
    odds = np.exp(full - full.max(axis=2, keepdims=True))
    gradient = odds / odds.sum(axis=2, keepdims=True)
    gradient[:, np.arange(len(labels)), labels] -= 1.0
    gradient /= len(labels)
    return gradient[..., 1:] if one else gradient
