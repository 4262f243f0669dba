"""Convolutions backward in SIMD lanes, a sample at a time.

First the gradient by the pooled outputs is spread over the positions that won, into an image with
kernel - 1 zeros at either side; then come the gradients by weights, blocks of up to three channels
by four taps, and by inputs, blocks of two channels by four inputs in a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.training.cpu import strips
from biasgpu.training.cpu.blocks import (
    make_accumulate,
    make_add_stored,
    make_addresses,
    make_store,
    make_zeros,
)
from biasgpu.training.cpu.convolution import block_of
from biasgpu.training.cpu.lanes import BYTES, above, get, get_mask, put, spread, where, whole
from biasgpu.training.cpu.plan import (
    BIASES,
    BY_WINNERS,
    CHANNELS,
    COLUMNS,
    FAN_IN,
    HEIGHT,
    INPUTS,
    KERNEL,
    MASKS,
    OUTPUTS,
    POOL,
    RELU,
    ROWS,
    SPREAD,
    SPREAD_WIDTH,
    TAPS,
    UNITS,
    WEIGHTS,
    WIDTH,
)
from biasgpu.training.cpu.winners import by_winners


@njit
def spread_out(op: int, y: int, up: int, masks: int, image: int, g: int, fresh: bool) -> None:
    """Write a sample's gradient `up` by the outputs to `image`, and add up that by the biases."""
    units, rows, columns = whole(op, UNITS), whole(op, ROWS), whole(op, COLUMNS)
    across, side = whole(op, SPREAD_WIDTH), whole(op, KERNEL) - 1
    biases, relu = whole(op, BIASES), whole(op, RELU) != 0
    zero = spread(0.0)
    i = 0
    for u in range(units):
        total = zero if fresh else get(g, biases + u)
        plane = u * rows * across + side
        if whole(op, POOL):
            for row in range(rows // 2):
                for column in range(columns // 2):
                    d = get(up, i)
                    place = plane + 2 * row * across + 2 * column
                    d0 = where(get_mask(masks, 4 * i), d, zero)
                    d1 = where(get_mask(masks, 4 * i + 1), d, zero)
                    d2 = where(get_mask(masks, 4 * i + 2), d, zero)
                    d3 = where(get_mask(masks, 4 * i + 3), d, zero)
                    put(image, place, d0)
                    put(image, place + 1, d1)
                    put(image, place + across, d2)
                    put(image, place + across + 1, d3)
                    total = total + ((d0 + d1) + (d2 + d3))
                    i += 1
        else:
            for row in range(rows):
                for column in range(columns):
                    d = get(up, i)
                    if relu:
                        d = where(above(get(y, i), zero), d, zero)
                    put(image, plane + row * across + column, d)
                    total = total + d
                    i += 1
        put(g, biases + u, total)


def _make_weights_block(rows: int, shared: bool) -> Any:
    zeros, accumulate = make_zeros(4 * rows), make_accumulate(rows, 4, shared)
    channels, store, add = make_addresses(rows), make_store(rows, 4), make_add_stored(rows, 4)
    size = 4 if shared else BYTES

    @njit
    def block(op: int, table: int, x: int, image: int, g: int, fresh: bool, u: int) -> None:
        fan_in, height, width = whole(op, FAN_IN), whole(op, ROWS), whole(op, COLUMNS)
        across, row_size = whole(op, SPREAD_WIDTH), whole(op, WIDTH)
        plane, last = height * across, min(rows - 1, whole(op, UNITS) - 1 - u)
        down = channels(image + BYTES * (u * plane + whole(op, KERNEL) - 1), plane, last)
        taps = table + 8 * whole(op, TAPS)
        target = g + BYTES * (whole(op, WEIGHTS) + u * fan_in)
        for tap in range(0, fan_in, 4):
            end = fan_in - 1 - tap
            at = (
                x + size * whole(taps, tap), x + size * whole(taps, tap + min(1, end)),
                x + size * whole(taps, tap + min(2, end)),
                x + size * whole(taps, tap + min(3, end)),
            )  # fmt: skip
            sums = zeros()
            for row in range(height):
                for column in range(width):
                    there, here = row * across + column, row * row_size + column
                    sums = accumulate(sums, down, at, there, here)
            place = target + BYTES * tap
            if not fresh:
                sums = add(sums, place, fan_in, last, 1, end)
            store(sums, place, fan_in, last, 1, end)

    return block


_own_2, _own_3 = _make_weights_block(2, False), _make_weights_block(3, False)
_shared_2 = _make_weights_block(2, True)


@njit(inline="always")
def _by_weights_own(op: int, table: int, x: int, image: int, g: int, fresh: bool) -> None:
    """Store or add (`fresh`) a sample's gradient by the weights at `g`."""
    units = whole(op, UNITS)
    u = np.int64(0)  # not a literal: that would be compiled apart
    while u < units:
        rows = max(block_of(units - u), 2)
        if rows == 3:
            _own_3(op, table, x, image, g, fresh, u)
        else:
            _own_2(op, table, x, image, g, fresh, u)
        u += rows


@njit(inline="always")
def _by_weights_shared(op: int, table: int, x: int, image: int, g: int, fresh: bool) -> None:
    """The same for shared images; most go another way (winners.py), so pairs are enough."""
    for u in range(0, whole(op, UNITS), 2):
        _shared_2(op, table, x, image, g, fresh, u)


_zeros, _accumulate = make_zeros(8), make_accumulate(2, 4, False)
_two, _four, _store = make_addresses(2), make_addresses(4), make_store(2, 4)


@njit
def _by_inputs(op: int, w: int, image: int, down: int) -> None:
    """A sample's gradient by the inputs; kernels of 5 go another way (strips.py)."""
    units, fan_in, kernel = whole(op, UNITS), whole(op, FAN_IN), whole(op, KERNEL)
    height, width = whole(op, HEIGHT), whole(op, WIDTH)
    inner, across = whole(op, ROWS), whole(op, SPREAD_WIDTH)
    square, plane = kernel * kernel, inner * across
    beyond = whole(op, COLUMNS) - 1
    for channel in range(0, whole(op, CHANNELS), 2):
        last = whole(op, CHANNELS) - 1 - channel
        weights = _two(w + BYTES * (whole(op, WEIGHTS) + channel * square), square, last)
        for y in range(height):
            top, bottom = max(0, y - inner + 1), min(kernel, y + 1)
            for x in range(0, width, 4):
                end = width - 1 - x
                left, right = max(0, x - beyond), min(kernel, x + 4)
                at = _four(image + BYTES * (x + kernel - 1), 1, end)
                sums = _zeros()
                for u in range(units):
                    for i in range(top, bottom):
                        for j in range(left, right):
                            tap = u * fan_in + i * kernel + j
                            place = u * plane + (y - i) * across - j
                            sums = _accumulate(sums, weights, at, tap, place)
                place = down + BYTES * ((channel * height + y) * width + x)
                _store(sums, place, height * width, last, 1, end)


@njit(inline="always")
def backward(
    op: int, table: int, w: int, x: int, samples: int, y: int, masks: int, images: int, up: int,
    down: int, n: int, g: int, fresh: bool, first: bool,
) -> None:  # fmt: skip
    """All gradients of a convolution; arguments as in dense.py and `forward`.

    Args (in numba):
        images: address of the images of all operations, whose sides are 0.
        g: address of the gradient by all parameters.
        first: whether `x` is shared, and nobody wants the gradient by it.
    """
    inputs, outputs = whole(op, INPUTS), whole(op, OUTPUTS)
    image = images + BYTES * whole(op, SPREAD)
    mine = masks + 2 * whole(op, MASKS) * n
    for s in range(n):
        new = fresh and s == 0
        at = BYTES * s * outputs
        if whole(op, BY_WINNERS):
            start = x + 4 * whole(samples, s) * inputs
            by_winners(op, start, up + at, mine + 8 * s * outputs, g, new)
            continue
        spread_out(op, y + at, up + at, mine + 8 * s * outputs, image, g, new)
        if first:
            start = x + 4 * whole(samples, s) * inputs
            _by_weights_shared(op, table, start, image, g, new)
        else:
            start = BYTES * s * inputs
            _by_weights_own(op, table, x + start, image, g, new)
            if whole(op, KERNEL) == strips.KERNEL:
                strips.by_inputs(op, w, image, down + start)
            else:
                _by_inputs(op, w, image, down + start)
