"""Layers without parameters that go number by number: rectifiers, scales, joins, flattening.

What is zero outside of images stays so.
"""

from __future__ import annotations

from numba import njit

from biasgpu.training.cpu.lanes import above, get, put, rectify, spread, where, whole
from biasgpu.training.planes.columns import (
    ADD,
    DOWN,
    DST,
    DST_PLANE,
    HEIGHT,
    KIND,
    OTHER,
    OTHER_ADD,
    OTHER_DOWN,
    PLANES,
    RELU,
    SAMPLE,
    SAMPLES,
    SCALE,
    SRC,
    SRC_PLANE,
    SRC_VECTORS,
    STRIDE,
    WIDTH,
)
from biasgpu.training.planes.numbers import NUMBER, number, put_number


@njit
def forward(op: int, factor: float, values: int) -> None:
    """Outputs of a rectifier, a scale or a join, at addresses."""
    x, y = values + NUMBER * whole(op, SRC), values + NUMBER * whole(op, DST)
    n, kind = whole(op, PLANES) * whole(op, SRC_VECTORS), whole(op, KIND)
    if kind == RELU:
        for i in range(n):
            put(y, i, rectify(get(x, i)))
    elif kind == SCALE:
        by = spread(factor)
        for i in range(n):
            put(y, i, by * get(x, i))
    else:
        other = values + NUMBER * whole(op, OTHER)
        for i in range(n):
            put(y, i, get(x, i) + get(other, i))


@njit
def _hand_down(up: int, down: int, n: int, more: bool) -> None:
    for i in range(n):
        put(down, i, get(up, i) + get(down, i) if more else get(up, i))


@njit
def backward(op: int, factor: float, values: int, grads: int) -> None:
    """Gradients by the inputs from those by the outputs."""
    up, down = grads + NUMBER * whole(op, DST), grads + NUMBER * whole(op, SRC)
    n, kind = whole(op, PLANES) * whole(op, SRC_VECTORS), whole(op, KIND)
    more = whole(op, ADD) != 0
    if whole(op, OTHER_DOWN) != 0:
        _hand_down(up, grads + NUMBER * whole(op, OTHER), n, whole(op, OTHER_ADD) != 0)
    if whole(op, DOWN) == 0:
        return
    zero, by = spread(0.0), spread(factor)
    if kind == RELU:
        x = values + NUMBER * whole(op, SRC)
        for i in range(n):
            part = where(above(get(x, i), zero), get(up, i), zero)
            put(down, i, part + get(down, i) if more else part)
    elif kind == SCALE:
        for i in range(n):
            part = by * get(up, i)
            put(down, i, part + get(down, i) if more else part)
    else:
        _hand_down(up, down, n, more)


@njit
def flatten(op: int, tensors: int, back: bool) -> None:
    """Images to flat samples; `back`: their gradients, written or added."""
    height, width, stride = whole(op, HEIGHT), whole(op, WIDTH), whole(op, STRIDE)
    more = whole(op, ADD) != 0
    if back and whole(op, DOWN) == 0:
        return
    for s in range(whole(op, SAMPLES)):
        flat = whole(op, DST) + s * whole(op, DST_PLANE)
        for c in range(whole(op, PLANES)):
            image = whole(op, SRC) + c * whole(op, SRC_PLANE) + s * whole(op, SAMPLE)
            for i in range(height):
                for j in range(width):
                    there = image + i * stride + j
                    if back:
                        value = number(tensors, flat)
                        if more:
                            value += number(tensors, there)
                        put_number(tensors, there, value)
                    else:
                        put_number(tensors, flat, number(tensors, there))
                    flat += 1
