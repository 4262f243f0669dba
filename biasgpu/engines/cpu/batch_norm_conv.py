"""Convolutions of a pass: all units of one sample, in eight lanes.

Two units by up to four positions of a row at a time, so that an input is read once for both units
and the sums wait for none of themselves. Kernel rows that lie in the padding above or below add
zeros, and are left out. Where a batch norm follows, the row's sums of outputs and of their squares
are taken along.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.batch_norm_program import (
    CHANNELS,
    COLUMNS,
    DST_HEIGHT,
    DST_PAD,
    DST_WIDTH,
    FAN_IN,
    HEIGHT,
    KERNEL,
    OUT_HEIGHT,
    OUT_WIDTH,
    PADDING,
    POOLED,
    WIDTH,
)
from biasgpu.engines.cpu.batch_norm_taps import NUMBER, VECTOR, Tile, everywhere, put, vector
from biasgpu.engines.cpu.distinct import distinct
from biasgpu.engines.cpu.memory import peek_int

KEEP, POOL_FIRST, POOL_MORE, DROP = range(4)  # what becomes of a row's outputs


def _make_tile(width: int, *, shared: bool, three: bool) -> Any:
    """The sums of two units at `width` positions, and what becomes of them."""
    tile = Tile(width, shared=shared)
    zeros, tap, three_taps, add = tile.zeros, tile.tap, tile.three, tile.add
    add_bias, note, keep = tile.add_bias, tile.note, tile.keep
    pool, pool_more = tile.pool, tile.pool_more
    size = NUMBER if shared else VECTOR

    @njit(forceinline=True)
    @distinct(width, "shared" if shared else "lanes", "three" if three else "any")
    def at_positions(
        x: Any, plane: Any, row_size: Any, channels: int, kernel: int, r0: int, r1: int, w0: Any,
        w1: Any, bias: Any, running: Any, y0: Any, y1: Any, how: int,
    ) -> Any:  # fmt: skip
        totals = zeros()
        for channel in range(channels):
            place = x + channel * plane + r0 * row_size
            weight = (channel * kernel + r0) * kernel * size
            for _ in range(r0, r1):
                if three:
                    totals = three_taps(place, w0 + weight, w1 + weight, totals)
                else:
                    part = zeros()
                    for k in range(kernel):
                        at = weight + k * size
                        part = tap(place + k * VECTOR, w0 + at, w1 + at, part)
                    totals = add(totals, part)
                place += row_size
                weight += kernel * size
        if bias >= 0:
            totals = add_bias(totals, w0 + bias, w1 + bias)
        if not shared:
            running = note(totals, running)
        if how == KEEP:
            keep(totals, y0, y1)
        elif how == POOL_FIRST:
            pool(totals, y0, y1)
        elif how == POOL_MORE:
            pool_more(totals, y0, y1)
        return running

    return at_positions


def _make_pair(*, shared: bool, three: bool) -> Any:
    one, two, four = (_make_tile(width, shared=shared, three=three) for width in (1, 2, 4))
    # Three positions at once only for the kernels that are common.
    three_of = _make_tile(3, shared=shared, three=True) if three else two
    size = NUMBER if shared else VECTOR

    @njit
    @distinct("shared" if shared else "lanes", "three" if three else "any")
    def pair(op: Any, x: Any, w0: Any, w1: Any, y0: Any, y1: Any, sums0: Any, sums1: Any) -> None:
        """All positions of two units of one sample.

        Args (in numba), all of them addresses:
            op: the pass's row of integers.
            x, w0, w1: inputs, and weights of the units.
            y0, y1: where the units' outputs go.
            sums0, sums1: the units' sums and sums of squares so far; 0 if nobody wants them.
        """
        channels, kernel = peek_int(op, CHANNELS), peek_int(op, KERNEL)
        height, padding = peek_int(op, HEIGHT), peek_int(op, PADDING)
        row_size = (peek_int(op, WIDTH) + 2 * padding) * VECTOR
        plane = height * row_size
        width = peek_int(op, OUT_WIDTH)
        dst_row = (peek_int(op, DST_WIDTH) + 2 * peek_int(op, DST_PAD)) * VECTOR
        pooled = peek_int(op, POOLED)
        step = VECTOR // 2 if pooled else VECTOR
        bias = peek_int(op, FAN_IN) * size if peek_int(op, COLUMNS) > peek_int(op, FAN_IN) else -1
        zero = everywhere(0.0)
        for row in range(peek_int(op, OUT_HEIGHT)):
            r0, r1 = max(0, padding - row), min(kernel, height + padding - row)
            start = x + (row - padding) * row_size
            how, line = KEEP, row
            if pooled:
                line = row // 2
                how = POOL_MORE if row % 2 else POOL_FIRST
                if line >= peek_int(op, DST_HEIGHT):
                    how = DROP
            running = (zero, zero, zero, zero)
            a0, a1 = y0 + line * dst_row, y1 + line * dst_row
            left = width
            while left >= 4:
                running = four(
                    start, plane, row_size, channels, kernel, r0, r1, w0, w1, bias, running,
                    a0, a1, how,
                )  # fmt: skip
                left -= 4
                start += 4 * VECTOR
                a0 += 4 * step
                a1 += 4 * step
            if three and left == 3:
                running = three_of(
                    start, plane, row_size, channels, kernel, r0, r1, w0, w1, bias, running,
                    a0, a1, how,
                )  # fmt: skip
                done = 3
            elif left >= 2:
                running = two(
                    start, plane, row_size, channels, kernel, r0, r1, w0, w1, bias, running,
                    a0, a1, how,
                )  # fmt: skip
                done = 2
            else:
                done = 0
            if left > done:
                # With pooling, the last position of an odd width: in no window.
                running = one(
                    start + done * VECTOR, plane, row_size, channels, kernel, r0, r1, w0,
                    w1, bias, running, a0 + done * VECTOR, a1 + done * VECTOR, how,
                )  # fmt: skip
            if sums0 != 0:
                # Both before either: they may be one.
                first, second = vector(sums0), vector(sums0 + VECTOR)
                third, fourth = vector(sums1), vector(sums1 + VECTOR)
                put(sums0, first + running[0])
                put(sums0 + VECTOR, second + running[1])
                put(sums1, third + running[2])
                put(sums1 + VECTOR, fourth + running[3])

    return pair


three_lanes, any_lanes = (_make_pair(shared=False, three=three) for three in (True, False))
three_shared, any_shared = (_make_pair(shared=True, three=three) for three in (True, False))
