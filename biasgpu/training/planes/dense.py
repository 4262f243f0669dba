"""Dense layers of one network: features in the lanes."""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.training.cpu.lanes import get, put, spread, whole
from biasgpu.training.planes.columns import (
    ADD,
    BIAS,
    DOWN,
    DST,
    DST_PLANE,
    ROW,
    SAMPLES,
    SRC,
    SRC_PLANE,
    UNITS,
    WEIGHT,
)
from biasgpu.training.planes.grid import LANES
from biasgpu.training.planes.numbers import NUMBER, fused, number, put_number, total


@njit
def forward(op: int, w: int, values: int) -> None:
    """Outputs, at addresses; rows end with zeros, in inputs and weights' products alike."""
    units, n = whole(op, UNITS), whole(op, ROW) // LANES
    for s in range(whole(op, SAMPLES)):
        x = values + NUMBER * (whole(op, SRC) + s * whole(op, SRC_PLANE))
        y = values + NUMBER * (whole(op, DST) + s * whole(op, DST_PLANE))
        for u in range(units):
            row = w + NUMBER * (whole(op, WEIGHT) + u * whole(op, ROW))
            a: Any = spread(0.0)
            b: Any = spread(0.0)
            i = 0
            while n - i >= 2:
                a = fused(get(x, i), get(row, i), a)
                b = fused(get(x, i + 1), get(row, i + 1), b)
                i += 2
            if i < n:
                a = fused(get(x, i), get(row, i), a)
            value = total(a + b)
            if whole(op, BIAS) >= 0:
                value += number(w, whole(op, BIAS) + u)
            put_number(y, u, value)


@njit
def by_parameters(op: int, values: int, grads: int, g: int) -> None:
    """Write gradients by weights and biases to `g`."""
    n = whole(op, ROW) // LANES
    for u in range(whole(op, UNITS)):
        row = g + NUMBER * (whole(op, WEIGHT) + u * whole(op, ROW))
        by_bias = 0.0
        for s in range(whole(op, SAMPLES)):
            x = values + NUMBER * (whole(op, SRC) + s * whole(op, SRC_PLANE))
            up = number(grads, whole(op, DST) + s * whole(op, DST_PLANE) + u)
            by_bias += up
            factor = spread(up)
            for i in range(n):
                product = factor * get(x, i)
                put(row, i, product if s == 0 else get(row, i) + product)
        if whole(op, BIAS) >= 0:
            put_number(g, whole(op, BIAS) + u, by_bias)


@njit
def by_inputs(op: int, w: int, grads: int) -> None:
    """Write, or add, gradients by the inputs, if anybody wants them."""
    if whole(op, DOWN) == 0:
        return
    n, more = whole(op, ROW) // LANES, whole(op, ADD) != 0
    for s in range(whole(op, SAMPLES)):
        down = grads + NUMBER * (whole(op, SRC) + s * whole(op, SRC_PLANE))
        for u in range(whole(op, UNITS)):
            row = w + NUMBER * (whole(op, WEIGHT) + u * whole(op, ROW))
            up = spread(number(grads, whole(op, DST) + s * whole(op, DST_PLANE) + u))
            for i in range(n):
                product = up * get(row, i)
                put(down, i, product if u == 0 and not more else get(down, i) + product)
