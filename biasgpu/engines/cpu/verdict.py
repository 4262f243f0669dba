"""Logits and their bounds to a verdict on one sample, sample after sample.

The rule is that of `biasgpu.engines.consistency`: a prefix is classified by some arrangement as
long as no class excites two units and no unit answers to two classes.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.memory import peek

UNSURE, TIED = -1, -2  # in place of a unit
GOES_ON, ERRS, OPEN_ENDED = range(3)


@njit
def _top(logits: int, units: int) -> int:
    """The unit whose logit is certainly the largest, TIED or UNSURE."""
    if units == 1:
        size, doubt = abs(peek(logits, 0)), peek(logits, 1)
        if size == 0.0 and doubt == 0.0:
            return TIED
        return UNSURE if not size > doubt else int(peek(logits, 0) > 0.0)
    best, all_zero = 0, True
    for c in range(units):
        value = peek(logits, c)
        if value > peek(logits, best):
            best = c
        all_zero = all_zero and value == 0.0 and peek(logits, units + c) == 0.0
    if all_zero:
        return TIED
    for c in range(units):
        doubt = peek(logits, units + best) + peek(logits, units + c)
        if c != best and not peek(logits, best) - peek(logits, c) > doubt:
            return UNSURE
    return best


@njit(forceinline=True)
def judge(logits: int, units: int, label: int, answers: Any, mine: int) -> int:
    """GOES_ON, ERRS or OPEN_ENDED for one more sample.

    Args (in numba):
        answers: from `mine` on, units by class, then classes by unit.
    """
    top = _top(logits, units)
    if top == UNSURE:
        return OPEN_ENDED
    if top == TIED:  # goes to class 0, whatever the arrangement
        return ERRS if label != 0 else GOES_ON
    half = mine + max(2, units)
    by_class, by_unit = answers[mine + label], answers[half + top]
    if (by_class != UNSURE and by_class != top) or (by_unit != UNSURE and by_unit != label):
        return ERRS
    answers[mine + label], answers[half + top] = top, label
    return GOES_ON
