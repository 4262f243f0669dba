"""Weights of one draw after the other, written to memory."""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.direct_weights import weight
from biasgpu.kernels.philox import halves, philox


@triton.jit(do_not_specialize=["first_block", "blocks_per_unit", "columns", "n_units", "n_tiles"])
def _parameters_kernel(
    name_ptr,
    places_ptr,
    lanes_ptr,
    weight_ptr,
    turned_ptr,
    constants_ptr,
    first_block,
    blocks_per_unit,
    columns,
    n_units,
    n_tiles,
    BITS: tl.constexpr,
    NORMAL: tl.constexpr,
    LANES: tl.constexpr,
):
    """A layer's weights and drawn biases.

    Args:
        name_ptr: int64 `(2,)`: bits of the seed and of the first draw.
        places_ptr: int64 `(draws,)`: places of the draws after the first.
        lanes_ptr: int32 `(LANES,)`: 0, 1, 2, ...
        weight_ptr: float64 `(draws, n_units, columns)`: gets them.
        turned_ptr: float64 `(draws, columns, n_units)`: gets them as well, for kernels whose lanes
            are units.
        constants_ptr: float64 `(1,)`: scale of a weight.
        first_block, blocks_per_unit: where unit 0 starts, and the Philox blocks of a unit.
        columns: parameters of a unit, its bias included.
        n_tiles: programs that share a draw's blocks, LANES each.

    Grid: `draws * n_tiles`; a Philox block a lane.
    Bytes: 16 a weight. Operations: about 85 a Philox block, 3 (normal: 100 in float64) a weight.
    Random words: one a weight (half or a quarter with 16 or 8 BITS), rounded up to whole blocks.
    """
    per_block: tl.constexpr = 128 // BITS
    program = tl.program_id(0)
    slot = (program // n_tiles).to(tl.int64)
    number = program % n_tiles * LANES + tl.load(lanes_ptr + tl.arange(0, LANES))
    number_of_block = number // n_units
    unit = number - number_of_block * n_units
    first = number_of_block * per_block
    key_low, key_high = halves(tl.load(name_ptr))
    draw_low, draw_high = halves(tl.load(name_ptr + 1) + tl.load(places_ptr + slot))
    factor = tl.load(constants_ptr)
    block = (unit.to(tl.int64) * blocks_per_unit + number_of_block + first_block).to(tl.uint32)
    stream = tl.full((), 0, tl.uint32)
    w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
    to = weight_ptr + slot * n_units * columns + unit * columns + first
    turned = turned_ptr + slot * n_units * columns + first * n_units + unit
    for j in tl.static_range(per_block):  # pyright: ignore
        w = weight(w0, w1, w2, w3, factor, j, BITS, NORMAL, True)  # pyright: ignore
        tl.store(to + j, w, mask=first + j < columns)
        tl.store(turned + j * n_units, w, mask=first + j < columns)
