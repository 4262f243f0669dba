"""From logits and their bounds to prefixes, survivors and draws that are not certain.

A stage looks at samples `first, first + 1, ...` only. What the samples before said of a draw is one
number, its state: for each class the unit that answers to it, four bits each.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.check import BORDERLINE, FREE, UP, advance, certain_unit
from biasgpu.kernels.compact import append


@triton.jit(do_not_specialize=["n", "first_sample", "n_samples"])
def _decide_kernel(
    places_ptr,
    states_ptr,
    lanes_ptr,
    labels_ptr,
    logit_ptr,
    error_ptr,
    prefix_ptr,
    counter_ptr,
    list_ptr,
    list_states_ptr,
    unsure_counter_ptr,
    unsure_list_ptr,
    unsure_states_ptr,
    n,
    first_sample,
    n_samples,
    N_OUTPUTS: tl.constexpr,
    LAST: tl.constexpr,
    WIDE: tl.constexpr,
    SAMPLES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """State the prefixes that are certain; list the draws without an error so far, and the unsure.

    Args:
        places_ptr, states_ptr: int64 `(n,)`: places of the draws, and their states so far.
        lanes_ptr: int32 `(BLOCK,)`: 0, 1, 2, ...
        labels_ptr: int64, all samples'.
        logit_ptr, error_ptr: float32 (WIDE: float64) `(n / BLOCK, SAMPLES, N_OUTPUTS, BLOCK)`.
        prefix_ptr: int16, by place: gets prefixes, or `BORDERLINE`.
        counter_ptr, list_ptr, list_states_ptr: get the draws that go on and their states, unless
            LAST; see `append`.
        unsure_counter_ptr, unsure_list_ptr, unsure_states_ptr: get the draws that are not certain
            and their states before the stage, unless WIDE: then they are stated to be borderline.
        first_sample, n_samples: of the stage; n_samples <= SAMPLES.

    Grid: `cdiv(n, BLOCK)`, one draw a thread.
    Bytes: 8 SAMPLES N_OUTPUTS + 32 a draw. Operations: about 30 SAMPLES + 10 SAMPLES N_OUTPUTS.
    Random words: none.
    """
    n_classes: tl.constexpr = 2 if N_OUTPUTS == 1 else N_OUTPUTS  # pyright: ignore
    program = tl.program_id(0).to(tl.int64)
    slot = program * BLOCK + tl.arange(0, BLOCK)
    mask = slot < n
    lane = tl.load(lanes_ptr + tl.arange(0, BLOCK))
    place = tl.load(places_ptr + slot, mask=mask, other=0)
    before = tl.load(states_ptr + slot, mask=mask, other=-1)
    unit_of = before
    class_of = before * 0 - 1
    for c in tl.static_range(n_classes):  # pyright: ignore
        unit = (before >> (4 * c)) & FREE
        shift = 4 * tl.where(unit == FREE, 0, unit)
        taken = (class_of & ~((unit * 0 + FREE) << shift)) | ((unit * 0 + c) << shift)
        class_of = tl.where(unit == FREE, class_of, taken)
    going = mask
    prefix = (before * 0).to(tl.int32) + first_sample + n_samples
    from_ = program * SAMPLES * N_OUTPUTS * BLOCK + lane
    for i in range(n_samples):
        low = tl.full([BLOCK], float("-inf"), tl.float64)
        high = low
        others = low
        best = tl.zeros([BLOCK], tl.int32)
        size = tl.zeros([BLOCK], tl.float64)
        for c in tl.static_range(N_OUTPUTS):  # pyright: ignore
            at = from_ + (i * N_OUTPUTS + c) * BLOCK
            value = tl.load(logit_ptr + at).to(tl.float64)
            error = tl.load(error_ptr + at).to(tl.float64) * UP
            size += tl.abs(value) + error
            low, high, others, best = certain_unit(
                value, error, c, low, high, others, best, N_OUTPUTS == 1
            )
        # A NaN anywhere makes both of these false.
        tied = size == 0.0
        unsure = ~tied & ~((low > others) & (size < float("inf")))
        label = tl.load(labels_ptr + first_sample + i)
        going, prefix, unit_of, class_of = advance(
            going, prefix, unit_of, class_of, best, tied, unsure, label, first_sample + i
        )
    stated = mask
    if not LAST:
        stated = stated & ~going
        at = append(counter_ptr, list_ptr, place, going)
        tl.store(list_states_ptr + at, unit_of, mask=going)
    if not WIDE:
        unsure = mask & (prefix == BORDERLINE)
        stated = stated & ~unsure
        at = append(unsure_counter_ptr, unsure_list_ptr, place, unsure)
        tl.store(unsure_states_ptr + at, before, mask=unsure)
    tl.store(prefix_ptr + place, prefix.to(tl.int16), mask=stated)
