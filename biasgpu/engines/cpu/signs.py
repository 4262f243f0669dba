"""Half of all draws err at the second sample whatever their hidden layers: seen sixteen at once.

Behind a ReLU the last hidden activations have no negative inner products. So with two outputs the
difference of the logits is `r_00 z_0` for the first sample and `r_01 z_0 + r_11 z_1` for the
second, with r_01, r_11 >= 0: if z_0 and z_1 have the same sign, so have the logits' differences,
and two samples of different labels are not told apart by any arrangement. That needs z_0, z_1 (one
block of words), and that the first sample is alive in every layer (r_00 > 0): it is, if one of its
normals there is positive; a few words tell, but for one draw in some hundreds.

Rounding: |z| is demanded to exceed `CLEAR`; the law computes r_01 to 1e-15 of the activations'
length, which r_11 z_1 exceeds wherever r_01 is so small that its sign is rounding's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.deferred.plan import GROUP, LANES
from biasgpu.engines.cpu.octaves import quick_normals
from biasgpu.engines.cpu.philox import named, several_blocks
from biasgpu.engines.cpu.simd import lanes_above, lanes_negative, negative, splat_like
from biasgpu.engines.cpu.units import OFFSET, RECTIFIED, UNITS
from biasgpu.rng import STREAM_DIRECTIONS, STREAM_OUTPUTS

CLEAR = 2.0**-16
_ALL = np.uint64(0xFFFF)


@njit(forceinline=True)
def certain_errors(w: Any, names: Any, layers: Any, seed: Any) -> Any:
    """Bit l of the result: the draw in lane l certainly errs at the second sample.

    Args (in numba):
        w: a float32 array, for its lanes.
        names: the draws, as `screen.name_lanes` puts them.
        layers: int64 `(layers, N_COLUMNS)`.
    """
    k0, k1 = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
    zero, draws = np.uint64(0), named(w, names)
    words = several_blocks(w, draws, np.uint64(STREAM_OUTPUTS), (zero,), k0, k1)
    z = quick_normals(words[:4])
    last = len(layers) - 1
    first, second = z[0], z[1]
    if layers[last, UNITS] == 2:
        first, second = z[1] - z[0], z[3] - z[2]
    limit = splat_like(w, np.float32(CLEAR * 2.0**31))
    result = lanes_above(first, limit) & lanes_above(second, limit)
    result |= lanes_above(negative(first), limit) & lanes_above(negative(second), limit)
    for number in range(last):
        if layers[number, RECTIFIED] == 0:
            continue
        # The first word of two blocks that this layer's first units have.
        offset, units = layers[number, OFFSET], layers[number, UNITS]
        block = np.uint64(offset // GROUP * LANES)
        blocks = (block, block + np.uint64(1))
        words = several_blocks(w, draws, np.uint64(STREAM_DIRECTIONS), blocks, k0, k1)
        place = offset % GROUP // LANES
        silent = _ALL
        for word in range(4):
            unit = LANES * (word - place)
            if 0 <= unit < units:
                silent &= lanes_negative(_word(words, word))
            if 0 <= unit + 1 < units and unit >= 0:
                silent &= lanes_negative(_word(words, word + 4))
        result &= ~silent
    return result & _ALL


@njit(forceinline=True)
def _word(words: Any, k: int) -> Any:
    """One of eight vectors."""
    if k == 0:
        return words[0]
    if k == 1:
        return words[1]
    if k == 2:
        return words[2]
    if k == 3:
        return words[3]
    if k == 4:
        return words[4]
    if k == 5:
        return words[5]
    if k == 6:
        return words[6]
    return words[7]
