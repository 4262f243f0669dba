"""`paper-mlp`: the published tapered MLP and its depth variants."""

from __future__ import annotations

from biasgpu.architectures.base import Architecture, Head
from biasgpu.architectures.widths import Width, units, width_factors, width_label, width_note
from biasgpu.errors import UsageError
from biasgpu.layers import Bias, Dense, Flatten, Layer, MaxPool2d, ReLU

UNITS = (120, 60, 30, 12)


def paper_mlp(
    width: Width = "2/6", depth: int = 4, *, head: Head = "logits", bias: Bias = "zero"
) -> Architecture:
    """Max-pooled input, then hidden ReLU layers of 120, 60, 30, 12 units, times the width factor.

    Inputs that are no images are taken as they are.

    Args:
        width: a factor for all hidden layers, or one for each.
        depth: hidden layers, 1 to 4; shallower ones drop layers from the front.
        head: one logit a class, or one logit for two classes.
        bias: zero, or drawn from the prior.

    Raises:
        UsageError: a depth outside 1 to 4, or a width that leaves a layer empty.

    Source:
        Peleg and Hein, ICML 2024.
    """
    if depth not in range(1, len(UNITS) + 1):
        raise UsageError(
            f"depth is {depth!r}; paper-mlp has 1 to {len(UNITS)} hidden layers.",
            why="shallower ones drop layers from the front of the published four.",
            fix="for example depth=4 (--depth 4), or mlp for any depth (--arch mlp).",
        )
    factors = width_factors(width, depth)
    layers: list[Layer] = [MaxPool2d(2, images_only=True), Flatten()]
    for base, factor in zip(UNITS[-depth:], factors, strict=True):
        layers += [Dense(units(base, factor), bias), ReLU()]
    options = {"width": width_label(factors), "depth": depth}
    note = width_note(factors, UNITS[-depth:])
    return Architecture("paper-mlp", layers, head, bias, options, note)
