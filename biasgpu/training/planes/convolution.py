"""Convolutions of one network, forward and back: a shift along planes for every tap."""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.distinct import distinct
from biasgpu.training.cpu.lanes import BYTES, get, spread, whole
from biasgpu.training.planes.columns import (
    ADD,
    BACK_TAPS,
    BIAS,
    DOWN,
    DST,
    DST_MASK,
    DST_PLANE,
    DST_VECTORS,
    FAN_IN,
    N_BACK,
    PLANES,
    ROW,
    SQUARE,
    SRC,
    SRC_MASK,
    SRC_PLANE,
    TAPS,
    UNITS,
    WEIGHT,
)
from biasgpu.training.planes.numbers import NUMBER, put_number, total
from biasgpu.training.planes.tiles import Tile, WeightTile

PAIR = 16  # bytes of a tap: where its input lies, and its weight


def _make_positions(rows: int, width: int) -> Any:
    """Some planes at some vectors of positions."""
    tile = Tile(rows, width)
    zeros, start, tap, write, add = tile.zeros, tile.start, tile.tap, tile.write, tile.add

    @njit(forceinline=True)
    @distinct(rows, width)
    def positions(
        taps: int, n_taps: int, x: int, w: int, stride: int, biases: int, y: int, plane: int,
        masks: int, more: bool,
    ) -> None:  # fmt: skip
        sums = zeros()
        if biases != 0:
            sums = start(biases)
        for k in range(n_taps):
            sums = tap(sums, x + whole(taps, 2 * k), w + whole(taps, 2 * k + 1), stride)
        if more:
            add(sums, y, plane, masks)
        else:
            write(sums, y, plane, masks)

    return positions


def _make_planes(rows: int) -> Any:
    """Some planes at all positions."""
    four, two, one = (_make_positions(rows, width) for width in (4, 2, 1))

    @njit
    @distinct(rows)
    def planes(
        taps: int, n_taps: int, x: int, w: int, stride: int, biases: int, y: int, plane: int,
        masks: int, n: int, more: bool,
    ) -> None:  # fmt: skip
        v = 0
        while n - v >= 4:
            four(
                taps, n_taps, x + BYTES * v, w, stride, biases, y + BYTES * v, plane,
                masks + 2 * v, more,
            )  # fmt: skip
            v += 4
        if n - v >= 2:
            two(
                taps, n_taps, x + BYTES * v, w, stride, biases, y + BYTES * v, plane,
                masks + 2 * v, more,
            )  # fmt: skip
            v += 2
        if n > v:
            one(
                taps, n_taps, x + BYTES * v, w, stride, biases, y + BYTES * v, plane,
                masks + 2 * v, more,
            )  # fmt: skip

    return planes


_four, _two, _one = (_make_planes(rows) for rows in (4, 2, 1))


@njit
def _convolve(
    n_planes: int, taps: int, n_taps: int, x: int, w: int, stride: int, biases: int, y: int,
    plane: int, masks: int, n: int, more: bool,
) -> None:  # fmt: skip
    """All planes.

    Args (in numba), addresses and bytes:
        taps: pairs, where a tap's input lies from `x`, and its weight from `w`.
        stride: from one plane's weights to the next one's.
        biases: of the planes, or 0.
        y, plane: the result, and from one plane to the next.
        masks: where images lie in a plane.
        n: vectors of a plane.
        more: add to what is there.
    """
    k = 0
    while n_planes - k >= 4:
        b = biases + NUMBER * k if biases != 0 else 0
        _four(taps, n_taps, x, w + k * stride, stride, b, y + k * plane, plane, masks, n, more)
        k += 4
    if n_planes - k >= 2:
        b = biases + NUMBER * k if biases != 0 else 0
        _two(taps, n_taps, x, w + k * stride, stride, b, y + k * plane, plane, masks, n, more)
        k += 2
    if n_planes > k:
        b = biases + NUMBER * k if biases != 0 else 0
        _one(taps, n_taps, x, w + k * stride, stride, b, y + k * plane, plane, masks, n, more)


@njit
def _run(op: int, table: int, masks: int, w: int, from_: int, to: int, back: bool) -> None:
    """A convolution from `from_` to `to`, addresses of all tensors: forward, or its gradient back.

    One place calls what takes long to compile.
    """
    weight = w + NUMBER * whole(op, WEIGHT)
    src, dst = NUMBER * whole(op, SRC), NUMBER * whole(op, DST)
    src_plane, dst_plane = NUMBER * whole(op, SRC_PLANE), NUMBER * whole(op, DST_PLANE)
    n = whole(op, DST_VECTORS)  # of the source as well: they are on one grid
    biases, more = 0, False
    if back:
        n_planes, taps, n_taps = whole(op, PLANES), whole(op, BACK_TAPS), whole(op, N_BACK)
        x, stride = from_ + dst, NUMBER * whole(op, SQUARE)
        y, plane, mask = to + src, src_plane, whole(op, SRC_MASK)
        more = whole(op, ADD) != 0
    else:
        n_planes, taps, n_taps = whole(op, UNITS), whole(op, TAPS), whole(op, FAN_IN)
        x, stride = from_ + src, NUMBER * whole(op, ROW)
        y, plane, mask = to + dst, dst_plane, whole(op, DST_MASK)
        if whole(op, BIAS) >= 0:
            biases = w + NUMBER * whole(op, BIAS)
    _convolve(
        n_planes, table + 8 * taps, n_taps, x, weight, stride, biases, y, plane, masks + 2 * mask,
        n, more,
    )  # fmt: skip


@njit
def forward(op: int, table: int, masks: int, w: int, values: int) -> None:
    """Outputs of a convolution.

    Args (in numba), all of them addresses:
        op: the row of integers.
        table, masks, w, values: of all taps, masks, parameters, tensors.
    """
    _run(op, table, masks, w, values, values, False)


def _make_by_weights(rows: int) -> Any:
    """Gradients by the weights of some units."""
    tile = WeightTile(rows)
    inputs, zeros, products, write = tile.inputs, tile.zeros, tile.products, tile.write
    at_once = 16 // rows

    @njit
    @distinct(rows)
    def by_weights(
        taps: int, row: int, x: int, up: int, plane: int, n: int, g: int, stride: int
    ) -> None:
        for k in range(0, row, at_once):
            places = inputs(taps + PAIR * k, x)
            sums = zeros()
            for v in range(n):
                sums = products(sums, up, plane, places, BYTES * v)
            write(sums, g + NUMBER * k, stride)

    return by_weights


_weights_4, _weights_2, _weights_1 = (_make_by_weights(rows) for rows in (4, 2, 1))


@njit
def by_parameters(op: int, table: int, values: int, grads: int, g: int) -> None:
    """Write gradients by weights and biases to `g`, addresses all."""
    units, row, n = whole(op, UNITS), whole(op, ROW), whole(op, DST_VECTORS)
    taps, stride = table + 8 * whole(op, TAPS), NUMBER * row
    plane = NUMBER * whole(op, DST_PLANE)
    x, up = values + NUMBER * whole(op, SRC), grads + NUMBER * whole(op, DST)
    target = g + NUMBER * whole(op, WEIGHT)
    # Weights of a row beyond the last are computed for nothing, up to whole blocks of taps.
    u = 0
    while units - u >= 4:
        length = (whole(op, FAN_IN) + 3) // 4 * 4
        _weights_4(taps, length, x, up + u * plane, plane, n, target + u * stride, stride)
        u += 4
    if units - u >= 2:
        length = (whole(op, FAN_IN) + 7) // 8 * 8
        _weights_2(taps, length, x, up + u * plane, plane, n, target + u * stride, stride)
        u += 2
    if units > u:
        _weights_1(taps, row, x, up + u * plane, plane, n, target + u * stride, stride)
    if whole(op, BIAS) >= 0:
        for unit in range(units):
            sums = spread(0.0)
            for v in range(n):
                sums = sums + get(up + unit * plane, v)
            put_number(g, whole(op, BIAS) + unit, total(sums))


@njit
def by_inputs(op: int, table: int, masks: int, w: int, grads: int) -> None:
    """Write, or add, gradients by the inputs, if anybody wants them; arguments as above."""
    if whole(op, DOWN) != 0:
        _run(op, table, masks, w, grads, grads, True)
