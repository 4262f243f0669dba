"""The law of training: one network in plain float64, every formula on view.

Compiled trainers compute the same in float32 and differ by rounding alone; tests hold them to this.
Conventions, all of them PyTorch's: the gradient of a rectifier is 0 at 0; a pooling window passes
its gradient to its first largest element, rows before columns; the loss is the mean cross-entropy
over the batch, for a one-logit head that of the logits (0, z). Batch norms go by the batch while
training, and by running statistics afterwards (`batch_norm.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    MaxPool2d,
    ReLU,
    Scale,
)
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.training import batch_norm
from biasgpu.training.order import epoch_order
from biasgpu.training.recipe import BETA_1, BETA_2, EPSILON, MOMENTUM, Recipe

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def forward(
    steps: Sequence[Step], flat: Floats, x: npt.NDArray, *, training: bool = False
) -> list[Floats]:
    """The inputs of every layer, and the logits at the end.

    Args:
        steps: the layers in their places.
        flat: float64 `(n_parameters,)`.
        x: `(samples, *shape)`.
        training: batch norms go by these samples, else by their running statistics.

    Returns:
        float64 arrays, `len(steps) + 1` of them: `(samples, *in_shape)` of each step, and the
        logits `(samples, outputs)`.
    """
    values = [np.asarray(x, dtype=np.float64)]
    forks: list[Floats] = []
    for step, pair in zip(steps, Packing(tuple(steps)).unpack(flat), strict=True):
        y = _apply(step.layer, values[-1], pair, training)
        if isinstance(step.layer, Fork):
            forks.append(y)
        values.append(y + forks.pop() if isinstance(step.layer, Join) else y)
    return values


def logit_gradient(logits: Floats, labels: Ints) -> tuple[float, Floats]:
    """The mean cross-entropy over a batch, and its gradient by the logits.

    Args:
        logits: float64 `(samples, outputs)`; one output stands for the logits (0, z).
        labels: int64 `(samples,)`.

    Returns:
        the loss, and float64 `(samples, outputs)`.
    """
    one = logits.shape[1] == 1
    full = np.concatenate([np.zeros_like(logits), logits], axis=1) if one else logits
    shifted = full - full.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    loss = float((log_sum[:, 0] - shifted[rows, labels]).mean())
    gradient = np.exp(shifted - log_sum)
    gradient[rows, labels] -= 1.0
    gradient /= len(labels)
    return loss, gradient[:, 1:] if one else gradient


def backward(
    steps: Sequence[Step],
    flat: Floats,
    values: list[Floats],
    upstream: Floats,
    *,
    training: bool = False,
) -> tuple[Floats, Floats]:
    """Gradients by parameters and by inputs.

    Args:
        steps: the layers in their places.
        flat: float64 `(n_parameters,)`.
        values: what `forward` returned.
        upstream: float64 `(samples, outputs)`, the gradient by the logits.
        training: as it was for `forward`.

    Returns:
        float64 `(n_parameters,)`, summed over the samples, and `(samples, *shape)`. Running
        statistics are no parameters: their places hold zeros.
    """
    packing = Packing(tuple(steps))
    layers = packing.unpack(flat)
    found: list[tuple[Floats, ...] | None] = [None] * len(steps)
    joins: list[Floats] = []
    for place in range(len(steps) - 1, -1, -1):
        layer, x, pair = steps[place].layer, values[place], layers[place]
        match layer:
            case Dense():
                assert pair is not None
                found[place] = (upstream.T @ x, upstream.sum(axis=0))
                upstream = upstream @ pair[0]
            case Conv2d():
                assert pair is not None
                found[place], upstream = _conv2d_backward(layer, x, pair[0], upstream)
            case MaxPool2d() if x.ndim == 4:
                upstream = _max_pool_backward(layer, x, upstream)
            case MaxPool2d():
                pass
            case ReLU():
                upstream = np.where(x > 0.0, upstream, 0.0)
            case Flatten():
                upstream = upstream.reshape(x.shape)
            case BatchNorm2d():
                assert pair is not None
                found[place], upstream = batch_norm.backward(pair, x, upstream, training=training)
            case Join():
                joins.append(upstream)
            case Fork():
                upstream = upstream + joins.pop()
            case Scale():
                upstream = upstream * float(layer.factor)
            case _:
                raise NotImplementedError(f"the law has no gradient for {layer}")
    return packing.pack(found).astype(np.float64, copy=False), upstream


def loss_and_gradient(
    steps: Sequence[Step], flat: Floats, x: npt.NDArray, labels: Ints
) -> tuple[float, Floats]:
    """The mean cross-entropy over some samples, a batch, and its gradient `(n_parameters,)`."""
    loss, gradient, _ = _batch(steps, flat, x, labels)
    return loss, gradient


def learn(
    steps: Sequence[Step], flat: Floats, x: npt.NDArray, labels: Ints, optimizer: Optimizer
) -> Floats:
    """The parameters after one more batch: a step of the optimiser, and running statistics.

    Args:
        steps: the layers in their places.
        flat: float64 `(n_parameters,)`.
        x: `(samples, *shape)`, the batch.
        labels: int64 `(samples,)`.
        optimizer: takes the step.
    """
    _, gradient, values = _batch(steps, flat, x, labels)
    return batch_norm.track(steps, optimizer.step(flat, gradient), values)


def _batch(
    steps: Sequence[Step], flat: Floats, x: npt.NDArray, labels: Ints
) -> tuple[float, Floats, list[Floats]]:
    values = forward(steps, flat, x, training=True)
    loss, upstream = logit_gradient(values[-1], labels)
    return loss, backward(steps, flat, values, upstream, training=True)[0], values


@dataclass
class Optimizer:
    """What turns gradients into steps.

    Args:
        recipe: which one, and its learning rate.
        n_parameters: of the network.
    """

    recipe: Recipe
    n_parameters: int
    n_steps: int = 0
    first: Floats = field(init=False)
    second: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.second = np.zeros(self.n_parameters), np.zeros(self.n_parameters)

    def step(self, flat: Floats, gradient: Floats) -> Floats:
        """The parameters after one step."""
        rate = self.recipe.learning_rate
        self.n_steps += 1
        if self.recipe.optimizer == "sgd":
            return flat - rate * gradient
        if self.recipe.optimizer == "momentum":
            self.first = MOMENTUM * self.first + gradient
            return flat - rate * self.first
        self.first = BETA_1 * self.first + (1.0 - BETA_1) * gradient
        self.second = BETA_2 * self.second + (1.0 - BETA_2) * gradient * gradient
        mean = self.first / (1.0 - BETA_1**self.n_steps)
        spread = np.sqrt(self.second / (1.0 - BETA_2**self.n_steps))
        return flat - rate * mean / (spread + EPSILON)


def batches(recipe: Recipe, seed: int, epoch: int, n_train: int) -> list[Ints]:
    """The samples of each step of one epoch (from 1), in order."""
    order = epoch_order(seed, epoch, n_train)
    size = recipe.batch_size
    return [order[start : start + size] for start in range(0, n_train, size)]


def _apply(layer: Layer, x: Floats, pair: tuple[npt.NDArray, ...] | None, training: bool) -> Floats:
    match layer:
        case Dense():
            assert pair is not None
            y = x @ pair[0].T
            return y + pair[1] if len(pair) > 1 else y
        case Conv2d():
            assert pair is not None
            y = np.einsum("nchwij,ucij->nuhw", _patches(layer, x), pair[0])
            return y + pair[1][:, None, None] if len(pair) > 1 else y
        case BatchNorm2d():
            assert pair is not None
            return batch_norm.forward(pair, x, training=training)
        case Scale():
            return x * float(layer.factor)
        case Fork() | Join():
            return x
        case MaxPool2d():
            return _windows(layer, x).max(axis=-1) if x.ndim == 4 else x
        case ReLU():
            return np.maximum(x, 0.0)
        case Flatten():
            return x.reshape(len(x), -1)
    raise NotImplementedError(f"the law has no rule for {layer}")


def _patches(layer: Conv2d, x: Floats) -> Floats:
    """`(samples, channels, height, width, kernel, kernel)`: what each output position sees."""
    pad, size = layer.padding, layer.kernel
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))


def _windows(layer: MaxPool2d, x: Floats) -> Floats:
    """`(samples, channels, height, width, size * size)`: each window's elements, row by row."""
    size = layer.size
    samples, channels, height, width = x.shape
    height, width = height // size, width // size
    cut = x[:, :, : height * size, : width * size]
    split = cut.reshape(samples, channels, height, size, width, size)
    return split.transpose(0, 1, 2, 4, 3, 5).reshape(samples, channels, height, width, size**2)


def _conv2d_backward(
    layer: Conv2d, x: Floats, weight: npt.NDArray, upstream: Floats
) -> tuple[tuple[Floats, Floats], Floats]:
    by_weight = np.einsum("nuhw,nchwij->ucij", upstream, _patches(layer, x))
    by_bias = upstream.sum(axis=(0, 2, 3))
    pad, size = layer.padding, layer.kernel
    height, width = upstream.shape[2:]
    by_input = np.zeros((*x.shape[:2], x.shape[2] + 2 * pad, x.shape[3] + 2 * pad))
    for i in range(size):
        for j in range(size):
            part = np.einsum("nuhw,uc->nchw", upstream, weight[:, :, i, j])
            by_input[:, :, i : i + height, j : j + width] += part
    inner = by_input[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]
    return (by_weight, by_bias), inner


def _max_pool_backward(layer: MaxPool2d, x: Floats, upstream: Floats) -> Floats:
    windows = _windows(layer, x)
    first = windows.argmax(axis=-1)[..., None]
    spread = np.zeros_like(windows)
    np.put_along_axis(spread, first, upstream[..., None], axis=-1)
    size = layer.size
    samples, channels, height, width = upstream.shape
    split = spread.reshape(samples, channels, height, width, size, size)
    result = np.zeros_like(x)
    result[:, :, : height * size, : width * size] = split.transpose(0, 1, 2, 4, 3, 5).reshape(
        samples, channels, height * size, width * size
    )
    return result
