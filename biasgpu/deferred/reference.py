"""The law of method "deferred", plainly: what a draw answers to the inputs it is asked about.

A layer's matrix W of independent normals maps orthonormal directions to independent normal
vectors. So every input is split into its part along the directions seen before, whose images are
known, and a new direction, whose image is drawn: `W x_i = std * sum_j r_ij g_j`. What W does to the
rest of the space is drawn only where whole rows are wanted, in the complement of what was asked.

See docs/deferred.md for the proof, and orthogonal.py for the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.deferred import orthogonal, words
from biasgpu.deferred.plan import Layer, Plan

Floats = npt.NDArray[np.float64]
Basis = tuple[Floats, Floats]  # directions, and inputs in terms of them


@dataclass(frozen=True)
class Arithmetic:
    """Who does the sums: NumPy, or compiled code that gets the same bits.

    Attributes:
        dots, combine, images, orthonormalize: as in orthogonal.py.
        directions, rest: as in words.py.
    """

    dots: Callable[[Floats, Floats], Floats]
    combine: Callable[[Floats, Floats, Floats], Floats]
    images: Callable[[Floats, Floats], Floats]
    orthonormalize: Callable[[Floats, int], Basis]
    directions: Callable[[int, int, Plan, int, int], Floats]
    rest: Callable[[int, int, Layer, int, int, int], Floats]


PLAIN = Arithmetic(
    orthogonal.dots,
    orthogonal.combine,
    orthogonal.images,
    orthogonal.orthonormalize,
    words.directions,
    words.rest,
)


def logits(
    plan: Plan,
    seed: int,
    draw: int,
    features: Floats,
    shared: Basis | None = None,
    arithmetic: Arithmetic = PLAIN,
) -> Floats:
    """Logits of a draw for its first inputs.

    Args:
        plan: of the ensemble.
        seed, draw: the name.
        features: float64 `(n, n_in)`, what the front makes of the first `n` inputs: training inputs
            only, or all inputs.
        shared: `orthonormalize` of the first layer's inputs where all draws share it.
        arithmetic: who does the sums.

    Returns:
        float64 `(n, outputs)`.
    """
    return _reveal(plan, seed, draw, features, shared, arithmetic, None)


def weights(
    plan: Plan,
    seed: int,
    draw: int,
    features: Floats,
    shared: Basis | None = None,
    arithmetic: Arithmetic = PLAIN,
) -> list[Floats]:
    """The matrices that give these answers, complete.

    Args:
        plan, seed, draw, shared, arithmetic: as for `logits`.
        features: of all inputs.

    Returns:
        for each dense layer float64 `(units, columns)`; a drawn bias is the last column.
    """
    matrices: list[Floats] = []
    _reveal(plan, seed, draw, features, shared, arithmetic, matrices)
    return matrices


def _complete(
    seed: int,
    draw: int,
    layer: Layer,
    number: int,
    q: Floats,
    g: Floats,
    arithmetic: Arithmetic,
) -> Floats:
    """A layer's whole matrix: as asked on the span of the directions, drawn beside it.

    Args:
        layer: the layer, `number` its place among the dense layers.
        q: float64 `(asked, columns)`, the directions.
        g: float64 `(asked, units)`, their images.

    Returns:
        float64 `(units, columns)`.
    """
    rows = arithmetic.rest(seed, draw, layer, number, 0, layer.units)
    rows = arithmetic.combine(rows, -arithmetic.dots(rows, q), q)
    return layer.std * arithmetic.combine(rows, np.ascontiguousarray(g.T), q)


def augmented(layer: Layer, x: Floats) -> Floats:
    """Inputs of a layer, with the constant 1 for a drawn bias."""
    return np.hstack([x, np.ones((len(x), 1))]) if layer.bias else x


def _reveal(
    plan: Plan,
    seed: int,
    draw: int,
    features: Floats,
    shared: Basis | None,
    arithmetic: Arithmetic,
    matrices: list[Floats] | None,
) -> Floats:
    """The logits; `matrices`, if given, receives each layer's whole matrix."""
    x = features
    for number, layer in enumerate(plan.layers):
        x = augmented(layer, x)
        n = len(x)
        asked = min(n, layer.n_asked)
        if number == 0 and shared is not None:
            q, r = shared[0][:asked], shared[1][:asked, :asked]
        else:
            q, r = arithmetic.orthonormalize(x[:asked], plan.n_train)
        whole = asked < n or matrices is not None
        if not whole:  # those of wide layers take much memory
            x = q = np.empty((0, layer.columns))
        g = arithmetic.directions(seed, draw, plan, number, asked)
        y = arithmetic.images(layer.std * r, g)
        if whole:
            rows = _complete(seed, draw, layer, number, q, g, arithmetic)
            if matrices is not None:
                matrices.append(rows)
            if asked < n:
                y = np.vstack([y, arithmetic.dots(x[asked:], rows)])
        x = np.maximum(y, 0.0, out=y) if layer.rectified else y
        del r, g, y
    return x
