"""Forward passes of many networks at once, each on the same samples, by rules: one a layer.

PyTorch's autograd goes back through whatever a rule computes, so a new layer needs its rule here
and nothing else. Activations are `(samples, networks, *shape)`, so that no layer has to move data.
As long as no layer with parameters has been passed they are the same for all networks, and there is
one of them: `(samples, 1, *shape)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, max_pool2d, pad

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
from biasgpu.reference import EPSILON
from biasgpu.training.batch_norm import TRACKING

# Weight (networks, *weight_shape), and bias (networks, units) unless there is none; of a batch norm
# running mean and variance as well.
Parts = tuple[Tensor, ...]
Rule = Callable[[Step, Parts | None, Tensor], Tensor]


def _dense(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    assert parts is not None
    weight = parts[0]
    if h.shape[1] == 1:  # one large product
        y = (h[:, 0] @ weight.flatten(0, 1).T).view(len(h), *weight.shape[:2])
        return y + parts[1] if len(parts) > 1 else y
    h = h.transpose(0, 1)
    if len(parts) == 1:
        return torch.bmm(h, weight.mT).transpose(0, 1)
    return torch.baddbmm(parts[1][:, None], h, weight.mT).transpose(0, 1)


def _conv2d(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    assert parts is not None and isinstance(step.layer, Conv2d)
    weight, bias = parts[0], parts[1] if len(parts) > 1 else None
    samples, networks = len(h), len(weight)
    if h.device.type == "cpu" and h.dtype == torch.float32:
        # One group a network; the first layer is a single convolution with everybody's channels.
        groups, h = h.shape[1], h.flatten(1, 2)
        if step.layer.kernel == 3:  # a fifth quicker so, with the batch norms that follow
            h = h.contiguous(memory_format=torch.channels_last)
        y = conv2d(
            h, weight.flatten(0, 1), None if bias is None else bias.flatten(),
            padding=step.layer.padding, groups=groups,
        )  # fmt: skip
    else:
        # PyTorch's convolutions of float64 are slow, and those of cuDNN may transform their
        # operands: products of patches round as sums do.
        patches = _patches(step.layer, h).expand(networks, -1, -1)
        if bias is None:
            y = torch.bmm(weight.flatten(2), patches)
        else:
            y = torch.baddbmm(bias[:, :, None], weight.flatten(2), patches)
        y = y.view(networks, -1, samples, *step.out_shape[1:]).permute(2, 0, 1, 3, 4)
    return y.reshape(samples, networks, *step.out_shape)


def _patches(layer: Conv2d, h: Tensor) -> Tensor:
    """`(networks, channels * kernel**2, samples * height * width)`, rows as in the weights."""
    edge, size = layer.padding, layer.kernel
    windows = pad(h, (edge, edge, edge, edge)).unfold(3, size, 1).unfold(4, size, 1)
    windows = windows.permute(1, 2, 5, 6, 0, 3, 4)
    return windows.reshape(h.shape[1], h.shape[2] * size**2, -1)


def _max_pool2d(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    assert isinstance(step.layer, MaxPool2d)
    if len(step.in_shape) != 3:
        return h
    return max_pool2d(h.flatten(1, 2), step.layer.size).view(*h.shape[:2], *step.out_shape)


def _relu(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    return h.relu()


def _scale(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    assert isinstance(step.layer, Scale)
    return h * step.layer.factor


def _unchanged(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    return h


def _running_norm(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    return _batch_norm(parts, h, batch=False, track=False)


def _batch_norm(parts: Parts | None, h: Tensor, *, batch: bool, track: bool) -> Tensor:
    """By statistics of the batch or the running ones; with `track` those move towards the batch's.

    Every network has channels of its own, so all of them are one batch norm of many channels.
    """
    assert parts is not None
    weight, bias, mean, variance = (part.view(-1) for part in parts)
    if h.shape[1] == 1:  # nothing before it has parameters
        h = h.expand(-1, len(parts[0]), -1, -1, -1)
    running = (mean, variance) if track or not batch else (None, None)
    y = batch_norm(h.flatten(1, 2), *running, weight, bias, batch, TRACKING, EPSILON)
    return y.view(h.shape)


def _flatten(step: Step, parts: Parts | None, h: Tensor) -> Tensor:
    return h.flatten(2)


RULES: dict[type[Layer], Rule] = {
    Dense: _dense,
    Conv2d: _conv2d,
    MaxPool2d: _max_pool2d,
    ReLU: _relu,
    Flatten: _flatten,
    Scale: _scale,
    BatchNorm2d: _running_norm,
    Fork: _unchanged,
    Join: _unchanged,
}
"""How each kind of layer is computed, from its step, its parameters and its input."""


def rule(layer: Layer) -> Rule | None:
    """The rule for a layer, or for what it is a kind of; None where there is none."""
    for kind in type(layer).__mro__:
        if kind in RULES:
            return RULES[kind]
    return None


def forward(
    steps: Sequence[Step],
    parts: Sequence[Parts | None],
    x: Tensor,
    *,
    training: bool = False,
    track: bool = False,
) -> Tensor:
    """The logits of all networks.

    Args:
        steps: layers that all have a rule.
        parts: for each step its parameters, in one dtype, or None.
        x: `(samples, *shape)`, in that dtype.
        training: batch norms go by these samples, else by their running statistics.
        track: those of `parts` see one more batch, in place.

    Returns:
        `(samples, networks, outputs)`.
    """
    h = x[:, None]
    forks: list[Tensor] = []
    for step, mine in zip(steps, parts, strict=True):
        if training and isinstance(step.layer, BatchNorm2d):
            h = _batch_norm(mine, h, batch=True, track=track)
            continue
        found = rule(step.layer)
        assert found is not None
        h = found(step, mine, h)
        if isinstance(step.layer, Fork):
            forks.append(h)
        elif isinstance(step.layer, Join):
            h = h + forks.pop()
    return h


def logit_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each network's mean cross-entropy by its logits.

    Args:
        logits: `(samples, networks, outputs)`; one output stands for the logits (0, z).
        labels: int64 `(samples,)`.

    Returns:
        as `logits`.
    """
    one = logits.shape[2] == 1
    full = torch.cat([torch.zeros_like(logits), logits], dim=2) if one else logits
    gradient = full.softmax(dim=2)
    hit = torch.nn.functional.one_hot(labels, full.shape[2]).to(gradient.dtype)
    gradient = (gradient - hit[:, None]) / len(labels)
    return gradient[..., 1:] if one else gradient


def predictions(logits: Tensor) -> Tensor:
    """The predicted classes: int64 `(samples, networks)`, ties to the lowest; -1 where the logits
    are not finite.

    Args:
        logits: `(samples, networks, outputs)`.
    """
    if logits.shape[2] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=2)
    return logits.argmax(dim=2).masked_fill(~logits.isfinite().all(dim=2), -1)


def bytes_per_sample(steps: Sequence[Step]) -> int:
    """About what a network's activations and their gradients take for one sample, in float32."""
    total = 0
    for step in steps:
        total += math.prod(step.out_shape)
        if isinstance(step.layer, Conv2d):
            total += step.fan_in * math.prod(step.out_shape[1:])  # patches, on some devices
    return 3 * 4 * total
