"""`lenet`: the published LeNet, its widths and its depth variants."""

from __future__ import annotations

from biasgpu.architectures.base import Architecture, Head
from biasgpu.architectures.widths import Width, units, width_factors, width_label, width_note
from biasgpu.errors import unknown
from biasgpu.layers import Bias, Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU

# Per variant: channels of the convolutions, then units of the dense hidden layers, at width 1.
VARIANTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "2c-3f": ((6, 16), (120, 84)),
    "2c-2f": ((6, 16), (84,)),
    "2c-1f": ((6, 16), ()),
    "1c-1f": ((6,), ()),
}


def lenet(
    width: Width = "2/6", depth: str = "2c-3f", *, head: Head = "logits", bias: Bias = "zero"
) -> Architecture:
    """LeNet with ReLU and max-pooling, no padding.

    Args:
        width: a factor for all hidden layers, or one for each: "2/6", "1/6,1/6,1/24,1/24".
        depth: "2c-3f" (two convolutions, three dense layers with the logits), "2c-2f", "2c-1f",
            or "1c-1f" (one convolution, both poolings).
        head: one logit a class, or one logit for two classes.
        bias: zero, or drawn from the prior.

    Raises:
        UsageError: an unknown depth, or a width that leaves a layer empty.

    Source:
        Peleg and Hein, ICML 2024; Chiang et al., ICLR 2023.
    """
    if depth not in VARIANTS:
        raise unknown("LeNet depth", str(depth), VARIANTS)
    channels, features = VARIANTS[depth]
    factors = width_factors(width, len(channels) + len(features))
    layers: list[Layer] = []
    for base, factor in zip(channels, factors, strict=False):
        layers += [Conv2d(units(base, factor), bias, kernel=5), ReLU(), MaxPool2d(2)]
    if len(channels) == 1:
        layers.append(MaxPool2d(2))
    layers.append(Flatten())
    for base, factor in zip(features, factors[len(channels) :], strict=True):
        layers += [Dense(units(base, factor), bias), ReLU()]
    options = {"width": width_label(factors), "depth": depth}
    note = width_note(factors, (*channels, *features))
    return Architecture("lenet", layers, head, bias, options, note)
