"""The forward pass for sixteen networks at once, keeping what the backward pass needs.

As the engine's (`biasgpu.engines.cpu`), but sums in whatever order is fastest: from the bias up.
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
    QUADS,
    QUADS_START,
    RELU_AFTER,
    UNITS,
    WIDTH,
)
from biasgpu.engines.cpu.quads import keep4, load4, madd4, own, relu4, shared, zero4
from biasgpu.engines.cpu.simd import load, maximum, relu, splat_like, store
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.measures.cpu.select import where_above


def _make_dense(fetch: Any) -> Any:
    @njit
    @distinct(fetch)
    def dense(x: Any, y: Any, w: Any, names: Any, op: Any, n_samples: int) -> None:
        """One dense layer: inputs and outputs `[sample, unit, lane]`, from x[0] and y[0] on.

        Args (in numba):
            w: weights, `[unit, (inputs, bias), lane]` from the operation's FIRST_BLOCK on.
        """
        n_in, units = op[INPUTS], op[UNITS]
        columns = n_in + 1
        for first in range(0, units, 4):
            if names[STOP]:
                return
            # The last four may be fewer: the last unit then is computed several times.
            last = min(first + 3, units - 1)
            s1, s2, s3 = min(1, last - first), min(2, last - first), last - first
            start = op[FIRST_BLOCK] + first * columns
            slots = (start, start + s1 * columns, start + s2 * columns, start + s3 * columns)
            bias = load4(w, slots, n_in)
            for a in range(0, n_samples, 2):
                b = min(a + 1, n_samples - 1)
                out_a, out_b = bias, bias
                for k in range(n_in):
                    four = load4(w, slots, k)
                    out_a = madd4(four, fetch(w, x, a * n_in + k), out_a)
                    out_b = madd4(four, fetch(w, x, b * n_in + k), out_b)
                if op[RELU_AFTER]:
                    out_a, out_b = relu4(out_a), relu4(out_b)
                d1, d2, d3 = s1 * LANES_F32, s2 * LANES_F32, s3 * LANES_F32
                keep4(y, (a * units + first) * LANES_F32, d1, d2, d3, out_a)
                keep4(y, (b * units + first) * LANES_F32, d1, d2, d3, out_b)

    return dense


@njit(forceinline=True)
def _finish(
    y: Any, wins: Any, w: Any, sums: Any, place: int, left: int, pooled: bool, rectified: bool
) -> None:
    """Pool, rectify and store four sums; of a pooling window also which of them is largest."""
    at = place * LANES_F32
    if pooled:
        best, first = sums[0], splat_like(w, w.dtype.type(0.0))
        first = where_above(sums[1], best, splat_like(w, w.dtype.type(1.0)), first)
        best = maximum(sums[1], best)
        first = where_above(sums[2], best, splat_like(w, w.dtype.type(2.0)), first)
        best = maximum(sums[2], best)
        first = where_above(sums[3], best, splat_like(w, w.dtype.type(3.0)), first)
        best = maximum(sums[3], best)
        store(wins, at, first)
        store(y, at, relu(best) if rectified else best)
        return
    out = relu4(sums) if rectified else sums
    d1, d2, d3 = min(1, left), min(2, left), min(3, left)
    keep4(y, at, d1 * LANES_F32, d2 * LANES_F32, d3 * LANES_F32, out)


def _make_convolution(fetch: Any) -> Any:
    @njit(forceinline=True)
    def sums_of(x: Any, at: Any, op: Any, w: Any, c0: int, c1: int) -> Any:
        """Two channels' sums at four positions, from their biases up."""
        kernel, row_size = op[KERNEL], op[WIDTH]
        plane = op[HEIGHT] * row_size
        bias_0, bias_1 = load(w, c0 + op[FAN_IN] * LANES_F32), load(w, c1 + op[FAN_IN] * LANES_F32)
        total_0, total_1 = (bias_0, bias_0, bias_0, bias_0), (bias_1, bias_1, bias_1, bias_1)
        tap = 0
        for channel in range(op[CHANNELS]):
            for row in range(kernel):
                offset = channel * plane + row * row_size
                for column in range(kernel):
                    i = offset + column
                    four = (
                        fetch(w, x, at[0] + i),
                        fetch(w, x, at[1] + i),
                        fetch(w, x, at[2] + i),
                        fetch(w, x, at[3] + i),
                    )
                    total_0 = madd4(four, load(w, c0 + tap), total_0)
                    total_1 = madd4(four, load(w, c1 + tap), total_1)
                    tap += LANES_F32
        return total_0, total_1

    @njit
    @distinct(fetch)
    def convolution(
        x: Any, y: Any, wins: Any, w: Any, names: Any, op: Any, quads: Any, n_samples: int
    ) -> None:
        """One convolution with the ReLU and 2x2 max-pool behind it; `wins` like `y`."""
        units, columns = op[UNITS], op[FAN_IN] + 1
        positions = op[OUTPUTS] // units
        pooled, rectified = op[POOL_SIZE] > 0, op[RELU_AFTER] > 0
        step = 1 if pooled else 4
        for first in range(0, units, 2):
            if names[STOP]:
                return
            pair = min(2, units - first)
            c0 = (op[FIRST_BLOCK] + first * columns) * LANES_F32
            c1 = c0 + columns * LANES_F32
            for sample in range(n_samples):
                origin = sample * op[INPUTS]
                place = sample * op[OUTPUTS] + first * positions
                left = positions - 1
                for quad in range(op[QUADS]):
                    q = op[QUADS_START] + 4 * quad
                    at = (
                        origin + quads[q],
                        origin + quads[q + 1],
                        origin + quads[q + 2],
                        origin + quads[q + 3],
                    )
                    if pair == 2:
                        sums, sums_1 = sums_of(x, at, op, w, c0, c1)
                        _finish(y, wins, w, sums_1, place + positions, left, pooled, rectified)
                    else:
                        sums, _ = sums_of(x, at, op, w, c0, c0)  # LLVM drops what is unused
                    _finish(y, wins, w, sums, place, left, pooled, rectified)
                    place, left = place + step, left - step

    return convolution


dense_own, dense_shared = _make_dense(own), _make_dense(shared)
convolution_own, convolution_shared = _make_convolution(own), _make_convolution(shared)


@njit
def pool(x: Any, y: Any, wins: Any, op: Any, n_samples: int) -> None:
    """A max-pool on its own; `wins` receives the number of each window's first largest element."""
    size = op[POOL_SIZE]
    rows, columns = op[HEIGHT] // size, op[WIDTH] // size
    out = 0
    for plane in range(n_samples * op[CHANNELS]):
        for row in range(rows):
            for column in range(columns):
                corner = (plane * op[HEIGHT] + row * size) * op[WIDTH] + column * size
                best = load(x, corner * LANES_F32)
                first = zero4(x)[0]
                for k in range(1, size * size):
                    i = corner + k // size * op[WIDTH] + k % size
                    value = load(x, i * LANES_F32)
                    first = where_above(value, best, splat_like(x, x.dtype.type(k)), first)
                    best = maximum(value, best)
                store(y, out * LANES_F32, best)
                store(wins, out * LANES_F32, first)
                out += 1


@njit
def pad(x: Any, y: Any, op: Any, n_samples: int) -> None:
    """Zeros around each plane."""
    edge = op[PADDING]
    rows, columns = op[HEIGHT] + 2 * edge, op[WIDTH] + 2 * edge
    for i in range(n_samples * op[OUTPUTS]):
        store(y, i * LANES_F32, zero4(x)[0])
    for plane in range(n_samples * op[CHANNELS]):
        for row in range(op[HEIGHT]):
            for column in range(op[WIDTH]):
                inside = (plane * rows + row + edge) * columns + column + edge
                i = (plane * op[HEIGHT] + row) * op[WIDTH] + column
                store(y, inside * LANES_F32, load(x, i * LANES_F32))


@njit
def rectify(x: Any, y: Any, n: int) -> None:
    """A ReLU on its own, of `n` vectors."""
    for i in range(n):
        store(y, i * LANES_F32, relu(load(x, i * LANES_F32)))
