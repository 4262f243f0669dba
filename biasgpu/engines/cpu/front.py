"""What convolutions before the dense layers give each draw, under method "deferred".

Convolutions are drawn as they are, by the kernels of method "direct", sixteen draws at a time.
Their outputs are the first dense layer's inputs; here they are turned from lanes into rows, with a
bound on how far they are from the law's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.deferred.plan import LANES
from biasgpu.engines.cpu.simd import add_to_wide, load, splat_like, store, widen
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.weights import lanes


@njit
def take_features(
    outputs: Any, ranges: Any, alive: Any, lane: int, slot: int, n: int, size: int, groups: int,
    features: Any,
) -> None:  # fmt: skip
    """Rows of one lane's features.

    Args (in numba):
        outputs: `[sample, feature, lane]`, what forward.py gave back.
        ranges, alive: what it noted: error bounds by channel, and which samples are not silent.
        slot: of the draw in `features`.
        n, size, groups: samples, features of one, channels.
        features: `(rows, away, living)`: `(slots, n, padded)`, float64 `(slots,)` and uint8
            `(slots, n)`.
    """
    rows, away, living = features
    for sample in range(n):
        at = sample * size
        for k in range(size):
            rows[slot, sample, k] = outputs[(at + k) * LANES + lane]
        living[slot, sample] = alive[sample * LANES + lane] != 0
    total, positions = 0.0, size // groups
    for group in range(groups):
        bound = np.float64(ranges[2 * group * LANES + lane])
        total += positions * bound * bound
    away[slot] = np.sqrt(total) * (1.0 + 2.0**-20)


@njit
def take_exact_features(
    outputs: Any, lane: int, slot: int, n: int, size: int, features: Any
) -> None:
    """The same for the law's own features, eight draws at a time."""
    rows, away, living = features
    for sample in range(n):
        found = False
        for k in range(size):
            value = outputs[(sample * size + k) * LANES_F64 + lane]
            rows[slot, sample, k] = value
            found = found or value != 0.0
        living[slot, sample] = found
    away[slot] = 0.0


@njit
def feature_alive(features: Any, slot: int, i: int) -> bool:
    """Whether input i may have a feature that is not zero, under the law."""
    return features[2][slot, i] != 0


@njit
def feature_dots(features: Any, slot: int, i: int, sums: Any, dots: Any, at: int) -> float:
    """Inner products of the features of input i with those of inputs 0 to i, exact but for float64.

    Returns:
        how far the features may be from the law's, in Euclidean norm.
    """
    rows = features[0]
    padded = rows.shape[2]
    flat = rows.reshape(-1)
    base = slot * rows.shape[1] * padded
    zero = splat_like(sums, 0.0)
    for j in range(2 * (i + 1)):
        store(sums, 8 * j, zero)
    for k in range(0, padded, lanes(flat)):
        mine = widen(load(flat, base + i * padded + k))
        for j in range(i + 1):
            add_to_wide(sums, LANES * j, mine * widen(load(flat, base + j * padded + k)))
    for j in range(i + 1):
        total = 0.0
        for k in range(LANES * j, LANES * (j + 1)):
            total += sums[k]
        dots[at + j] = total
    return features[1][slot]
