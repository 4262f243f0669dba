"""`mlp`: hidden layers of constant width."""

from __future__ import annotations

import math
from typing import Literal

from biasgpu.architectures.base import Architecture, Head
from biasgpu.errors import UsageError
from biasgpu.layers import Bias, Dense, Flatten, InfiniteDense, Layer, ReLU

INFINITE_WIDTH = "inf"


def mlp(
    width: int | float | Literal["inf"] = 512,
    depth: int = 2,
    *,
    head: Head = "logits",
    bias: Bias = "zero",
) -> Architecture:
    """A multilayer perceptron: `depth` hidden layers of `width` ReLU units, on the raw input.

    Args:
        width: units a hidden layer; "inf" (or `math.inf`) for the limit of infinitely many, which
            method "deferred" draws as the Gaussian process it is.
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
    hidden: Layer
    if width in (INFINITE_WIDTH, math.inf):
        width, hidden = INFINITE_WIDTH, InfiniteDense(bias)
    elif isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise UsageError(
            f"width is {width!r}; it must be a whole number of 1 or more, or 'inf'.",
            why="an mlp's width is its units a hidden layer.",
            fix="for example width=512 (--width 512), or width='inf' (--width inf).",
        )
    else:
        hidden = Dense(width, bias)
    layers: list[Layer] = [Flatten()]
    for _ in range(depth):
        layers += [hidden, ReLU()]
    return Architecture("mlp", layers, head, bias, {"width": width, "depth": depth})
