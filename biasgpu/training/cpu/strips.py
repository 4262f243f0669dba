"""The gradient by the inputs of 5x5 convolutions, in strips: no product with a zero beyond an edge.

Four gradients of a row reach eight inputs of a row. Their sums, for two channels, stay in registers
while units and kernel rows pass; then they are added to what other strips brought. Other kernels go
the plain way (convolution_back.py).

Cost: 40 products for 14 loads.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types

from biasgpu.engines.cpu.vectors import f32x16, intrinsic
from biasgpu.training.cpu.blocks import make_add_stored, make_store, make_zeros
from biasgpu.training.cpu.lanes import BYTES, I64, fused, put, spread, vector_at, whole
from biasgpu.training.cpu.plan import (
    CHANNELS,
    COLUMNS,
    FAN_IN,
    HEIGHT,
    INPUTS,
    ROWS,
    SPREAD_WIDTH,
    UNITS,
    WEIGHTS,
    WIDTH,
)

KERNEL, STRIP = 5, 4
REACH = STRIP + KERNEL - 1  # inputs that a strip has a part in: up to STRIP - 1 lie beyond the last
CHANNEL_BLOCK = 2
_N = CHANNEL_BLOCK * REACH
_zeros, _add, _store = (
    make_zeros(_N), make_add_stored(CHANNEL_BLOCK, REACH), make_store(CHANNEL_BLOCK, REACH)
)  # fmt: skip


@intrinsic
def _strip(typingctx: Any, sums: Any, d: Any, first: Any, second: Any) -> Any:
    """Add the products of four gradients at `d` with five weights at `first`, and at `second`."""
    kind = types.UniTuple(f32x16, _N)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = [builder.extract_value(args[0], k) for k in range(_N)]
        four = [vector_at(builder, args[1], I64(p)) for p in range(STRIP)]
        for channel, weights in enumerate(args[2:]):
            for j in range(KERNEL):
                weight = vector_at(builder, weights, I64(j))
                for p in range(STRIP):
                    k = channel * REACH + p + j
                    found[k] = fused(builder, four[p], weight, found[k])
        return context.make_tuple(builder, kind, found)

    return kind(kind, types.intp, types.intp, types.intp), codegen


@njit
def by_inputs(op: int, w: int, image: int, down: int) -> None:
    """A sample's gradient `down` by the inputs; `REACH` vectors behind it are overwritten.

    Args (in numba):
        image: address of the gradient by the convolution's outputs, with zeros at its sides.
    """
    units, fan_in, channels = whole(op, UNITS), whole(op, FAN_IN), whole(op, CHANNELS)
    height, width = whole(op, HEIGHT), whole(op, WIDTH)
    inner, across = whole(op, ROWS), whole(op, SPREAD_WIDTH)
    square, plane, size = KERNEL * KERNEL, inner * across, height * width
    zero = spread(0.0)
    for i in range(whole(op, INPUTS)):
        put(down, i, zero)
    for channel in range(0, channels, CHANNEL_BLOCK):
        more = min(1, channels - 1 - channel)
        weights = w + BYTES * (whole(op, WEIGHTS) + channel * square)
        for y in range(height):
            top, bottom = max(0, y - inner + 1), min(KERNEL, y + 1)
            for x in range(0, whole(op, COLUMNS), STRIP):
                sums = _zeros()
                for u in range(units):
                    start = image + BYTES * (u * plane + x + KERNEL - 1)
                    for i in range(top, bottom):
                        first = weights + BYTES * (u * fan_in + i * KERNEL)
                        second = first + BYTES * more * square
                        sums = _strip(sums, start + BYTES * (y - i) * across, first, second)
                place = down + BYTES * ((channel * height + y) * width + x)
                # Beyond the row's end lie sums of zeros, which do the next row no harm.
                sums = _add(sums, place, size, more, 1, REACH - 1)
                _store(sums, place, size, more, 1, REACH - 1)
