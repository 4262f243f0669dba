"""Max-pools of one network: windows of two side by side in the lanes, others one by one.

A vector of windows may end beyond its row. What it writes there is zeros, over numbers that are
zeros already or written later, since rows are taken in their order; or it adds zeros to them.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.training.cpu.lanes import equal, larger, put, spread, where, whole
from biasgpu.training.planes.columns import (
    ADD,
    DOWN,
    DST,
    DST_PLANE,
    OUT_HEIGHT,
    OUT_SAMPLE,
    OUT_STRIDE,
    OUT_WIDTH,
    PLANES,
    SAMPLE,
    SAMPLES,
    SIZE,
    SRC,
    SRC_PLANE,
    SRC_VECTORS,
    STRIDE,
)
from biasgpu.training.planes.grid import LANES
from biasgpu.training.planes.numbers import (
    NUMBER,
    even,
    number,
    odd,
    put_number,
    put_vector,
    vector,
    woven_first,
    woven_rest,
)


@njit(forceinline=True)
def _lanes(width: int) -> int:
    """A mask of the first lanes."""
    return (1 << min(width, LANES)) - 1


@njit
def _pairs(x: int, y: int, stride: int, width: int) -> None:
    """A row of `width` windows of two by two; `stride` numbers to the row below."""
    zero = spread(0.0)
    for column in range(0, width, LANES):
        at = 2 * column
        a, b = vector(x, at), vector(x, at + LANES)
        c, d = vector(x, at + stride), vector(x, at + stride + LANES)
        best = larger(larger(larger(even(a, b), odd(a, b)), even(c, d)), odd(c, d))
        put_vector(y, column, where(_lanes(width - column), best, zero))


@njit(forceinline=True)
def _put(down: int, place: int, value: Any, more: bool) -> None:
    put_vector(down, place, value + vector(down, place) if more else value)


@njit
def _pairs_back(x: int, y: int, up: int, down: int, stride: int, width: int, more: bool) -> None:
    """The gradient of such a row, written or added: to the first largest of each window."""
    zero: Any = spread(0.0)
    for column in range(0, width, LANES):
        at = 2 * column
        a, b = vector(x, at), vector(x, at + LANES)
        c, d = vector(x, at + stride), vector(x, at + stride + LANES)
        best = vector(y, column)
        left = where(_lanes(width - column), vector(up, column), zero)
        won = equal(even(a, b), best)
        first, left = where(won, left, zero), where(won, zero, left)
        won = equal(odd(a, b), best)
        second, left = where(won, left, zero), where(won, zero, left)
        won = equal(even(c, d), best)
        third, left = where(won, left, zero), where(won, zero, left)
        won = equal(odd(c, d), best)
        fourth = where(won, left, zero)
        _put(down, at, woven_first(first, second), more)
        _put(down, at + LANES, woven_rest(first, second), more)
        _put(down, at + stride, woven_first(third, fourth), more)
        _put(down, at + stride + LANES, woven_rest(third, fourth), more)


@njit
def _windows(x: int, y: int, stride: int, width: int, size: int) -> None:
    for column in range(width):
        best = number(x, column * size)
        for i in range(size):
            for j in range(size):
                value = number(x, i * stride + column * size + j)
                if not best > value:
                    best = value
        put_number(y, column, best)


@njit
def _windows_back(x: int, y: int, up: int, down: int, stride: int, width: int, size: int) -> None:
    for column in range(width):
        best, place = number(y, column), -1
        for i in range(size):
            for j in range(size):
                there = i * stride + column * size + j
                if place < 0 and number(x, there) == best:
                    place = there
        if place >= 0:
            put_number(down, place, number(down, place) + number(up, column))


@njit
def pool(op: int, values: int, grads: int, back: bool) -> None:
    """A max-pool: outputs, or (`back`) gradients by the inputs, at addresses."""
    size, stride = whole(op, SIZE), whole(op, STRIDE)
    width, n = whole(op, OUT_WIDTH), whole(op, PLANES) * whole(op, SRC_VECTORS)
    # What a second vector of a row would write beyond its end is the row below, half done.
    more = whole(op, ADD) != 0 or width > LANES
    if back:
        if whole(op, DOWN) == 0:
            return
        if whole(op, ADD) == 0:
            zero = spread(0.0)
            for i in range(n):
                put(grads + NUMBER * whole(op, SRC), i, zero)
    for c in range(whole(op, PLANES)):
        for s in range(whole(op, SAMPLES)):
            here = whole(op, SRC) + c * whole(op, SRC_PLANE) + s * whole(op, SAMPLE)
            there = whole(op, DST) + c * whole(op, DST_PLANE) + s * whole(op, OUT_SAMPLE)
            for row in range(whole(op, OUT_HEIGHT)):
                at, to = NUMBER * (here + row * size * stride), there + row * whole(op, OUT_STRIDE)
                to *= NUMBER
                if size == 2 and back:
                    _pairs_back(
                        values + at, values + to, grads + to, grads + at, stride, width, more
                    )
                elif size == 2:
                    _pairs(values + at, values + to, stride, width)
                elif back:
                    _windows_back(
                        values + at, values + to, grads + to, grads + at, stride, width, size
                    )
                else:
                    _windows(values + at, values + to, stride, width, size)
