"""The passes of one sample that are no convolutions, in eight lanes of float64."""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.batch_norm_program import (
    CHANNELS,
    COLUMNS,
    DST_HEIGHT,
    DST_PAD,
    DST_WIDTH,
    FACTOR,
    FAN_IN,
    FORK_PAD,
    FORKED,
    HEIGHT,
    KERNEL,
    PAD,
    RELU,
    SCALED,
    SLOT,
    WIDTH,
)
from biasgpu.engines.cpu.batch_norm_taps import (
    NUMBER,
    VECTOR,
    Tile,
    everywhere,
    put,
    shared_number,
    vector,
)
from biasgpu.engines.cpu.distinct import distinct
from biasgpu.engines.cpu.memory import peek, peek_int
from biasgpu.engines.cpu.simd import maximum, relu
from biasgpu.reference import RUN_LENGTH


@njit
def clear_margins(channels: int, height: int, width: int, pad: int, at: Any) -> None:
    """Zeros in the columns around an image's rows."""
    zero, row_size = everywhere(0.0), (width + 2 * pad) * VECTOR
    for _ in range(channels * height):
        for column in range(pad):
            put(at + column * VECTOR, zero)
            put(at + (pad + width + column) * VECTOR, zero)
        at += row_size


def _make_expand(*, shared: bool) -> Any:
    @njit
    @distinct("shared" if shared else "lanes")
    def expand(op: Any, x: Any, y: Any) -> None:
        """An input with zeros around its rows, as the pass reads it.

        Args (in numba), all of them addresses:
            op: the pass's row of integers.
            x: the input: a number for all lanes, or one for each.
            y: where it goes.
        """
        channels, height, width = peek_int(op, CHANNELS), peek_int(op, HEIGHT), peek_int(op, WIDTH)
        pad = peek_int(op, PAD)
        clear_margins(channels, height, width, pad, y)
        y += pad * VECTOR
        for _ in range(channels * height):
            for column in range(width):
                if shared:
                    put(y + column * VECTOR, shared_number(x + column * NUMBER))
                else:
                    put(y + column * VECTOR, vector(x + column * VECTOR))
            x += width * (NUMBER if shared else VECTOR)
            y += (width + 2 * pad) * VECTOR

    return expand


expand_shared, expand_lanes = _make_expand(shared=True), _make_expand(shared=False)


@njit
def add_up(op: Any, x: Any, sums: Any) -> None:
    """A sample's part of every channel's sum and sum of squares: the law's rows."""
    width = peek_int(op, WIDTH)
    x += peek_int(op, PAD) * VECTOR
    for channel in range(peek_int(op, CHANNELS)):
        at = sums + 2 * channel * VECTOR
        for _ in range(peek_int(op, HEIGHT)):
            total, squares = everywhere(0.0), everywhere(0.0)
            for column in range(width):
                value = vector(x + column * VECTOR)
                total = total + value
                squares = squares + value * value
            put(at, vector(at) + total)
            put(at + VECTOR, vector(at + VECTOR) + squares)
            x += (width + 2 * peek_int(op, PAD)) * VECTOR


def _make_element(*, shared: bool) -> Any:
    @njit
    @distinct("shared" if shared else "lanes")
    def element(op: Any, factors: Any, x: Any, y: Any, fork: Any, affine: Any) -> None:
        """Batch norm, ReLU, what joins, a factor: those that the pass has, in this order.

        Args (in numba), all of them addresses:
            op, factors: the pass's rows of integers and floats.
            x, y, fork: the sample's input and output, which may be one, and what joins.
            affine: what the batch norm's first channel multiplies with and adds.
        """
        channels, height, width = peek_int(op, CHANNELS), peek_int(op, HEIGHT), peek_int(op, WIDTH)
        pad, dst_pad, fork_pad = peek_int(op, PAD), peek_int(op, DST_PAD), peek_int(op, FORK_PAD)
        normed, rectified = peek_int(op, SLOT) >= 0, peek_int(op, RELU) > 0
        joined, scaled = peek_int(op, FORKED) >= 0, peek_int(op, SCALED) > 0
        zero = everywhere(0.0)
        times, plus, factor = everywhere(1.0), zero, everywhere(peek(factors, FACTOR))
        if x != y:
            clear_margins(channels, height, width, dst_pad, y)
        x += pad * VECTOR
        y += dst_pad * VECTOR
        fork += fork_pad * VECTOR
        for channel in range(channels):
            if normed:
                at = affine + 2 * channel * (NUMBER if shared else VECTOR)
                if shared:
                    times, plus = shared_number(at), shared_number(at + NUMBER)
                else:
                    times, plus = vector(at), vector(at + VECTOR)
            for _ in range(height):
                for column in range(width):
                    value = vector(x + column * VECTOR)
                    if normed:
                        value = value * times + plus
                    if rectified:
                        value = relu(value)
                    if joined:
                        value = value + vector(fork + column * VECTOR)
                    if scaled:
                        value = value * factor
                    put(y + column * VECTOR, value)
                x += (width + 2 * pad) * VECTOR
                y += (width + 2 * dst_pad) * VECTOR
                fork += (width + 2 * fork_pad) * VECTOR

    return element


element_lanes, element_shared = _make_element(shared=False), _make_element(shared=True)


@njit
def max_pool(op: Any, x: Any, y: Any) -> None:
    """The maxima of windows; incomplete ones are dropped."""
    size, pad, dst_pad = peek_int(op, KERNEL), peek_int(op, PAD), peek_int(op, DST_PAD)
    height, width = peek_int(op, DST_HEIGHT), peek_int(op, DST_WIDTH)
    row_size = (peek_int(op, WIDTH) + 2 * pad) * VECTOR
    clear_margins(peek_int(op, CHANNELS), height, width, dst_pad, y)
    x += pad * VECTOR
    y += dst_pad * VECTOR
    for _ in range(peek_int(op, CHANNELS)):
        for row in range(height):
            for column in range(width):
                corner = x + row * size * row_size + column * size * VECTOR
                value = vector(corner)
                for i in range(size):
                    for k in range(size):
                        value = maximum(value, vector(corner + i * row_size + k * VECTOR))
                put(y + column * VECTOR, value)
            y += (width + 2 * dst_pad) * VECTOR
        x += peek_int(op, HEIGHT) * row_size


def _make_dense(*, shared: bool) -> Any:
    tile = Tile(1, shared=shared)
    zeros, tap, add, add_bias, keep = tile.zeros, tile.tap, tile.add, tile.add_bias, tile.keep
    size = NUMBER if shared else VECTOR

    @njit
    @distinct("shared" if shared else "lanes")
    def dense(op: Any, x: Any, w: Any, stride: Any, units: int, y: Any) -> None:
        """Some units of a dense layer.

        Args (in numba):
            op, x, w, y: addresses: the pass, inputs, weights of the first unit, its output.
            stride: bytes from a unit's weights to the next one's.
            units: how many.
        """
        fan_in = peek_int(op, FAN_IN)
        for unit in range(0, units, 2):
            second = min(unit + 1, units - 1)
            w0, w1 = w + unit * stride, w + second * stride
            totals = zeros()
            for start in range(0, fan_in, RUN_LENGTH):
                part = zeros()
                for k in range(start, min(start + RUN_LENGTH, fan_in)):
                    part = tap(x + k * VECTOR, w0 + k * size, w1 + k * size, part)
                totals = add(totals, part)
            if peek_int(op, COLUMNS) > fan_in:
                totals = add_bias(totals, w0 + fan_in * size, w1 + fan_in * size)
            keep(totals, y + unit * VECTOR, y + second * VECTOR)

    return dense


dense_lanes, dense_shared = _make_dense(shared=False), _make_dense(shared=True)
