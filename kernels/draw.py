"""A draw's parameters made from its name, in a group of networks side by side.

Uniform weights are the canonical ones, to the bit. A normal one may be the float32 next to its own,
where float64's last bits, which fused products change, decide a rounding: about one in 10^6.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.normal import normal_wide
from biasgpu.kernels.philox import halves, philox
from biasgpu.kernels.train_phases import FIELDS

LINEAR = tl.constexpr(1)


@triton.jit
def draw_parameters(
    name_ptr,
    draws_ptr,
    operations_ptr,
    scales_ptr,
    to_ptr,
    n_operations,
    BITS: tl.constexpr,
    NORMAL: tl.constexpr,
    STREAM: tl.constexpr,
    E: tl.constexpr,
    G: tl.constexpr,
):
    """Fill the weights and the drawn biases of all layers: `[n_parameters, G]`.

    Args:
        name_ptr: int64 `(1,)`: bits of the seed.
        draws_ptr: int64 `(G,)`: bits of the draws.
        operations_ptr, scales_ptr: as for `train._train_kernel`.
        to_ptr: float32, cleared.

    Random words: 4 a block; a lane makes a block of one network.
    """
    g = tl.arange(0, G)[None, :]
    key_low, key_high = halves(tl.load(name_ptr))
    draw_low, draw_high = halves(tl.load(draws_ptr + g))
    stream = tl.full((), STREAM, tl.uint32)
    for op in range(1, n_operations):
        row = operations_ptr + op * FIELDS
        if tl.load(row) == LINEAR:
            units = tl.load(row + 1)
            fan_in = tl.load(row + 2) * tl.load(row + 3) * tl.load(row + 3)
            weight_at = tl.load(row + 11)
            bias_at = tl.load(row + 12)
            first_block = tl.load(row + 13)
            per_unit = tl.load(row + 14)
            columns = tl.load(row + 15)
            scale = tl.load(scales_ptr + op)
            for start in range(0, units * per_unit, E):
                number = start + tl.arange(0, E)[:, None]
                inside = number < units * per_unit
                unit = number // per_unit
                first = (number - unit * per_unit) * (128 // BITS)
                block = (first_block + number).to(tl.uint32) + tl.zeros([E, G], tl.uint32)
                w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
                for k in tl.static_range(4):  # pyright: ignore
                    word = w0 if k == 0 else (w1 if k == 1 else (w2 if k == 2 else w3))
                    for part in tl.static_range(32 // BITS):  # pyright: ignore
                        column = first + k * (32 // BITS) + part
                        at = tl.where(
                            column < fan_in, weight_at + unit * fan_in + column, bias_at + unit
                        )
                        if NORMAL:
                            weight = (normal_wide(word) * scale).to(tl.float32)
                        else:
                            weight = _odd(word, part, BITS).to(tl.float32) * scale.to(tl.float32)
                        tl.store(to_ptr + at * G + g, weight, mask=inside & (column < columns))


@triton.jit
def _odd(word, PART: tl.constexpr, BITS: tl.constexpr):
    """`biasgpu.priors.odd_integers` of one part of a word."""
    bits = word.to(tl.int32, bitcast=True)
    if BITS == 32:
        return (bits >> 7) | 1
    signed = (bits << (32 - BITS - PART * BITS)) >> (32 - BITS)
    return 2 * signed + 1
