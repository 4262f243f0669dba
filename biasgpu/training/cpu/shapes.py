"""Layers without parameters that stand alone, forward and backward: pools, rectifiers, padding."""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu import program
from biasgpu.training.cpu.lanes import above, equal, get, larger, put, rectify, spread, where, whole
from biasgpu.training.cpu.plan import CHANNELS, HEIGHT, INPUTS, KIND, OUTPUTS, PADDING, POOL, WIDTH


@njit
def forward(op: int, x: int, y: int, n: int) -> None:
    """Outputs `y` of inputs `x`, both `[sample, ...]`."""
    if whole(op, KIND) == program.RELU:
        for i in range(n * whole(op, OUTPUTS)):
            put(y, i, rectify(get(x, i)))
    elif whole(op, KIND) == program.POOL:
        _pool(op, x, y, n)
    else:
        _pad(op, x, y, n)


@njit
def backward(op: int, x: int, y: int, up: int, down: int, n: int) -> None:
    """The gradient `down` by the inputs from that, `up`, by the outputs."""
    zero = spread(0.0)
    if whole(op, KIND) == program.RELU:
        for i in range(n * whole(op, OUTPUTS)):
            put(down, i, where(above(get(x, i), zero), get(up, i), zero))
    elif whole(op, KIND) == program.POOL:
        for i in range(n * whole(op, INPUTS)):
            put(down, i, zero)
        _unpool(op, x, y, up, down, n)
    else:
        _crop(op, up, down, n)


@njit
def _pool(op: int, x: int, y: int, n: int) -> None:
    height, width, size = whole(op, HEIGHT), whole(op, WIDTH), whole(op, POOL)
    out = 0
    for plane in range(n * whole(op, CHANNELS)):
        for row in range(height // size):
            for column in range(width // size):
                corner = (plane * height + row * size) * width + column * size
                best = get(x, corner)
                for i in range(size):
                    for j in range(size):
                        best = larger(best, get(x, corner + i * width + j))
                put(y, out, best)
                out += 1


@njit
def _unpool(op: int, x: int, y: int, up: int, down: int, n: int) -> None:
    height, width, size = whole(op, HEIGHT), whole(op, WIDTH), whole(op, POOL)
    zero: Any = spread(0.0)
    out = 0
    for plane in range(n * whole(op, CHANNELS)):
        for row in range(height // size):
            for column in range(width // size):
                corner = (plane * height + row * size) * width + column * size
                best, left = get(y, out), get(up, out)
                for i in range(size):
                    for j in range(size):
                        place = corner + i * width + j
                        won = equal(get(x, place), best)
                        put(down, place, where(won, left, zero))
                        left = where(won, zero, left)  # the first largest takes it all
                out += 1


@njit
def _pad(op: int, x: int, y: int, n: int) -> None:
    height, width, pad = whole(op, HEIGHT), whole(op, WIDTH), whole(op, PADDING)
    zero = spread(0.0)
    out = 0
    for plane in range(n * whole(op, CHANNELS)):
        for row in range(-pad, height + pad):
            for column in range(-pad, width + pad):
                if 0 <= row < height and 0 <= column < width:
                    put(y, out, get(x, (plane * height + row) * width + column))
                else:
                    put(y, out, zero)
                out += 1


@njit
def _crop(op: int, up: int, down: int, n: int) -> None:
    height, width, pad = whole(op, HEIGHT), whole(op, WIDTH), whole(op, PADDING)
    i = 0
    for plane in range(n * whole(op, CHANNELS)):
        for row in range(height):
            for column in range(width):
                there = (plane * (height + 2 * pad) + row + pad) * (width + 2 * pad) + column + pad
                put(down, i, get(up, there))
                i += 1
