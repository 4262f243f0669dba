"""Cross-entropy in SIMD lanes: its gradient by the logits, and which lanes classify a sample."""

from __future__ import annotations

from numba import njit

from biasgpu.training.cpu.lanes import (
    ALL,
    above,
    at_least,
    equal,
    exp,
    get,
    larger,
    put,
    spread,
    whole,
)


@njit
def logit_gradient(
    logits: int, labels: int, samples: int, up: int, n: int, outputs: int, scale: float
) -> None:
    """`scale` times the gradient of each sample's loss, `up` `[sample, output]`.

    The label's own part is minus the others' sum: its probability less one, without cancellation.

    Args (in numba):
        logits: address, `[sample, output]`; one output stands for the logits (0, z).
        labels: address of the labels of the task's samples.
        samples: address of the numbers of the samples.
        up: address of the result.
    """
    zero, unit = spread(0.0), spread(scale)
    for s in range(n):
        label = whole(labels, whole(samples, s))
        at = s * outputs
        if outputs == 1:
            z = get(logits, at)
            best = larger(zero, z)
            first, second = exp(zero - best), exp(z - best)
            both = first + second
            put(up, at, zero - unit * first / both if label == 1 else unit * second / both)
            continue
        best = get(logits, at)
        for k in range(1, outputs):
            best = larger(best, get(logits, at + k))
        total, others = zero, zero
        for k in range(outputs):
            power = exp(get(logits, at + k) - best)
            put(up, at + k, power)
            total = total + power
        for k in range(outputs):
            if k != label:
                part = unit * get(up, at + k) / total
                put(up, at + k, part)
                others = others + part
        put(up, at + label, zero - others)


@njit
def classified(logits: int, labels: int, samples: int, n: int, outputs: int) -> int:
    """A mask: lanes that classify all samples; ties go to the lowest class, as in `decision`."""
    zero = spread(0.0)
    right = ALL
    for s in range(n):
        label = whole(labels, whole(samples, s))
        at = s * outputs
        for k in range(outputs):
            z = get(logits, at + k)
            right &= equal(z - z, zero)  # finite
        if outputs == 1:
            z = get(logits, at)
            right &= above(z, zero) if label == 1 else at_least(zero, z)
            continue
        mine = get(logits, at + label)
        for k in range(outputs):
            other = get(logits, at + k)
            if k < label:
                right &= above(mine, other)
            elif k > label:
                right &= at_least(mine, other)
    return right
