"""An error that shows before any hidden layer is drawn: half of all draws with two arrangements.

Let the labels begin 0, 1 and let a ReLU stand before the output layer. The logits' difference is
r_00 d_0 for the first sample and r_10 d_0 + r_11 d_1 for the second, where d_j is the difference of
the output normals of direction j, and r, in terms of activations, is not negative. If d_0 and d_1
have one sign, so have the two differences, or the second sample's logits are tied, which means
class 0. Either way the draw errs at sample 1, whichever way its outputs are arranged; and not at
sample 0, provided this one reaches the output layer alive. It does if in every hidden layer some
unit's first normal is positive, which a few words almost always show. (Positive means above
`SMALLEST_POSITIVE`, so that activations do not underflow in deep networks.)

The law's rounding changes none of this: sums of non-negative terms are not negative in float64, and
normals of words more than `GAP` apart differ by more than rounding can undo.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.compact import append
from biasgpu.kernels.philox import halves, philox

GAP = tl.constexpr(8)  # words at least so far apart order their normals beyond the law's rounding
POSITIVE = tl.constexpr(0x7F000000)  # words below it name normals above 0.009
SMALLEST_POSITIVE = 0.009
PROBES = 2  # blocks of each hidden layer whose signs are looked at: 8 units or so


@triton.jit
def _order(word):
    # An integer that grows with the word's normal: large tails are small magnitudes.
    bits = word.to(tl.int32, bitcast=True)
    size = ((bits & 0x7FFFFFFF) ^ 0x7FFFFFFF).to(tl.int64)
    return tl.where(bits < 0, -1 - size, size)


@triton.jit
def _compare(a, b):
    # 1 or -1 where the difference of two normals has a certain sign, else 0.
    difference = _order(a) - _order(b)
    return tl.where(difference > GAP, 1, tl.where(difference < -GAP, -1, 0))


# One compiled kernel for all values: none of them is worth another.
@triton.jit(do_not_specialize=["n"])
def _reject_kernel(
    name_ptr,
    layers_ptr,
    prefix_ptr,
    counter_ptr,
    list_ptr,
    n,
    N_LAYERS: tl.constexpr,
    N_OUTPUTS: tl.constexpr,
    PROBES: tl.constexpr,
    HIDDEN_STREAM: tl.constexpr,
    OUTPUT_STREAM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """State prefix 1 where the head of this file says so; list the other draws.

    Args:
        name_ptr: int64 `(2,)`: bits of the seed and of the first draw.
        layers_ptr: int64 `(N_LAYERS, 3)`: for each rectified hidden layer its offset, its units,
            and the group of 64 positions whose signs are looked at.
        prefix_ptr: int16, by the place of a draw.
        counter_ptr, list_ptr: places of the draws that go on; see `append`.
        n: draws.

    Grid: `cdiv(n, BLOCK)`.
    Bytes: 2 or 8 a draw. Operations: about 100 a Philox block.
    Random words: 4 for the outputs, `4 PROBES` for each hidden layer.
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < n
    key_low, key_high = halves(tl.load(name_ptr))
    draw_low, draw_high = halves(tl.load(name_ptr + 1) + place)
    zero = tl.zeros([BLOCK], tl.uint32)
    stream = tl.full((), OUTPUT_STREAM, tl.uint32)
    w0, w1, w2, w3 = philox(zero, stream, draw_low, draw_high, key_low, key_high)
    same = ((w0 ^ w1) >> 31) == 0
    if N_OUTPUTS == 2:
        same = _compare(w0, w1) * _compare(w2, w3) > 0
    alive = mask & same
    stream = tl.full((), HIDDEN_STREAM, tl.uint32)
    for layer in tl.static_range(N_LAYERS):  # pyright: ignore
        offset = tl.load(layers_ptr + 3 * layer)
        units = tl.load(layers_ptr + 3 * layer + 1)
        group = tl.load(layers_ptr + 3 * layer + 2)
        positive = tl.zeros([BLOCK], tl.int32) != 0
        for probe in tl.static_range(PROBES):  # pyright: ignore
            block = (zero.to(tl.int64) + group * 16 + probe).to(tl.uint32)
            w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
            unit = zero.to(tl.int64) + (group * 64 + probe - offset)
            positive |= (w0 < POSITIVE) & (unit >= 0) & (unit < units)
            positive |= (w1 < POSITIVE) & (unit + 16 >= 0) & (unit + 16 < units)
            positive |= (w2 < POSITIVE) & (unit + 32 >= 0) & (unit + 32 < units)
            positive |= (w3 < POSITIVE) & (unit + 48 >= 0) & (unit + 48 < units)
        alive &= positive
    tl.store(prefix_ptr + place, (zero + 1).to(tl.int16), mask=alive)
    append(counter_ptr, list_ptr, place, mask & ~alive)
