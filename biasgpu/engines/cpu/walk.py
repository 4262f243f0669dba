"""From logits to prefixes: which samples a draw certainly classifies, under some arrangement.

A draw's state is what is known of its arrangement: for each class unit + 1 in four bits, 0 where no
unit answers to it yet. Two units are followed for sixteen draws at once, with one bit a lane; more
units one draw at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.simd import lanes_above, load, negative, splat_like
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.margins import DECISION_SLACK

OVERFLOW = 1e29  # a bound past this may hide a sum past the largest float32
UNSURE = -1  # in place of a unit: the decision lies within the margin
STRAIGHT, SWAPPED = np.uint64(0x21), np.uint64(0x12)  # states of two units
_ALL = np.uint64(0xFFFF)
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@njit
def walk_two(
    logits: Any,
    alive: Any,
    bounds: Any,
    n_outputs: int,
    labels: Any,
    s0: int,
    s1: int,
    states: Any,
    live: int,
    prefixes: Any,
) -> None:
    """Follow sixteen draws of a one- or two-logit head through the samples `s0 .. s1 - 1`.

    Args (in numba):
        logits: `[sample, output, lane]`.
        alive, bounds: what forward.py found out of them.
        states: uint64 `(live,)`, read and updated: as of the last sample, or of the first that is
            not certain.
        prefixes: int64 `(16,)`: receives samples classified, counted from the first; where sample s
            is the first that is not certain, `-1 - s`.
    """
    straight, swapped = _ZERO, _ZERO  # lanes whose arrangement is known
    for lane in range(live):
        bit = _ONE << np.uint64(lane)
        if states[lane] == STRAIGHT:
            straight |= bit
        elif states[lane] == SWAPPED:
            swapped |= bit
    factor = DECISION_SLACK * (1.0 if n_outputs == 1 else 2.0)
    margin = load(bounds, 0) * splat_like(bounds, np.float32(factor))
    limit = splat_like(bounds, np.float32(OVERFLOW))
    trusted = lanes_above(limit, load(bounds, LANES_F32))
    zero = splat_like(bounds, np.float32(0.0))
    going = _ALL >> np.uint64(LANES_F32 - live)
    doubted = _ZERO
    for lane in range(live):
        prefixes[lane] = s1
    for sample in range(s0, s1):
        at = (sample - s0) * n_outputs * LANES_F32
        gap = load(logits, at)
        if n_outputs == 2:
            gap = load(logits, at + LANES_F32) - gap
        second = lanes_above(gap, margin)  # unit 1 certainly exceeds unit 0
        first = lanes_above(negative(gap), margin)
        tied = ~lanes_above(load(alive, (sample - s0) * LANES_F32), zero) & _ALL
        label = labels[sample]
        keeps = second if label == 1 else first  # as the straight arrangement has it
        turns = first if label == 1 else second
        keeps, turns = keeps & ~tied, turns & ~tied
        unsure = going & ~(keeps | turns | tied)
        unsure |= going & ~trusted
        doubted |= unsure
        keeps, turns = keeps & ~unsure, turns & ~unsure
        # A tie goes to class 0, whatever the arrangement.
        wrong = (keeps & swapped) | (turns & straight) | (tied if label != 0 else _ZERO)
        wrong &= going & ~unsure
        straight, swapped = straight | (keeps & going), swapped | (turns & going)
        stopped = wrong | unsure
        if stopped:
            for lane in range(live):
                bit = _ONE << np.uint64(lane)
                if unsure & bit:
                    prefixes[lane] = -1 - sample
                elif wrong & bit:
                    prefixes[lane] = sample
            going &= ~stopped
            if going == _ZERO:
                break
    if (going | doubted) == _ZERO:
        return
    for lane in range(live):
        bit = _ONE << np.uint64(lane)
        if straight & bit:
            states[lane] = STRAIGHT
        elif swapped & bit:
            states[lane] = SWAPPED


@njit
def top_unit(logits: Any, start: int, lane: int, n_outputs: int, error: float) -> int:
    """The unit whose logit is certainly the largest, or UNSURE."""
    best, unit, second = -np.inf, 0, -np.inf
    for output in range(n_outputs):
        z = np.float64(logits[start + output * LANES_F32 + lane])
        if z > best:
            best, second, unit = z, best, output
        elif z > second:
            second = z
    return unit if best - second > 2 * error * DECISION_SLACK else UNSURE


@njit
def _assign(state: Any, label: int, unit: int, n_units: int) -> Any:
    """The state with `unit` answering to `label`, or 0 if that contradicts it."""
    shift = np.uint64(4 * label)
    known = (state >> shift) & np.uint64(15)
    mine = np.uint64(unit + 1)
    if known:
        return state if known == mine else np.uint64(0)
    for other in range(n_units):
        if (state >> np.uint64(4 * other)) & np.uint64(15) == mine:
            return np.uint64(0)
    return state | (mine << shift)


@njit
def walk_many(
    logits: Any,
    alive: Any,
    bounds: Any,
    n_outputs: int,
    labels: Any,
    s0: int,
    s1: int,
    states: Any,
    live: int,
    prefixes: Any,
) -> None:
    """The same for three output units or more, but BORDERLINE where a sample is not certain."""
    for lane in range(live):
        error, state = np.float64(bounds[lane]), states[lane]
        prefixes[lane] = s1
        if not bounds[LANES_F32 + lane] < OVERFLOW:
            prefixes[lane] = BORDERLINE
            continue
        for sample in range(s0, s1):
            if alive[(sample - s0) * LANES_F32 + lane] == 0:
                if labels[sample] != 0:  # the tie goes to class 0, whatever the arrangement
                    prefixes[lane] = sample
                    break
                continue
            start = (sample - s0) * n_outputs * LANES_F32
            unit = top_unit(logits, start, lane, n_outputs, error)
            if unit == UNSURE:
                prefixes[lane] = BORDERLINE
                break
            after = _assign(state, labels[sample], unit, n_outputs)
            if after == 0:
                prefixes[lane] = sample
                break
            state = after
        states[lane] = state
