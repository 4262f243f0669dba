"""`resnet4`: the published residual network with batch norm, its widths and depth variants."""

from __future__ import annotations

from biasgpu.architectures.base import Architecture, Head
from biasgpu.architectures.widths import Width, units, width_factors, width_label, width_note
from biasgpu.errors import UsageError
from biasgpu.layers import (
    BatchNorm2d,
    Bias,
    Conv2d,
    Flatten,
    Layer,
    MaxPool2d,
    MaxPoolToFit,
    ReLU,
    Scale,
    residual,
)

CHANNELS = {"prep": 6, "layer1": 12, "layer2": 24, "layer3": 48}  # at width 1
WITH_BLOCK = ("layer1", "layer3")  # followed by a residual block
DEPTHS = (4, 3, 2)
OUTPUT_SCALE = 0.125


def resnet4(
    width: Width = "2/6", depth: int = 4, *, head: Head = "logits", bias: Bias = "none"
) -> Architecture:
    """Four stages of 3x3 convolutions with batch norm, two of them with a residual block.

    The convolutions have no biases. The last pooling is by 4 where that divides the image that
    comes to it (CIFAR-10's 32 pixels), else by 2 (MNIST's 28).

    Args:
        width: a factor for all stages, or one for each.
        depth: 4, or 3 without the first stage with a block, or 2 without that and the next.
        head: one logit a class, or one logit for two classes.
        bias: of the output layer: none, zero (trained), or drawn from the prior.

    Raises:
        UsageError: another depth, or a width that leaves a stage empty.

    Source:
        Peleg and Hein, ICML 2024.
    """
    if isinstance(depth, bool) or depth not in DEPTHS:
        raise UsageError(
            f"depth is {depth!r}; resnet4 has 4, 3 or 2 stages.",
            why="shallower ones drop layer1, or layer1 and layer2.",
            fix="for example depth=4 (--depth 4).",
        )
    stages = [name for name in CHANNELS if name not in ("layer1", "layer2")[: 4 - depth]]
    factors = width_factors(width, depth)
    layers: list[Layer] = []
    for name, factor in zip(stages, factors, strict=True):
        channels = units(CHANNELS[name], factor)
        layers += _convolution(channels)
        if name != "prep":
            layers.append(MaxPool2d(2))
        if name in WITH_BLOCK:
            layers += residual(*_convolution(channels), *_convolution(channels))
    # Behind the pooling, not behind the logits: a power of two changes no bit of them.
    layers += [MaxPoolToFit((4, 2)), Flatten(), Scale(OUTPUT_SCALE)]
    options = {"width": width_label(factors), "depth": depth}
    note = width_note(factors, [CHANNELS[name] for name in stages])
    return Architecture("resnet4", layers, head, bias, options, note)


def _convolution(channels: int) -> list[Layer]:
    return [Conv2d(channels, "none", kernel=3, padding=1), BatchNorm2d(), ReLU()]
