"""Convolutions in SIMD lanes, with the ReLU and 2x2 max-pool that follow them.

Two channels by four output positions at a time; the four are one pooling window where a pool
follows. Sums run as the law prescribes: one kernel row, then the rows' sums, then the bias. (The
bias is added after the maximum: rounding is monotone, so that changes nothing.) Of many input
channels, screening adds up each as a whole instead: fewer additions, and hardly more roundings
one after the other (program.py).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.distinct import distinct
from biasgpu.engines.cpu.program import (
    BLOCKS,
    BY_CHANNEL,
    CHANNELS,
    COLUMNS,
    FAN_IN,
    FIRST_BLOCK,
    HEIGHT,
    INPUTS,
    KERNEL,
    OUTPUTS,
    POOL_SIZE,
    QUADS,
    QUADS_START,
    RELU_AFTER,
    SCALE,
    SLOT_STEP,
    UNITS,
    WIDTH,
)
from biasgpu.engines.cpu.quads import (
    LOWEST,
    add1,
    add4,
    keep4,
    madd4,
    max4,
    minus4,
    own,
    relu4,
    shared,
    zero4,
)
from biasgpu.engines.cpu.ranges import note_range, raise_ceiling, unit_bounds
from biasgpu.engines.cpu.simd import load, maximum, negative, relu, splat_like, store
from biasgpu.engines.cpu.weights import draw_units, lanes, screening
from biasgpu.engines.cpu.workspace import STOP


@njit(forceinline=True)
def _finish(
    y: Any, w: Any, sums: Any, bias: Any, place: int, left: int, pooled: bool, rectified: bool
) -> Any:
    """Pool, bias, ReLU, store at `place`; returns the largest and smallest (sign turned) before
    ReLU.

    Args (in numba):
        left: outputs from this one to the channel's last, where four are stored.
    """
    width = lanes(w)
    if pooled:
        out = max4(sums) + bias
        store(y, place * width, relu(out) if rectified else out)
        return out, negative(out)
    sums = add1(sums, bias)
    out4 = relu4(sums) if rectified else sums
    d1, d2, d3 = min(1, left), min(2, left), min(3, left)
    keep4(y, place * width, d1 * width, d2 * width, d3 * width, out4)
    return max4(sums), max4(minus4(sums))


def _make_convolution(fetch: Any) -> Any:
    @njit(forceinline=True)
    def _two_channels(x: Any, at: Any, op: Any, w: Any, c0: int, c1: int) -> Any:
        """The sums of the channels whose weights start at `c0` and `c1`, at four positions."""
        width = lanes(w)
        total_0, total_1 = zero4(w), zero4(w)
        kernel, row_size = op[KERNEL], op[WIDTH]
        plane = op[HEIGHT] * row_size
        tap = 0
        by_channel = screening(w) and op[BY_CHANNEL] > 0
        for channel in range(op[CHANNELS]):
            part_0, part_1 = zero4(w), zero4(w)
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
                    part_0 = madd4(four, load(w, c0 + tap), part_0)
                    part_1 = madd4(four, load(w, c1 + tap), part_1)
                    tap += width
                if not by_channel:
                    total_0, total_1 = add4(total_0, part_0), add4(total_1, part_1)
                    part_0, part_1 = zero4(w), zero4(w)
            if by_channel:
                total_0, total_1 = add4(total_0, part_0), add4(total_1, part_1)
        return total_0, total_1

    @njit
    @distinct(fetch)
    def convolution(
        x: Any,
        y: Any,
        w: Any,
        names: Any,
        seed: Any,
        op: Any,
        constants: Any,
        quads: Any,
        family: int,
        n_samples: int,
        bounds: Any,
        ranges: Any,
        ceilings: Any,
    ) -> Any:
        """One convolution for all lanes; arguments and result as in dense.py."""
        width = lanes(w)
        units, columns, blocks = op[UNITS], op[COLUMNS], op[BLOCKS]
        positions = op[OUTPUTS] // units
        pooled, rectified = op[POOL_SIZE] > 0, op[RELU_AFTER] > 0
        step = 1 if pooled else 4
        zero, low = splat_like(w, w.dtype.type(0.0)), splat_like(w, w.dtype.type(LOWEST))
        worst = zero
        stride = columns + (-columns) % SLOT_STEP
        second = stride * width
        for first in range(0, units, 2):
            if names[STOP]:
                return worst
            pair = min(2, units - first)
            block = op[FIRST_BLOCK] + first * blocks
            draw_units(w, stride, names, block, blocks, pair, family, constants[SCALE], seed)
            bias_0, bias_1 = zero, zero
            if columns > op[FAN_IN]:
                bias_0 = load(w, op[FAN_IN] * width)
                bias_1 = load(w, second + op[FAN_IN] * width)
            error_0, error_1 = zero, zero
            if screening(w):
                other = stride if pair == 2 else 0
                errors = unit_bounds(w, (0, other, 0, other), op, constants, bounds)
                error_0, error_1 = errors[0], errors[1]
                worst = maximum(worst, maximum(error_0, error_1))
            top_0, top_1 = low, low
            bottom_0, bottom_1 = low, low
            for sample in range(n_samples):
                origin = sample * op[INPUTS]
                place = sample * op[OUTPUTS] + first * positions
                left = positions - 1
                ceiling = low
                for quad in range(op[QUADS]):
                    q = op[QUADS_START] + 4 * quad
                    at = (
                        origin + quads[q],
                        origin + quads[q + 1],
                        origin + quads[q + 2],
                        origin + quads[q + 3],
                    )
                    if pair == 2:
                        sums, sums_1 = _two_channels(x, at, op, w, 0, second)
                        high, deep = _finish(
                            y, w, sums_1, bias_1, place + positions, left, pooled, rectified
                        )
                        top_1, bottom_1 = maximum(top_1, high), maximum(bottom_1, deep)
                        ceiling = maximum(ceiling, high + error_1)
                    else:
                        sums, _ = _two_channels(x, at, op, w, 0, 0)  # LLVM drops what is unused
                    high, deep = _finish(y, w, sums, bias_0, place, left, pooled, rectified)
                    top_0, bottom_0 = maximum(top_0, high), maximum(bottom_0, deep)
                    ceiling = maximum(ceiling, high + error_0)
                    place, left = place + step, left - step
                if screening(w):
                    raise_ceiling(ceilings, sample * width, ceiling)
            if screening(w):
                note_range(w, op, ranges, first, error_0, top_0, bottom_0)
                if pair == 2:
                    note_range(w, op, ranges, first + 1, error_1, top_1, bottom_1)
        return worst

    return convolution


convolution_own = _make_convolution(own)  # inputs are activations
convolution_shared = _make_convolution(shared)  # inputs are the task's
