"""The backward pass to the input for sixteen networks at once.

A convolution's is a convolution of the gradients by its sums (zero where a pool took another) with
the kernel turned round; the gradients lie in rows with zeros on both sides, so that no column needs
a test. In the first layer nothing is stored: what is wanted is the length of the gradient, whose
squares are added up in float64.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.distinct import distinct
from biasgpu.engines.cpu.program import (
    CHANNELS,
    FAN_IN,
    FIRST_BLOCK,
    HEIGHT,
    INPUTS,
    KERNEL,
    OUTPUTS,
    PADDING,
    POOL_SIZE,
    UNITS,
    WIDTH,
)
from biasgpu.engines.cpu.quads import keep4, madd4, zero4
from biasgpu.engines.cpu.simd import add_to_wide, load, load_splat, splat_like, store, widen
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.measures.cpu.select import where_above, where_equal


@njit
def silence(g: Any, y: Any, n: int) -> None:
    """Take out gradients where a rectifier gave 0: `n` vectors of them and of its outputs."""
    zero = zero4(g)[0]
    for i in range(n):
        at = i * LANES_F32
        store(g, at, where_above(load(y, at), zero, load(g, at), zero))


@njit(forceinline=True)
def _add_squares(squares: Any, at: int, passes: Any, place: int, n: int, values: Any) -> None:
    """Add the squares of the first `n` of four gradients, as far as the input receives them."""
    total = widen(zero4(passes)[0])
    for t in range(4):
        if t < n:
            value = widen(values[t] * load_splat(passes, passes, place + t))
            total = total + value * value
    add_to_wide(squares, at, total)


def _make_dense(first: bool) -> Any:
    @njit
    @distinct("first" if first else "inner")
    def dense(
        g: Any, out: Any, w: Any, names: Any, op: Any, n_samples: int, passes: Any, squares: Any
    ) -> None:
        """Through one dense layer: `g` by its sums, `out` by its inputs, `[sample, unit, lane]`."""
        n_in, units = op[INPUTS], op[UNITS]
        columns = n_in + 1
        for k in range(0, n_in, 4):
            if names[STOP]:
                return
            left = min(4, n_in - k)
            d1 = min(1, left - 1) * LANES_F32
            d2, d3 = min(2, left - 1) * LANES_F32, (left - 1) * LANES_F32
            for a in range(0, n_samples, 2):
                b = min(a + 1, n_samples - 1)
                sums_a, sums_b = zero4(w), zero4(w)
                at = (op[FIRST_BLOCK] + k) * LANES_F32
                for u in range(units):
                    four = (load(w, at), load(w, at + d1), load(w, at + d2), load(w, at + d3))
                    sums_a = madd4(four, load(g, (a * units + u) * LANES_F32), sums_a)
                    sums_b = madd4(four, load(g, (b * units + u) * LANES_F32), sums_b)
                    at += columns * LANES_F32
                if first:
                    _add_squares(squares, a * LANES_F32, passes, a * n_in + k, left, sums_a)
                    if b != a:
                        _add_squares(squares, b * LANES_F32, passes, b * n_in + k, left, sums_b)
                else:
                    keep4(out, (a * n_in + k) * LANES_F32, d1, d2, d3, sums_a)
                    keep4(out, (b * n_in + k) * LANES_F32, d1, d2, d3, sums_b)

    return dense


@njit
def _spread(g: Any, at: int, wins: Any, win_at: int, spread: Any, op: Any) -> None:
    """One sample's gradients by a convolution's sums, in rows with zeros on both sides.

    Args (in numba):
        g, wins: gradients by its outputs and the winners of its windows, from vectors `at`,
            `win_at` on.
    """
    side = op[KERNEL] - 1
    rows, columns = op[HEIGHT] - side, op[WIDTH] - side
    width = columns + 2 * side
    zero = zero4(g)[0]
    for i in range(op[UNITS] * rows * width):
        store(spread, i * LANES_F32, zero)
    pooled = op[POOL_SIZE] > 0
    if pooled:
        rows, columns = rows // 2, columns // 2
    for unit in range(op[UNITS]):
        for row in range(rows):
            for column in range(columns):
                i = (unit * rows + row) * columns + column
                value = load(g, (at + i) * LANES_F32)
                if pooled:
                    first = load(wins, (win_at + i) * LANES_F32)
                    corner = (unit * (op[HEIGHT] - side) + 2 * row) * width + 2 * column + side
                    for k in range(4):
                        place = (corner + k // 2 * width + k % 2) * LANES_F32
                        mine = where_equal(first, splat_like(g, g.dtype.type(k)), value)
                        store(spread, place, mine)
                else:
                    store(spread, ((unit * rows + row) * width + column + side) * LANES_F32, value)


def _make_convolution(first: bool) -> Any:
    @njit(forceinline=True)
    def sums_of(spread: Any, w: Any, op: Any, row: int, column: int, c0: int, c1: int) -> Any:
        """Gradients by four inputs in a row, of the channels whose weights start at `c0`, `c1`."""
        kernel = op[KERNEL]
        rows, width = op[HEIGHT] - kernel + 1, op[WIDTH] + kernel - 1
        low, high = max(0, row - rows + 1), min(kernel - 1, row)
        sums_0, sums_1 = zero4(w), zero4(w)
        for unit in range(op[UNITS]):
            for i in range(low, high + 1):
                tap = (unit * (op[FAN_IN] + 1) + i * kernel) * LANES_F32
                at = ((unit * rows + row - i) * width + column + kernel - 1) * LANES_F32
                # Going through the kernel's row, each vector moves one place up.
                g1, g2 = load(spread, at + LANES_F32), load(spread, at + 2 * LANES_F32)
                g3 = load(spread, at + 3 * LANES_F32)
                for _ in range(kernel):
                    g0 = load(spread, at)
                    four = (g0, g1, g2, g3)
                    sums_0 = madd4(four, load(w, c0 + tap), sums_0)
                    sums_1 = madd4(four, load(w, c1 + tap), sums_1)
                    g1, g2, g3 = g0, g1, g2
                    tap += LANES_F32
                    at -= LANES_F32
        return sums_0, sums_1

    @njit(forceinline=True)
    def finish(
        out: Any, sums: Any, place: int, left: int, passes: Any, squares: Any, square_at: int
    ) -> None:
        if first:
            _add_squares(squares, square_at, passes, place, left, sums)
            return
        store(out, place * LANES_F32, sums[0])
        if left > 1:
            store(out, (place + 1) * LANES_F32, sums[1])
        if left > 2:
            store(out, (place + 2) * LANES_F32, sums[2])
        if left > 3:
            store(out, (place + 3) * LANES_F32, sums[3])

    @njit
    @distinct("first" if first else "inner")
    def convolution(
        g: Any, wins: Any, out: Any, spread: Any, w: Any, names: Any, op: Any, n_samples: int,
        passes: Any, squares: Any,
    ) -> None:  # fmt: skip
        """Through one convolution; arguments as of `dense`, `spread` is scratch."""
        plane, taps = op[HEIGHT] * op[WIDTH], op[KERNEL] * op[KERNEL] * LANES_F32
        for sample in range(n_samples):
            if names[STOP]:
                return
            at = sample * op[OUTPUTS]
            _spread(g, at, wins, at, spread, op)
            for channel in range(0, op[CHANNELS], 2):
                pair = min(2, op[CHANNELS] - channel)
                c0 = op[FIRST_BLOCK] * LANES_F32 + channel * taps
                for row in range(op[HEIGHT]):
                    place = sample * op[INPUTS] + channel * plane + row * op[WIDTH]
                    for column in range(0, op[WIDTH], 4):
                        left = min(4, op[WIDTH] - column)
                        here = sample * LANES_F32
                        if pair == 2:
                            sums, sums_1 = sums_of(spread, w, op, row, column, c0, c0 + taps)
                            other = place + plane + column
                            finish(out, sums_1, other, left, passes, squares, here)
                        else:
                            sums, _ = sums_of(spread, w, op, row, column, c0, c0)
                        finish(out, sums, place + column, left, passes, squares, here)

    return convolution


dense_inner, dense_first = _make_dense(False), _make_dense(True)
convolution_inner, convolution_first = _make_convolution(False), _make_convolution(True)


@njit
def unpool(g: Any, wins: Any, out: Any, op: Any, n_samples: int) -> None:
    """Through a max-pool on its own."""
    size = op[POOL_SIZE]
    rows, columns = op[HEIGHT] // size, op[WIDTH] // size
    for i in range(n_samples * op[INPUTS]):
        store(out, i * LANES_F32, zero4(g)[0])
    window = 0
    for plane in range(n_samples * op[CHANNELS]):
        for row in range(rows):
            for column in range(columns):
                corner = (plane * op[HEIGHT] + row * size) * op[WIDTH] + column * size
                value, first = load(g, window * LANES_F32), load(wins, window * LANES_F32)
                for k in range(size * size):
                    place = (corner + k // size * op[WIDTH] + k % size) * LANES_F32
                    store(out, place, where_equal(first, splat_like(g, g.dtype.type(k)), value))
                window += 1


@njit
def unpad(g: Any, out: Any, op: Any, n_samples: int) -> None:
    """Through zeros around each plane."""
    edge = op[PADDING]
    rows, columns = op[HEIGHT] + 2 * edge, op[WIDTH] + 2 * edge
    for plane in range(n_samples * op[CHANNELS]):
        for row in range(op[HEIGHT]):
            for column in range(op[WIDTH]):
                inside = (plane * rows + row + edge) * columns + column + edge
                i = (plane * op[HEIGHT] + row) * op[WIDTH] + column
                store(out, i * LANES_F32, load(g, inside * LANES_F32))
