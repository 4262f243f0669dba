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
from torch.nn.functional import conv2d, max_pool2d, pad

from biasgpu.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU
from biasgpu.layout import Step

Pair = tuple[Tensor, Tensor]  # weight (networks, *weight_shape), bias (networks, units)
Rule = Callable[[Step, Pair | None, Tensor], Tensor]


def _dense(step: Step, pair: Pair | None, h: Tensor) -> Tensor:
    assert pair is not None
    weight, bias = pair
    if h.shape[1] == 1:  # one large product
        y = (h[:, 0] @ weight.flatten(0, 1).T).view(len(h), *bias.shape)
        return y + bias
    return torch.baddbmm(bias[:, None], h.transpose(0, 1), weight.mT).transpose(0, 1)


def _conv2d(step: Step, pair: Pair | None, h: Tensor) -> Tensor:
    assert pair is not None and isinstance(step.layer, Conv2d)
    weight, bias = pair
    samples, networks = len(h), len(weight)
    if h.device.type == "cpu" and h.dtype == torch.float32:
        # One group a network; the first layer is a single convolution with everybody's channels.
        y = conv2d(
            h.flatten(1, 2), weight.flatten(0, 1), bias.flatten(),
            padding=step.layer.padding, groups=h.shape[1],
        )  # fmt: skip
    else:
        # PyTorch's convolutions of float64 are slow, and those of cuDNN may transform their
        # operands: products of patches round as sums do.
        patches = _patches(step.layer, h).expand(networks, -1, -1)
        y = torch.baddbmm(bias[:, :, None], weight.flatten(2), patches)
        y = y.view(networks, -1, samples, *step.out_shape[1:]).permute(2, 0, 1, 3, 4)
    return y.reshape(samples, networks, *step.out_shape)


def _patches(layer: Conv2d, h: Tensor) -> Tensor:
    """`(networks, channels * kernel**2, samples * height * width)`, rows as in the weights."""
    edge, size = layer.padding, layer.kernel
    windows = pad(h, (edge, edge, edge, edge)).unfold(3, size, 1).unfold(4, size, 1)
    windows = windows.permute(1, 2, 5, 6, 0, 3, 4)
    return windows.reshape(h.shape[1], h.shape[2] * size**2, -1)


def _max_pool2d(step: Step, pair: Pair | None, h: Tensor) -> Tensor:
    assert isinstance(step.layer, MaxPool2d)
    if len(step.in_shape) != 3:
        return h
    return max_pool2d(h.flatten(1, 2), step.layer.size).view(*h.shape[:2], *step.out_shape)


def _relu(step: Step, pair: Pair | None, h: Tensor) -> Tensor:
    return h.relu()


def _flatten(step: Step, pair: Pair | None, h: Tensor) -> Tensor:
    return h.flatten(2)


RULES: dict[type[Layer], Rule] = {
    Dense: _dense,
    Conv2d: _conv2d,
    MaxPool2d: _max_pool2d,
    ReLU: _relu,
    Flatten: _flatten,
}
"""How each kind of layer is computed, from its step, its parameters and its input."""


def rule(layer: Layer) -> Rule | None:
    """The rule for a layer, or for what it is a kind of; None where there is none."""
    for kind in type(layer).__mro__:
        if kind in RULES:
            return RULES[kind]
    return None


def forward(steps: Sequence[Step], pairs: Sequence[Pair | None], x: Tensor) -> Tensor:
    """The logits of all networks.

    Args:
        steps: layers that all have a rule.
        pairs: for each step its parameters, in one dtype, or None.
        x: `(samples, *shape)`, in that dtype.

    Returns:
        `(samples, networks, outputs)`.
    """
    h = x[:, None]
    for step, pair in zip(steps, pairs, strict=True):
        found = rule(step.layer)
        assert found is not None
        h = found(step, pair, h)
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
