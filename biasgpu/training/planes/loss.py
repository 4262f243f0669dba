"""Cross-entropy of one network: its gradient by the logits, and whether all samples are right."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from biasgpu.training.cpu.lanes import whole
from biasgpu.training.planes.numbers import number, put_number


@njit
def logit_gradient(
    logits: int, labels: int, samples: int, up: int, n: int, outputs: int, stride: int
) -> None:
    """The gradient of the mean loss of `n` samples; one output stands for the logits (0, z).

    The label's own part is minus the others' sum: its probability less one, without cancellation.

    Args (in numba):
        logits, up: addresses; samples are `stride` numbers apart.
        labels: address of the labels of the task's samples.
        samples: address of the numbers of the samples.
    """
    for s in range(n):
        label, at = whole(labels, whole(samples, s)), s * stride
        best = number(logits, at)
        for k in range(1, outputs):
            best = np.maximum(best, number(logits, at + k))  # not a number if one is not
        if outputs == 1:
            best = np.maximum(best, 0.0)
        total = math.exp(-best) if outputs == 1 else 0.0
        for k in range(outputs):
            total += math.exp(number(logits, at + k) - best)
        if outputs == 1:
            zero, mine = math.exp(-best) / total, math.exp(number(logits, at) - best) / total
            put_number(up, at, (-zero if label == 1 else mine) / n)
            continue
        others = 0.0
        for k in range(outputs):
            if k != label:
                part = math.exp(number(logits, at + k) - best) / total / n
                put_number(up, at + k, part)
                others += part
        put_number(up, at + label, -others)


@njit
def classified(logits: int, labels: int, samples: int, n: int, outputs: int, stride: int) -> bool:
    """Whether all of `n` samples are right; ties go to the lowest class, as in `decision`."""
    for s in range(n):
        label, at = whole(labels, whole(samples, s)), s * stride
        for k in range(outputs):
            if not math.isfinite(number(logits, at + k)):
                return False
        if outputs == 1:
            if (number(logits, at) > 0.0) != (label == 1):
                return False
            continue
        mine = number(logits, at + label)
        for k in range(outputs):
            other = number(logits, at + k)
            if other > mine or (other == mine and k < label):
                return False
    return True
