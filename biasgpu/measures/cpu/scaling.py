"""Networks scaled so that float32 holds all that is computed of them.

Multiplying a layer's weights by a power of two, and all biases from there on with them, multiplies
the logits and their gradients by it and changes no decision of a rectifier or pool; nor does it
round anything. So every layer's largest weight is brought to between 1/2 and 1, and the norms are
scaled back. What may overflow even then is found by a bound, and left to float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.layout import Step
from biasgpu.packing import Packing

LIMIT = 1e30  # above it a sum may be too near the largest float32


@dataclass(frozen=True)
class Scaled:
    """Scaled networks.

    Attributes:
        flat: float32 `(n, n_parameters)`.
        exponents: int64 `(n,)`: norms are to be multiplied by 2 to their power.
        certain: bool `(n,)`: nothing overflows.
    """

    flat: npt.NDArray[np.float32]
    exponents: npt.NDArray[np.int64]
    certain: npt.NDArray[np.bool_]


def scale(steps: Sequence[Step], flat: npt.NDArray[np.float32], largest_input: float) -> Scaled:
    """Networks scaled.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`.
        largest_input: the largest magnitude of an input.
    """
    n = len(flat)
    packing = Packing(tuple(steps))
    result = np.empty_like(flat)
    exponents = np.zeros(n, np.int64)
    reach, growth = np.full(n, largest_input), np.ones(n)  # of activations, of gradients
    certain: npt.NDArray[np.bool_] = np.asarray(np.isfinite(flat).all(axis=1))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for given, scaled in zip(packing.unpack(flat), packing.unpack(result), strict=True):
            if given is None or scaled is None:
                continue
            rows = given[0].reshape(n, -1)
            exponent = np.frexp(np.abs(rows).max(axis=1))[1].astype(np.int64)
            exponents += exponent
            scaled[0][...] = np.ldexp(rows, -exponent[:, None]).reshape(given[0].shape)
            scaled[1][...] = np.ldexp(given[1].astype(np.float64), -exponents[:, None])
            weights = np.abs(scaled[0]).reshape(*given[0].shape[:3], -1).astype(np.float64)
            by_unit = weights.sum(axis=(2, 3)).max(axis=1)
            reach = by_unit * reach + np.abs(scaled[1]).max(axis=1)
            growth = growth * weights.sum(axis=(1, 3)).max(axis=1)
            certain = np.logical_and(certain, np.maximum(reach, growth) < LIMIT)
    return Scaled(result, exponents, certain)
