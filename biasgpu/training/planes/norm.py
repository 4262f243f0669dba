"""Batch norms of one network: by the batch while training, or by running statistics.

Each channel is a plane, and its statistics are sums over the plane: margins are zeros in what comes
in, and are left out of what is squared. The formulas are those of `biasgpu.training.batch_norm`.
"""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from biasgpu.reference import EPSILON
from biasgpu.training.batch_norm import TRACKING
from biasgpu.training.cpu.lanes import BYTES, get, get_mask, put, spread, where, whole
from biasgpu.training.planes.columns import (
    ADD,
    BIAS,
    COUNT,
    DOWN,
    DST,
    PLANES,
    RUNNING,
    SLOT,
    SRC,
    SRC_MASK,
    SRC_VECTORS,
    WEIGHT,
)
from biasgpu.training.planes.numbers import NUMBER, fused, number, put_number, total

EVALUATE, NO_TRACK, TRACK = range(3)  # by running statistics; by the batch; and move them


@njit(forceinline=True)
def _sum(x: int, n: int) -> float:
    """The sum of `n` vectors, four chains at a time."""
    a: Any = spread(0.0)
    b: Any = spread(0.0)
    c: Any = spread(0.0)
    d: Any = spread(0.0)
    i = 0
    while n - i >= 4:
        a, b, c, d = a + get(x, i), b + get(x, i + 1), c + get(x, i + 2), d + get(x, i + 3)
        i += 4
    while i < n:
        a = a + get(x, i)
        i += 1
    return total((a + b) + (c + d))


@njit(forceinline=True)
def _squares(x: int, mask: int, n: int, mean: Any) -> float:
    """The sum of squared deviations from the mean."""
    zero = spread(0.0)
    a: Any = zero
    b: Any = zero
    i = 0
    while n - i >= 2:
        first = where(get_mask(mask, i), get(x, i) - mean, zero)
        second = where(get_mask(mask, i + 1), get(x, i + 1) - mean, zero)
        a, b = fused(first, first, a), fused(second, second, b)
        i += 2
    if i < n:
        first = where(get_mask(mask, i), get(x, i) - mean, zero)
        a = fused(first, first, a)
    return total(a + b)


@njit
def forward(op: int, masks: int, w: int, values: int, statistics: int, mode: int) -> None:
    """Outputs, and for the way back each channel's mean and inverse deviation.

    Args (in numba), addresses but for the last:
        op: the row of integers.
        masks, w, values, statistics: of all masks, parameters, tensors, channels.
        mode: EVALUATE, NO_TRACK or TRACK.
    """
    n, count, channels = whole(op, SRC_VECTORS), whole(op, COUNT), whole(op, PLANES)
    mask, slot = masks + 2 * whole(op, SRC_MASK), whole(op, SLOT)
    running = whole(op, RUNNING)
    zero = spread(0.0)
    for c in range(channels):
        x = values + NUMBER * whole(op, SRC) + BYTES * n * c
        y = values + NUMBER * whole(op, DST) + BYTES * n * c
        if mode == EVALUATE:
            mean = number(w, running + c)
            variance = number(w, running + channels + c)
        else:
            mean = _sum(x, n) / count
            variance = _squares(x, mask, n, spread(mean)) / count
        inverse = 1.0 / math.sqrt(variance + EPSILON)
        if mode == TRACK:
            place = running + c
            old = number(w, place)
            put_number(w, place, old + TRACKING * (mean - old))
            old = number(w, place + channels)
            unbiased = variance * (count / (count - 1))
            put_number(w, place + channels, old + TRACKING * (unbiased - old))
        put_number(statistics, 2 * (slot + c), mean)
        put_number(statistics, 2 * (slot + c) + 1, inverse)
        middle = spread(mean)
        factor = spread(number(w, whole(op, WEIGHT) + c) * inverse)
        shift = spread(number(w, whole(op, BIAS) + c))
        for i in range(n):
            out = fused(get(x, i) - middle, factor, shift)
            put(y, i, where(get_mask(mask, i), out, zero))


@njit
def backward(op: int, masks: int, w: int, values: int, grads: int, g: int, statistics: int) -> None:
    """Gradients by weights and biases to `g`, and by the inputs, by the batch's statistics.

    Args (in numba): addresses, as for `forward`; `grads` of all tensors' gradients.
    """
    n, count, channels = whole(op, SRC_VECTORS), whole(op, COUNT), whole(op, PLANES)
    mask, slot = masks + 2 * whole(op, SRC_MASK), whole(op, SLOT)
    zero = spread(0.0)
    for c in range(channels):
        x = values + NUMBER * whole(op, SRC) + BYTES * n * c
        up = grads + NUMBER * whole(op, DST) + BYTES * n * c
        down = grads + NUMBER * whole(op, SRC) + BYTES * n * c
        inverse = number(statistics, 2 * (slot + c) + 1)
        middle = spread(number(statistics, 2 * (slot + c)))
        a: Any = zero
        b: Any = zero
        along: Any = zero
        across: Any = zero
        i = 0
        while n - i >= 2:
            first, second = get(up, i), get(up, i + 1)
            a, b = a + first, b + second
            along = fused(first, get(x, i) - middle, along)
            across = fused(second, get(x, i + 1) - middle, across)
            i += 2
        if i < n:
            first = get(up, i)
            a = a + first
            along = fused(first, get(x, i) - middle, along)
        by_bias = total(a + b)
        by_weight = total(along + across) * inverse
        put_number(g, whole(op, WEIGHT) + c, by_weight)
        put_number(g, whole(op, BIAS) + c, by_bias)
        if whole(op, DOWN) == 0:
            continue
        # weight * inverse * (up - mean of up - scaled x * mean of (up * scaled x))
        slope = number(w, whole(op, WEIGHT) + c) * inverse
        factor, level = spread(slope), spread(-slope * by_bias / count)
        tilt = spread(-slope * by_weight * inverse / count)
        for i in range(n):
            out = fused(get(x, i) - middle, tilt, fused(get(up, i), factor, level))
            out = where(get_mask(mask, i), out, zero)
            if whole(op, ADD) != 0:
                out = out + get(down, i)
            put(down, i, out)
