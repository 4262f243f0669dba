"""Weights of method "direct" in Triton, from the words of a block to numbers; nothing is stored.

Uniform weights are the law's to the bit: an odd integer below 2^24 times a float32 step, rounded
once. Normal ones are within `EPSILON_NORMAL` of the law's in float32. In float64 they are the
law's, or not a number where its rounding to float32 cannot be told (one word in some 2^20):
whatever such a weight touches is unsure.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.normal import EPSILON, normal, normal_wide

# The kernels' own error, and the roundings of the scale, of the product and of the law's weight.
EPSILON_NORMAL = EPSILON + 4 * 2.0**-24
ROUNDED_UP = tl.constexpr(1.0 + 2.0**-45)  # beyond normal.EPSILON_WIDE and a product's rounding
ROUNDED_DOWN = tl.constexpr(1.0 - 2.0**-45)


@triton.jit
def weight(
    w0, w1, w2, w3, factor, J: tl.constexpr, BITS: tl.constexpr, NORMAL: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Weight number J of a block.

    Args:
        w0, w1, w2, w3: uint32, the block's words, any shape.
        factor: float64 scalar: the step of a uniform grid, or the standard deviation.
        J: below 4, 8 or 16 for 32, 16 or 8 BITS.

    Returns:
        float32 (WIDE: float64), the words' shape.

    Operations: 3 a uniform weight, about 50 a normal one (WIDE: 100 in float64).
    """
    per_word: tl.constexpr = 32 // BITS
    place: tl.constexpr = J // per_word
    field: tl.constexpr = J % per_word
    if place == 0:
        word = w0
    elif place == 1:
        word = w1
    elif place == 2:
        word = w2
    else:
        word = w3
    if NORMAL:
        if WIDE:
            exact = normal_wide(word) * factor
            value = exact.to(tl.float32).to(tl.float64)
            sure = (exact * ROUNDED_UP).to(tl.float32) == (exact * ROUNDED_DOWN).to(tl.float32)
            value = tl.where(sure, value, float("nan"))
        else:
            value = normal(word) * factor.to(tl.float32)
    else:
        bits = word.to(tl.int32, bitcast=True)
        if BITS == 32:  # noqa: SIM108 (decided while compiling)
            odd = (bits >> 7) | 1
        else:
            # The field with its sign; twice it plus one.
            odd = (((bits << (32 - BITS * (field + 1))) >> (32 - BITS)) << 1) | 1
        value = odd.to(tl.float32) * factor.to(tl.float32)
        if WIDE:
            value = value.to(tl.float64)
    return value
