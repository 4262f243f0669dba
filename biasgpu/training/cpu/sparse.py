"""First convolutions of images that are mostly background: products with the rest alone.

An image is its background b everywhere, plus what differs from it in few pixels; so a convolution
is b times the sum of its weights, plus the products with those pixels. All lanes see one image:
which pixels differ is listed once, for each 2x2 window of output positions. A listed pixel meets
another weight at each of the four positions, from weights with a ring of zeros around.

Cost: 4 products for each channel, listed pixel and window. MNIST's digits list a third of what the
dense way multiplies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types

from biasgpu.engines.cpu.simd import madd
from biasgpu.engines.cpu.vectors import f32x16, intrinsic, splat
from biasgpu.training.cpu.blocks import make_pool, make_zeros
from biasgpu.training.cpu.convolution import block_of
from biasgpu.training.cpu.lanes import (
    BYTES,
    I64,
    at,
    fused,
    get,
    put,
    spread,
    vector_at,
    whole,
)
from biasgpu.training.cpu.plan import (
    BIASES,
    CHANNELS,
    COLUMNS,
    CONV,
    FAN_IN,
    HEIGHT,
    KERNEL,
    KIND,
    MASKS,
    OUTPUTS,
    POOL,
    RELU,
    ROWS,
    UNITS,
    WEIGHTS,
    WIDTH,
)

WORTH = 0.6  # of the dense way's products: with fewer, lists are quicker


@dataclass(frozen=True)
class Lists:
    """What differs from the background.

    Attributes:
        entries: int64: a pixel's difference (float32, low half), and where among the weights with
            zeros around its first weight lies (high half).
        starts: int64 `(samples * windows + 1,)`: where a window's entries begin.
        background: the value that most pixels have.
        room: vectors that the weights with zeros around, and as many biases, take.
    """

    entries: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    background: float
    room: int

    @property
    def used(self) -> bool:
        """Whether the first convolution goes by lists."""
        return len(self.starts) > 1


NONE = Lists(np.zeros(1, np.int64), np.zeros(1, np.int64), 0.0, 1)


def lists(op: npt.NDArray[np.int64], inputs: npt.NDArray[np.float32]) -> Lists:
    """The lists for a first operation and its inputs `(samples, features)`; `NONE` if no use."""
    if op[KIND] != CONV or not op[POOL]:
        return NONE
    values, counts = np.unique(inputs, return_counts=True)
    background = values[counts.argmax()]
    kernel, channels = int(op[KERNEL]), int(op[CHANNELS])
    images = inputs.reshape(len(inputs), channels, int(op[HEIGHT]), int(op[WIDTH])) - background
    rows, columns = int(op[ROWS]) // 2, int(op[COLUMNS]) // 2
    seen = np.lib.stride_tricks.sliding_window_view(images, (kernel + 1, kernel + 1), axis=(2, 3))
    seen = seen[:, :, : 2 * rows : 2, : 2 * columns : 2].transpose(0, 2, 3, 1, 4, 5)
    patches = seen.reshape(len(inputs) * rows * columns, -1)
    listed = patches != 0
    if not listed.sum() < WORTH * len(patches) * int(op[FAN_IN]):
        return NONE
    side = kernel + 2
    channel, r, c = np.indices((channels, kernel + 1, kernel + 1)).reshape(3, -1)
    first = ((channel * side + r) * side + c).astype(np.int64)
    window, place = np.nonzero(listed)
    numbers = patches[window, place].astype(np.float32).view(np.uint32).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int64)
    room = int(op[UNITS]) * (channels * side * side + 1)
    return Lists((first[place] << 32) | numbers, starts, float(background), room)


def _make_add(rows: int) -> Any:
    """`add(sums, weights, stride, side, entry)`: the products of one listed pixel."""
    kind = types.UniTuple(f32x16, 4 * rows)

    @intrinsic
    def add(typingctx: Any, sums: Any, weights: Any, stride: Any, side: Any, entry: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            sums, weights, stride, side, entry = args
            packed = builder.load(at(builder, entry, I64(0), 8, I64))
            number = builder.load(at(builder, entry, I64(0), 4, ir.FloatType()))
            pixel = splat(builder, number, f32x16)
            base = builder.lshr(packed, I64(32))
            found = []
            for row in range(rows):
                corner = builder.add(base, builder.mul(stride, I64(row)))
                below = builder.add(corner, side)
                # The four positions of a window, rows before columns.
                for k, place in enumerate((builder.add(below, I64(1)), below, None, corner)):
                    place = builder.add(corner, I64(1)) if place is None else place
                    weight = vector_at(builder, weights, place)
                    old = builder.extract_value(sums, 4 * row + k)
                    found.append(fused(builder, pixel, weight, old))
            return context.make_tuple(builder, kind, found)

        return kind(kind, *[types.intp] * 4), codegen

    return add


def _make_block(rows: int) -> Any:
    zeros, add, pool = make_zeros(4 * rows), _make_add(rows), make_pool(rows)

    @njit
    def block(
        op: int, entries: int, starts: int, padded: int, biases: int, y: int, masks: int, u: int
    ) -> None:
        side = whole(op, KERNEL) + 2
        stride, positions = (
            whole(op, CHANNELS) * side * side,
            whole(op, OUTPUTS) // whole(op, UNITS),
        )
        relu = whole(op, RELU) != 0
        weights = padded + BYTES * u * stride
        for window in range(positions):
            sums = zeros()
            for entry in range(whole(starts, window), whole(starts, window + 1)):
                sums = add(sums, weights, stride, side, entries + 8 * entry)
            place = u * positions + window
            pool(sums, biases + BYTES * u, relu, y + BYTES * place, positions, masks + 8 * place)

    return block


_one, _two, _three = (_make_block(rows) for rows in (1, 2, 3))


@njit
def _surround(op: int, w: int, padded: int, biases: int, background: float) -> None:
    """Copy the weights between their zeros, and add the background's part to the biases."""
    units, channels, kernel = whole(op, UNITS), whole(op, CHANNELS), whole(op, KERNEL)
    side = kernel + 2
    source = whole(op, WEIGHTS)
    ground = spread(background)
    for u in range(units):
        total = spread(0.0)
        for channel in range(channels):
            corner = (u * channels + channel) * side * side
            for i in range(1, kernel + 1):
                for j in range(1, kernel + 1):
                    weight = get(w, source)
                    put(padded, corner + i * side + j, weight)
                    total = total + weight
                    source += 1
        put(biases, u, madd(ground, total, get(w, whole(op, BIASES) + u)))


@njit
def forward(
    op: int, w: int, entries: int, starts: int, background: float, padded: int, samples: int,
    y: int, masks: int, n: int,
) -> None:  # fmt: skip
    """As `convolution.forward`, from lists.

    Args (in numba):
        padded: address of a thread's room for weights with zeros around, which it has.
    """
    units, outputs, side = whole(op, UNITS), whole(op, OUTPUTS), whole(op, KERNEL) + 2
    biases = padded + BYTES * units * whole(op, CHANNELS) * side * side
    _surround(op, w, padded, biases, background)
    mine = masks + 2 * whole(op, MASKS) * n
    for s in range(n):
        first = starts + 8 * whole(samples, s) * (outputs // units)
        out, pattern = y + BYTES * s * outputs, mine + 8 * s * outputs
        u = np.int64(0)  # not a literal: that would be compiled apart
        while u < units:
            rows = block_of(units - u)
            if rows == 3:
                _three(op, entries, first, padded, biases, out, pattern, u)
            elif rows == 2:
                _two(op, entries, first, padded, biases, out, pattern, u)
            else:
                _one(op, entries, first, padded, biases, out, pattern, u)
            u += rows
