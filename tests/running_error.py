"""How far a gradient computed in float32 may be from the law's: a running error analysis.

Every sum of n products, added in any order, errs by at most gamma(n) = n u / (1 - n u) times the
sum of the magnitudes (Higham, Accuracy and Stability, chapter 3); what went in with an error comes
out with the error of its magnitude. Masks are the law's, so nothing is promised near a kink: where
rounding could turn a rectifier or the choice of a pooling window, `Kink` is raised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.layers import Layer, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.training import law

Floats = npt.NDArray[np.float64]
Pair = tuple[npt.NDArray, ...]
U = 2.0**-24
TINY = 1e-36  # a sum that falls below the normal numbers, many times over


class Kink(Exception):
    """Rounding might decide a maximum."""


def gamma(n: int) -> float:
    """The relative error of a sum of n products."""
    return n * U / (1.0 - n * U)


def gradient_error(
    steps: Sequence[Step], flat: Floats, x: npt.NDArray, labels: npt.NDArray[np.int64]
) -> Floats:
    """A bound on |float32's gradient - the law's|, parameter by parameter.

    Args:
        steps: the layers.
        flat: float64 `(n_parameters,)`, float32 numbers.
        x: float32 `(samples, *shape)`.
        labels: int64 `(samples,)`.

    Raises:
        Kink: see above.
    """
    values = law.forward(steps, flat, x)
    layers = Packing(tuple(steps)).unpack(flat)
    errors = [np.zeros_like(values[0])]
    for step, pair, value, after in zip(steps, layers, values[:-1], values[1:], strict=True):
        errors.append(_forward_error(step, pair, value, after, errors[-1]))
    _, upstream = law.logit_gradient(values[-1], labels)
    error = _logit_gradient_error(values[-1], errors[-1], len(labels))
    found: list[tuple[Floats, Floats | None] | None] = [None] * len(steps)
    for place in range(len(steps) - 1, -1, -1):
        step, pair, value = steps[place], layers[place], values[place]
        if pair is None:
            upstream, error = (_masked(step.layer, value, up) for up in (upstream, error))
            continue
        found[place], below = _linear_error(step, pair, value, errors[place], upstream, error)
        upstream, error = _backward(step, pair, value, upstream)[1], below
    return Packing(tuple(steps)).pack(found).astype(np.float64, copy=False)


def _forward_error(
    step: Step, pair: Pair | None, value: Floats, after: Floats, error: Floats
) -> Floats:
    layer = step.layer
    if pair is not None:
        weight, bias = np.abs(pair[0]), np.abs(pair[1])
        sums = reference.apply(layer, np.abs(value) + error, weight, bias)
        return reference.apply(layer, error, weight) + gamma(step.fan_in + 2) * sums + TINY
    if isinstance(layer, ReLU):
        if (np.abs(value) <= error)[error > 0].any():
            raise Kink
        return np.where(value > 0.0, error, 0.0)
    if isinstance(layer, MaxPool2d) and value.ndim == 4:
        elements, errors = law._windows(layer, value), law._windows(layer, error)
        first = elements.argmax(axis=-1)[..., None]
        gap = np.take_along_axis(elements, first, -1) - elements
        unsure = np.take_along_axis(errors, first, -1) + errors
        np.put_along_axis(unsure, first, 0.0, -1)
        if (gap <= unsure)[unsure > 0].any():
            raise Kink
        return np.take_along_axis(errors, first, -1)[..., 0]
    return error.reshape(after.shape)


def _logit_gradient_error(logits: Floats, error: Floats, samples: int) -> Floats:
    """Softmax of logits with errors: each share changes by exp(2 error) at most; exp and the
    division take some units, and exp as many more as its argument is large."""
    one = logits.shape[1] == 1
    if one:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        error = np.concatenate([error, error], axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    share = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    worst = error.max(axis=1, keepdims=True)
    units = (16.0 + logits.shape[1] + 4.0 * np.abs(shifted).max(axis=1, keepdims=True)) * U
    bound = (share * (np.expm1(2.0 * worst) + units) + 4.0 * U + TINY) / samples
    return bound[:, 1:] if one else bound


def _linear_error(
    step: Step, pair: Pair, value: Floats, error: Floats, upstream: Floats, above: Floats
) -> tuple[tuple[Floats, Floats], Floats]:
    """Bounds for the gradients by a layer's weights, biases and inputs.

    Args:
        step: the layer.
        pair: its weight and bias.
        value, error: its input and the bound on it.
        upstream, above: the gradient by its output and the bound on it.
    """
    magnitude: Pair = (np.abs(pair[0]), np.abs(pair[1]))
    high, most = np.abs(value) + error, np.abs(upstream) + above
    (by_weight, by_bias), by_input = _backward(step, magnitude, high, above)
    reached = _backward(step, magnitude, error, np.abs(upstream))[0][0]
    (all_weight, all_bias), all_input = _backward(step, magnitude, high, most)
    share = gamma(most[:, 0].size + 2)
    parameters = (
        by_weight + reached + share * all_weight + TINY,
        by_bias + share * all_bias + TINY,
    )
    kernel = step.fan_in // step.in_shape[0]  # 1 for a dense layer
    terms = pair[0].shape[0] * kernel
    return parameters, by_input + gamma(terms + 2) * all_input + TINY


def _backward(step: Step, pair: Pair, value: Floats, upstream: Floats) -> tuple[Pair, Floats]:
    flat = Packing((step,)).pack([pair]).astype(np.float64, copy=False)
    parameters, below = law.backward([step], flat, [value], upstream)
    (found,) = Packing((step,)).unpack(parameters)
    assert found is not None
    return found, below


def _masked(layer: Layer, value: Floats, upstream: Floats) -> Floats:
    if isinstance(layer, ReLU):
        return np.where(value > 0.0, upstream, 0.0)
    if isinstance(layer, MaxPool2d) and value.ndim == 4:
        return law._max_pool_backward(layer, value, upstream)
    return upstream.reshape(value.shape)
