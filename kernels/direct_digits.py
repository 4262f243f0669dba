"""Inputs of a dense layer as whole numbers for tensor cores: four digits in base 256 each.

The unit that the numbers of a draw and sample count is a power of two: 2^30 of them are more than
the largest input, fewer than twice as much. So an input is off by less than a unit, and certain
zeros stay zero. Slacks become whole numbers up to 127, rounded upwards.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.direct_dense import OVERFLOW, of_grid

WORDS = tl.constexpr(32)  # of a step of `direct_tensor._product_kernel`
SLACKS = tl.constexpr(126.0)  # the largest slack, in units of its own
SLACK_UNIT = tl.constexpr((1.0 + 2.0**-20) / 126.0)  # beyond the roundings of a slack in units
UNITS_OF_BOUND = tl.constexpr(33.0)  # see `biasgpu/engines/triton_tensor.py`
LEAST_SLACK = tl.constexpr(2.0**-60)
ROUNDED_UP = tl.constexpr(1.0 + 2.0**-18)  # beyond the few roundings of a bound
LEAST_EXPONENT = tl.constexpr(127 - 40)  # of the largest input, as float32 writes it
MOST_EXPONENT = tl.constexpr(127 + 100)


@triton.jit
def _load(pointer, k, lane, n_inputs, exists, BLOCK: tl.constexpr):
    mask = (k < n_inputs)[:, None] & exists[None, :]
    return tl.load(pointer + k[:, None] * BLOCK + lane[None, :], mask=mask, other=0.0)


@triton.jit(do_not_specialize=["n", "n_inputs", "n_steps"])
def _digits_kernel(
    input_ptr,
    slack_ptr,
    digits_ptr,
    slacks_ptr,
    numbers_ptr,
    constants_ptr,
    n,
    n_inputs,
    n_steps,
    BIASED: tl.constexpr,
    BITS: tl.constexpr,
    SAMPLES: tl.constexpr,
    BOUNDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Digits of the inputs of BLOCK draws on one sample, and the numbers that go with them.

    Args:
        input_ptr, slack_ptr: float32 `(programs, SAMPLES, n_inputs, BLOCK)`.
        digits_ptr: int8 `(draws, n_steps, 32 / BITS, 4 SAMPLES, 32)`: gets digits, the lowest
            first, in the order of `direct_tensor._product_kernel`; zeros behind the last input.
        slacks_ptr: int8 `(draws, n_steps, 32 / BITS, BOUNDS, 32)`: gets slacks, and zeros behind
            those of the samples.
        numbers_ptr: float32 `(draws, 4, SAMPLES)`: gets what a unit of a sum is worth, what joins
            the sum for bytes that were turned, the part of the bound that all units share, and
            what a unit of the other part is worth.
        constants_ptr: as that of `direct_dense._dense_kernel`, of the layer that is to come.

    Grid: `programs * SAMPLES`.
    Bytes: 21 an input and sample. Operations: about 40 an input and sample. Random words: none.
    """
    per_word: tl.constexpr = 32 // BITS
    # What an odd integer is beside twice its bytes, and the power of two it is below.
    rest: tl.constexpr = 65793.0 if BITS == 32 else (257.0 if BITS == 16 else 1.0)  # pyright: ignore
    most: tl.constexpr = 16777216.0 if BITS == 32 else (65536.0 if BITS == 16 else 256.0)  # pyright: ignore
    program, sample = of_grid(SAMPLES, 1)  # pyright: ignore
    word = tl.arange(0, WORDS)
    lane = tl.arange(0, BLOCK)
    draw = program * BLOCK + lane
    exists = draw < n  # others get zeros: later kernels read whole blocks
    from_ = (program * SAMPLES + sample) * n_inputs * BLOCK
    tops = tl.zeros([WORDS, BLOCK], tl.float32)
    worst = tl.zeros([WORDS, BLOCK], tl.float32)
    live = tl.zeros([WORDS, BLOCK], tl.float32)
    for start in range(0, n_inputs, WORDS):
        h = _load(input_ptr + from_, start + word, lane, n_inputs, exists, BLOCK)
        slack = _load(slack_ptr + from_, start + word, lane, n_inputs, exists, BLOCK)
        worst = tl.maximum(worst, slack)
        live += slack
        tops = tl.maximum(tops, tl.abs(h))
    top = tl.max(tops, axis=0)
    bias_slack = tl.load(constants_ptr + 2).to(tl.float32)
    most_slack = tl.max(worst, axis=0)
    if BIASED:
        top = tl.maximum(top, 1.0)
        most_slack = tl.maximum(most_slack, bias_slack)
    exponent = top.to(tl.int32, bitcast=True) >> 23  # pyright: ignore
    held = tl.minimum(tl.maximum(exponent, LEAST_EXPONENT), MOST_EXPONENT)
    unit = ((held - 29) << 23).to(tl.float32, bitcast=True)
    inverse = ((283 - held) << 23).to(tl.float32, bitcast=True)
    # What is infinite or no number makes the sum so, and would not be a whole number.
    known = (exponent <= MOST_EXPONENT) & (tl.sum(live, axis=0) < OVERFLOW)
    largest = tl.where(known, tl.maximum(most_slack, LEAST_SLACK), 1.0)
    by_slack = SLACKS / largest
    slack_unit = largest * SLACK_UNIT
    to = digits_ptr + draw[None, :] * n_steps * per_word * (4 * SAMPLES * WORDS)
    to += sample * (4 * WORDS) + word[:, None]
    slack_to = slacks_ptr + draw[None, :] * n_steps * per_word * (BOUNDS * WORDS)
    slack_to += sample * WORDS + word[:, None]
    total = tl.zeros([WORDS, BLOCK], tl.int64)
    slacks = tl.zeros([WORDS, BLOCK], tl.int32)
    for turn in range(n_steps * per_word):
        k = turn // per_word * (WORDS * per_word) + word * per_word + turn % per_word  # pyright: ignore
        h = _load(input_ptr + from_, k, lane, n_inputs, exists, BLOCK)
        slack = _load(slack_ptr + from_, k, lane, n_inputs, exists, BLOCK)
        if BIASED:
            h = tl.where((k == n_inputs)[:, None], 1.0, h)
            slack = tl.where((k == n_inputs)[:, None], bias_slack, slack)
        x = tl.where(known[None, :], h * inverse[None, :], 0.0).to(tl.int32)
        total += x.to(tl.int64)
        for q in tl.static_range(4):  # pyright: ignore
            digit = x.to(tl.int8)  # its lowest byte, signed
            tl.store(to + q * WORDS, digit)
            x = (x - digit.to(tl.int32)) >> 8
        to += 4 * SAMPLES * WORDS
        units = tl.where(known[None, :], slack * by_slack[None, :], 0.0).to(tl.int32)
        units += (slack > 0.0).to(tl.int32)
        slacks += units
        tl.store(slack_to, units.to(tl.int8))
        for other in tl.static_range(1, BOUNDS // SAMPLES):  # pyright: ignore
            nothing = (units * 0).to(tl.int8)
            tl.store(slack_to + other * SAMPLES * WORDS, nothing)
        slack_to += BOUNDS * WORDS
    n_terms = n_inputs
    if BIASED:
        n_terms += 1
    step = tl.load(constants_ptr).to(tl.float32)
    sum_ = tl.sum(total, axis=0).to(tl.float32)
    of_slack = most / 128.0 * step * slack_unit
    bound = most * step * (UNITS_OF_BOUND * n_terms.to(tl.float32) * unit)
    bound = (bound + of_slack * tl.sum(slacks, axis=0).to(tl.float32)) * ROUNDED_UP
    bound = tl.where(most_slack == 0.0, 0.0, bound)
    bound = tl.where(known, bound, float("inf"))
    numbers = numbers_ptr + draw * (4 * SAMPLES) + sample
    tl.store(numbers, 2.0 * step * unit)
    tl.store(numbers + SAMPLES, sum_ * (rest * step * unit))
    tl.store(numbers + 2 * SAMPLES, bound)
    tl.store(numbers + 3 * SAMPLES, of_slack * ROUNDED_UP)
