"""The output layer: its normals, then logits with bounds, and what the draw certainly classifies.

Logit c of sample i is sum_j L_ij z_jc up to a positive factor, which decides nothing. Its error is
at most sum_j (E_ij + eps |L_ij|) |z_jc|. An arg max beyond all errors is certain; from the certain
units, sample by sample, follows the prefix, as in `biasgpu.engines.consistency`: some arrangement
classifies the samples so far as long as classes and units answer to each other one to one.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.compact import append
from biasgpu.kernels.normal import normal, normal_wide
from biasgpu.kernels.philox import halves, philox

UNSURE = tl.constexpr(-1)
TIED = tl.constexpr(-2)
FREE = tl.constexpr(15)  # a class without a unit, a unit without a class: four bits each
UP = tl.constexpr(1.0 + 2.0**-20)
BORDERLINE = tl.constexpr(-1)  # 0xFFFF as a signed number


# One compiled kernel for all values: none of them is worth another.
@triton.jit(do_not_specialize=["n", "capacity", "n_words"])
def _outputs_kernel(
    name_ptr,
    draws_ptr,
    normal_ptr,
    n,
    capacity,
    n_words,
    WIDE: tl.constexpr,
    STREAM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The output layer's normals, number j * outputs + c: `(n_words, capacity)`.

    Args:
        name_ptr: int64 `(2,)`: bits of the seed and of the first draw.
        draws_ptr: int64 `(n,)`: places of the draws after the first.
        normal_ptr: float32 (WIDE: float64): gets the normals.
        n_words: samples times outputs.

    Grid: `(cdiv(n, BLOCK), cdiv(n_words, 4))`.
    Bytes: 16 a block. Operations: about 280 a block. Random words: `n_words`, rounded up to 4.
    """
    slot = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = slot < n
    number = tl.program_id(1)
    key_low, key_high = halves(tl.load(name_ptr))
    places = tl.load(draws_ptr + slot, mask=mask, other=0)
    draw_low, draw_high = halves(tl.load(name_ptr + 1) + places)
    block = tl.zeros([BLOCK], tl.uint32) + number.to(tl.uint32)
    stream = tl.full((), STREAM, tl.uint32)
    w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
    first = slot * 0 + number * 4
    to = normal_ptr + slot + first * capacity
    if WIDE:
        z0, z1, z2, z3 = normal_wide(w0), normal_wide(w1), normal_wide(w2), normal_wide(w3)
    else:
        z0, z1, z2, z3 = normal(w0), normal(w1), normal(w2), normal(w3)
    tl.store(to, z0, mask=mask & (first < n_words))
    tl.store(to + capacity, z1, mask=mask & (first + 1 < n_words))
    tl.store(to + 2 * capacity, z2, mask=mask & (first + 2 < n_words))
    tl.store(to + 3 * capacity, z3, mask=mask & (first + 3 < n_words))


@triton.jit
def advance(going, prefix, unit_of, class_of, best, tied, unsure, label, i):
    """One more sample: who goes on, and which unit answers to which class.

    Args:
        going: bool `(BLOCK,)`: draws without an error so far.
        prefix: int32: gets i where a draw errs, `BORDERLINE` where that is not certain.
        unit_of, class_of: int64, four bits a class or unit, `FREE` for none.
        best: int32: the unit that is certainly the largest.
        tied, unsure: bool: all logits are zero; no unit is certain.
        label: int64 scalar. i: number of the sample.

    Returns:
        going, prefix, unit_of, class_of.
    """
    shift = 4 * label
    unit_shift = 4 * best.to(tl.int64)
    mine = (unit_of >> shift) & FREE
    theirs = (class_of >> unit_shift) & FREE
    fits = ((mine == FREE) | (mine == best)) & ((theirs == FREE) | (theirs == label))
    # A tie goes to class 0, whatever the arrangement.
    fits = (fits & ~tied) | (tied & (shift + unit_of * 0 == 0))
    prefix = tl.where(going & unsure, BORDERLINE, tl.where(going & ~fits, i, prefix))
    going = going & ~unsure & fits
    chosen = going & ~tied
    all_bits = unit_of * 0 + FREE
    unit_of = tl.where(
        chosen, (unit_of & ~(all_bits << shift)) | (best.to(tl.int64) << shift), unit_of
    )
    class_of = tl.where(
        chosen, (class_of & ~(all_bits << unit_shift)) | (label << unit_shift), class_of
    )
    return going, prefix, unit_of, class_of


@triton.jit
def certain_unit(value, error, c, low, high, others, best, ONLY: tl.constexpr):
    """One more output unit: which is certainly the largest so far, and what the others may reach.

    Args:
        value, error: float64 `(BLOCK,)`: the unit's logit and its bound.
        c: the unit's number.
        low, high: of the best unit so far; others: the most that any other may have.
        best: int32, the best unit's number; with ONLY one output, 1 where it is positive.

    Returns:
        low, high, others, best. The best is certain where low > others.
    """
    if ONLY:
        low = tl.abs(value)
        others = error
        best = (value > 0.0).to(tl.int32)
    else:
        ahead = value - error > low
        others = tl.maximum(others, tl.where(ahead, high, value + error))
        low = tl.where(ahead, value - error, low)
        high = tl.where(ahead, value + error, high)
        best = tl.where(ahead, c, best)
    return low, high, others, best


# One compiled kernel for all values: none of them is worth another.
@triton.jit(do_not_specialize=["entry_stride", "draw_stride", "n", "capacity", "units_at_first"])
def _check_kernel(
    draws_ptr,
    labels_ptr,
    normal_ptr,
    root_ptr,
    root_error_ptr,
    entry_stride,
    draw_stride,
    parameters_ptr,
    prefix_ptr,
    counter_ptr,
    list_ptr,
    unsure_counter_ptr,
    unsure_list_ptr,
    n,
    capacity,
    units_at_first,
    N_SAMPLES: tl.constexpr,
    N_OUTPUTS: tl.constexpr,
    LAST: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """State the prefixes that are certain; list the draws without an error so far, and the unsure.

    Args:
        draws_ptr: int64 `(n,)`: places of the draws.
        labels_ptr: int64 `(N_SAMPLES,)`.
        normal_ptr: float32 or float64 `(N_SAMPLES * N_OUTPUTS, capacity)`.
        root_ptr, root_error_ptr: float64: entry i * N_SAMPLES + j, j <= i, at `entry * entry_stride
            + slot * draw_stride`.
        parameters_ptr: float64 `(1,)`: the relative error of a normal.
        prefix_ptr: int16, by place: gets prefixes, or `BORDERLINE`.
        counter_ptr, list_ptr: get the draws that go on, unless LAST; see `append`.
        unsure_counter_ptr, unsure_list_ptr: get the draws that are not certain, unless WIDE: then
            they are stated to be borderline.
        units_at_first: the units of classes before the first sample, four bits each: all `FREE`
            where the outputs may be arranged, else each class its own.

    Grid: `cdiv(n, BLOCK)`, one draw a thread.
    Bytes: about 10 N_OUTPUTS N_SAMPLES**2 a draw, mostly of the cache.
    Operations: about 4 N_OUTPUTS N_SAMPLES**2 in float64. Random words: none.
    """
    slot = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = slot < n
    place = tl.load(draws_ptr + slot, mask=mask, other=0)
    epsilon = tl.load(parameters_ptr)
    going = mask
    prefix = tl.full([BLOCK], N_SAMPLES, tl.int32)
    unit_of = tl.zeros([BLOCK], tl.int64) + units_at_first
    class_of = unit_of
    for i in range(N_SAMPLES):
        low = tl.full([BLOCK], float("-inf"), tl.float64)  # of the best unit so far
        high = low
        others = low  # the most that any other unit may have
        best = tl.zeros([BLOCK], tl.int32)
        size = tl.zeros([BLOCK], tl.float64)
        for c in tl.static_range(N_OUTPUTS):  # pyright: ignore
            value = tl.zeros([BLOCK], tl.float64)
            error = tl.zeros([BLOCK], tl.float64)
            for j in range(i + 1):
                at = (i * N_SAMPLES + j) * entry_stride + slot * draw_stride
                factor = tl.load(root_ptr + at, mask=going, other=0.0)
                factor_error = tl.load(root_error_ptr + at, mask=going, other=0.0)
                from_ = normal_ptr + slot + (j * N_OUTPUTS + c) * capacity
                z = tl.load(from_, mask=going, other=0.0).to(tl.float64)
                value += factor * z
                error += (factor_error + epsilon * tl.abs(factor)) * tl.abs(z)
                size += tl.abs(factor) + factor_error
            error *= UP
            low, high, others, best = certain_unit(
                value, error, c, low, high, others, best, N_OUTPUTS == 1
            )
        # A NaN anywhere makes both of these false.
        tied = size == 0.0
        unsure = ~tied & ~(low > others)
        label = tl.load(labels_ptr + i)
        going, prefix, unit_of, class_of = advance(
            going, prefix, unit_of, class_of, best, tied, unsure, label, i
        )
    stated = mask
    if not LAST:
        stated = stated & ~going
        append(counter_ptr, list_ptr, place, going)
    if not WIDE:
        unsure = mask & (prefix == BORDERLINE)
        stated = stated & ~unsure
        append(unsure_counter_ptr, unsure_list_ptr, place, unsure)
    tl.store(prefix_ptr + place, prefix.to(tl.int16), mask=stated)
