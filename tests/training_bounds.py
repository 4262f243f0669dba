"""How far a gradient in float32 may be from the law's: derived, layer by layer.

With its rectifiers and pools decided, a network's output, and its gradient by a parameter, is a sum
of products over paths. A float32 program that adds them in any order returns the sum of
(path) (1 + theta), |theta| <= gamma(K) = K u / (1 - K u), u = 2^-24, where K roundings lie on the
longest path (Higham, Accuracy and Stability, section 3.1). So the error is gamma(K) times the same
sum over absolute values, which is what is computed here. The gradient by the logits adds its own
error: the softmax moves by at most the largest error of a difference of logits, over two.

Where a rectifier or a pool is decided within such an error, nothing is said: `decided` is False.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.layers import Conv2d, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.training import law

UNIT = 2.0**-24
Floats = npt.NDArray[np.float64]


def gamma(k: float) -> float:
    return k * UNIT / (1.0 - k * UNIT)


@dataclass(frozen=True)
class Bound:
    gradient: Floats  # the law's, of the mean loss
    error: Floats  # how far float32 may be from it
    decided: bool  # whether that can be said


def bound(steps: tuple[Step, ...], flat: Floats, x: npt.NDArray, labels: npt.NDArray) -> Bound:
    """Of the gradient of the mean loss over `x`."""
    values = law.forward(steps, flat, x)
    upstream = law.logit_gradient(values[-1], labels)[1]
    gradient = law.backward(steps, flat, values, upstream)[0]
    parts = [
        np.zeros(0) if place is None or step.linear is None
        else np.abs(flat[place[0] : place[1] + step.linear.units])
        for step, place in zip(steps, Packing(steps).offsets, strict=True)
    ]  # fmt: skip
    sizes, depth, decided = [np.abs(values[0])], 0, True
    for step, value, part in zip(steps, values, parts, strict=False):
        layer, size = step.layer, sizes[-1]
        if isinstance(layer, ReLU):
            decided &= _far(np.abs(value), gamma(depth) * size)
            size = np.where(value > 0, size, 0.0)
        elif isinstance(layer, MaxPool2d) and value.ndim == 4:
            decided &= _one_winner(layer, value, gamma(depth) * size)
            size = size * _winners(step, value)
            size = law.forward([step], part, size)[-1]
        else:
            size = law.forward([step], part, size)[-1]
            depth += step.fan_in + 2 if step.linear else 0
        sizes.append(size)
    width = 2.0 if upstream.shape[1] > 1 else 1.0
    moved = width * gamma(depth) * sizes[-1].max(axis=1, keepdims=True) / 2.0
    samples = len(x)
    by_logits = gamma(24 + upstream.shape[1]) * np.abs(upstream) + moved / samples + 2.0**-120
    back = depth + 4
    for step in steps:
        positions = int(np.prod(step.out_shape[1:]))
        square = step.layer.kernel**2 if isinstance(step.layer, Conv2d) else 1
        back += (samples * positions + step.out_shape[0] * square) if step.linear else 0
    full = _backward(steps, parts, values, sizes, np.abs(upstream) + by_logits)
    own = _backward(steps, parts, values, sizes, by_logits)
    return Bound(gradient, gamma(back) * full + own, decided)


def _backward(
    steps: tuple[Step, ...], parts: list[Floats], values: list[Floats], sizes: list[Floats],
    upstream: Floats,
) -> Floats:  # fmt: skip
    """`law.backward` over absolute values, decisions as they were."""
    found: list[Floats] = []
    for k in range(len(steps) - 1, -1, -1):
        inputs = sizes[k] if steps[k].linear else values[k]
        if steps[k].linear:
            gradient, upstream = law.backward([steps[k]], parts[k], [inputs, upstream], upstream)
            found.append(gradient)
        else:
            upstream = _through(steps[k], inputs, upstream)
    return np.concatenate(found[::-1])


def _through(step: Step, value: Floats, upstream: Floats) -> Floats:
    """Back through a layer without parameters: as the law goes, next to one that has some."""
    linear = Packing((step,)).n_parameters
    assert linear == 0
    match step.layer:
        case ReLU():
            return np.where(value > 0, upstream, 0.0)
        case MaxPool2d() if value.ndim == 4:
            return law._max_pool_backward(step.layer, value, upstream)
        case MaxPool2d():
            return upstream
    return upstream.reshape(value.shape)


def _winners(step: Step, value: Floats) -> Floats:
    """1 where a window's first largest element is, else 0."""
    assert isinstance(step.layer, MaxPool2d)
    return law._max_pool_backward(step.layer, value, np.ones((len(value), *step.out_shape)))


def _far(distance: Floats, error: Floats) -> bool:
    return bool(((distance > error) | (error == 0)).all())


def _one_winner(layer: MaxPool2d, value: Floats, error: Floats) -> bool:
    """Whether each window's first largest element is that in float32 too."""
    if layer.size == 1:
        return True
    windows, errors = law._windows(layer, value), law._windows(layer, error)
    top = np.sort(windows, axis=-1)
    most = 2.0 * errors.max(axis=-1)
    gap = top[..., -1] - top[..., -2]
    same = (windows == windows[..., :1]).all(axis=-1)  # all zero, or of one sum: no matter
    return bool(((gap > most) | same).all())
