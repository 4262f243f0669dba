"""A dense layer for many draws at once: a draw a lane, its weights made, used and forgotten.

An input h of a unit comes with its *slack*: gain e + inject |h|, by `biasgpu.margins` what one unit
of |weight| adds to the error bound of the sum, e being how far the input may lie from the law's. So
a unit's bound is the sum of |weight| times slack, and slack 0 says that an input is certainly zero,
in the law as well.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.direct_weights import weight
from biasgpu.kernels.philox import halves, philox

OVERFLOW = tl.constexpr(1e29)  # of a bound: past it a sum in float32 may have overflowed
OVERFLOW_WIDE = tl.constexpr(1e280)


@triton.jit
def of_grid(n_units, UNITS: tl.constexpr):
    """A program's block of draws (int64) and its tile of units; tiles of a block are neighbours.

    So they find in the cache what they all read, the block's activations.
    """
    n_tiles = (n_units + UNITS - 1) // UNITS
    number = tl.program_id(0)
    return (number // n_tiles).to(tl.int64), number % n_tiles


@triton.jit
def load_constants(constants_ptr, WIDE: tl.constexpr):
    """tiny, bias slack, next gain, next inject, floor: scalars of the type computed in."""
    kind = tl.float64 if WIDE else tl.float32
    tiny = tl.load(constants_ptr + 1).to(kind)
    bias_slack = tl.load(constants_ptr + 2).to(kind)
    gain = tl.load(constants_ptr + 3).to(kind)
    inject = tl.load(constants_ptr + 4).to(kind)
    floor = tl.load(constants_ptr + 5).to(kind)
    return tiny, bias_slack, gain, inject, floor


@triton.jit
def unit_bound(error, live, tiny, WIDE: tl.constexpr):
    """A unit's error bound: 0 where all inputs are certainly zero, infinite where it may overflow.

    Args:
        error: the sum of |weight| times slack.
        live: the sum of the slacks.
    """
    limit: tl.constexpr = OVERFLOW_WIDE if WIDE else OVERFLOW
    bound = tl.where(live == 0.0, 0.0, error + tiny)
    return tl.where(bound < limit, bound, float("inf"))  # what is not a number, too


@triton.jit
def settle(y, bound, gain, inject, floor, RECTIFIED: tl.constexpr):
    """From a pre-activation and its bound to the activation and its slack for the next layer."""
    if RECTIFIED:
        # Below zero by more than the bound, and so in the law. (An infinite bound says nothing.)
        bound = tl.where((y <= -bound) & (bound < float("inf")), 0.0, bound)
        h = tl.maximum(y, 0.0)
    else:
        h = y
    slack = gain * bound + inject * tl.maximum(tl.abs(h), floor)
    return h, tl.where((bound == 0.0) & (h == 0.0), 0.0, slack)


@triton.jit
def _add(
    part, error, live, w, input_ptr, slack_ptr, at, k, n_inputs, stride, bias_slack,
    BIASED: tl.constexpr,
):  # fmt: skip
    """Add input k times its weight to the sums; behind the inputs stands the bias's, then nothing.

    Returns:
        part, error, live.
    """
    inside = at * 0 + k < n_inputs
    h = tl.load(input_ptr + k * stride + at, mask=inside, other=0.0)
    slack = tl.load(slack_ptr + k * stride + at, mask=inside, other=0.0)
    if BIASED:
        h = tl.where(k == n_inputs, 1.0, h)
        slack = tl.where(k == n_inputs, bias_slack, slack)
    return part + w * h, error + tl.abs(w) * slack, live + slack


# One compiled kernel for all values: none of them is worth another.
@triton.jit(
    do_not_specialize=[
        "n", "first_block", "blocks_per_unit", "n_inputs", "n_units", "n_chunks", "chunk_blocks",
        "n_words",
    ]
)  # fmt: skip
def _dense_kernel(
    name_ptr,
    places_ptr,
    lanes_ptr,
    input_ptr,
    slack_ptr,
    output_ptr,
    next_slack_ptr,
    constants_ptr,
    n,
    first_block,
    blocks_per_unit,
    n_inputs,
    n_units,
    n_chunks,
    chunk_blocks,
    n_words,
    SHARED: tl.constexpr,
    BIASED: tl.constexpr,
    RECTIFIED: tl.constexpr,
    BITS: tl.constexpr,
    NORMAL: tl.constexpr,
    WIDE: tl.constexpr,
    SAMPLES: tl.constexpr,
    TURNED: tl.constexpr,
    UNITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Activations of UNITS units of BLOCK draws on SAMPLES samples, with their slack.

    Args:
        name_ptr: int64 `(2,)`: bits of the seed and of the first draw.
        places_ptr: int64 `(n,)`: places of the draws after the first.
        lanes_ptr: int32 `(BLOCK,)`: 0, 1, 2, ... (Were they computed, compilers would load several
            draws at a time, and then pay for handing them to the threads that own them.)
        input_ptr, slack_ptr: float32 (WIDE: float64) `(n / BLOCK, SAMPLES, n_inputs, BLOCK)`; with
            SHARED `(SAMPLES, n_inputs)`.
        output_ptr, next_slack_ptr: the same with n_units: get activations and slack.
        constants_ptr: float64 `(6,)`: scale of a weight, tiny of this layer, its inject (the slack
            of a bias), gain and inject of the next, and the least |h| they are given.
        first_block, blocks_per_unit: where unit 0 starts, and the Philox blocks of a unit.
        n_chunks, chunk_blocks: sums are added up chunk by chunk, which keeps roundings few.
        n_words: of a block, 4. With TURNED it is one number the compiler does not know, so that it
            goes through a block word by word, and registers suffice.

    Grid: `cdiv(n, BLOCK) * cdiv(n_units, UNITS)`.
    Bytes: 8 SAMPLES (n_inputs + n_units) a draw and UNITS units, of the cache mostly.
    Operations: about 85 a Philox block, 3 (normal: 50) a weight and 2 SAMPLES a weight.
    Random words: one a weight (half or a quarter with 16 or 8 BITS), rounded up to whole blocks.
    """
    kind = tl.float64 if WIDE else tl.float32
    per_word: tl.constexpr = 32 // BITS
    per_block: tl.constexpr = 4 * per_word
    stride: tl.constexpr = 1 if SHARED else BLOCK  # pyright: ignore
    program, tile = of_grid(n_units, UNITS)
    slot = program * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(places_ptr + slot, mask=slot < n, other=0)
    lane = tl.load(lanes_ptr + tl.arange(0, BLOCK))[None, None, :]
    key_low, key_high = halves(tl.load(name_ptr))
    draw_low, draw_high = halves((tl.load(name_ptr + 1) + place)[None, None, :])
    factor = tl.load(constants_ptr)
    tiny, bias_slack, gain, inject, floor = load_constants(constants_ptr, WIDE)
    unit = tile * UNITS + tl.arange(0, UNITS)
    exists = unit < n_units
    unit = tl.minimum(unit, n_units - 1)[None, :, None]
    block = (unit.to(tl.int64) * blocks_per_unit + first_block).to(tl.uint32)
    block += tl.zeros([1, UNITS, BLOCK], tl.uint32)
    stream = tl.full((), 0, tl.uint32)
    sample = tl.arange(0, SAMPLES)[:, None, None]
    at = sample * n_inputs * stride
    if SHARED:
        at = at + tl.zeros([SAMPLES, 1, BLOCK], tl.int32)
    else:
        at = at + lane
        input_ptr += program * SAMPLES * n_inputs * BLOCK
        slack_ptr += program * SAMPLES * n_inputs * BLOCK
    y = tl.zeros([SAMPLES, UNITS, BLOCK], kind)
    error = tl.zeros([SAMPLES, UNITS, BLOCK], kind)
    live = tl.zeros([SAMPLES, 1, BLOCK], kind)
    for chunk in range(n_chunks):
        part = tl.zeros([SAMPLES, UNITS, BLOCK], kind)
        start = chunk * chunk_blocks
        for b in range(start, tl.minimum(start + chunk_blocks, blocks_per_unit)):
            w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
            block += 1
            if TURNED:
                for turn in range(n_words):
                    for j in tl.static_range(per_word):  # pyright: ignore
                        w = weight(w0, w1, w2, w3, factor, j, BITS, NORMAL, WIDE)
                        k = b * per_block + turn * per_word + j
                        part, error, live = _add(
                            part, error, live, w, input_ptr, slack_ptr, at, k, n_inputs, stride,
                            bias_slack, BIASED,
                        )  # fmt: skip
                    w0, w1, w2, w3 = w1, w2, w3, w0
            else:
                for j in tl.static_range(per_block):  # pyright: ignore
                    w = weight(w0, w1, w2, w3, factor, j, BITS, NORMAL, WIDE)
                    part, error, live = _add(
                        part, error, live, w, input_ptr, slack_ptr, at, b * per_block + j, n_inputs,
                        stride, bias_slack, BIASED,
                    )  # fmt: skip
        y += part
    bound = unit_bound(error, live, tiny, WIDE)
    h, slack = settle(y, bound, gain, inject, floor, RECTIFIED)
    to = program * SAMPLES * n_units * BLOCK + (sample * n_units + unit) * BLOCK + lane
    tl.store(output_ptr + to, h, mask=exists[None, :, None])
    tl.store(next_slack_ptr + to, slack, mask=exists[None, :, None])
