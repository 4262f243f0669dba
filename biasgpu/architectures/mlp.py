"""`mlp`: hidden layers of constant width."""

from __future__ import annotations

from biasgpu.architectures.base import Architecture, Head
from biasgpu.errors import UsageError
from biasgpu.layers import Bias, Dense, Flatten, Layer, ReLU


def mlp(
    width: int = 512, depth: int = 2, *, head: Head = "logits", bias: Bias = "zero"
) -> Architecture:
    """A multilayer perceptron: `depth` hidden layers of `width` ReLU units, on the raw input.

    Args:
        width: units a hidden layer.
        depth: hidden layers; 0 gives a linear classifier.
        head: one logit a class, or one logit for two classes.
        bias: zero, or drawn from the prior.

    Raises:
        UsageError: a width below 1 or a depth below 0.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
        raise UsageError(
            f"depth is {depth!r}; it must be a whole number of 0 or more.",
            why="an mlp's depth is its number of hidden layers.",
            fix="for example depth=2 (--depth 2).",
        )
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise UsageError(
            f"width is {width!r}; it must be a whole number of 1 or more.",
            why="an mlp's width is its units a hidden layer.",
            fix="for example width=512 (--width 512).",
        )
    layers: list[Layer] = [Flatten()]
    for _ in range(depth):
        layers += [Dense(width, bias), ReLU()]
    return Architecture("mlp", layers, head, bias, {"width": width, "depth": depth})
