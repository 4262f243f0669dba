"""Convolutions forward in SIMD lanes, with the rectifier and 2x2 max-pool that follow them.

Blocks of up to three channels by four output positions, which are a window where a pool follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.training.cpu.blocks import (
    make_accumulate,
    make_addresses,
    make_finish,
    make_pool,
    make_store,
    make_zeros,
)
from biasgpu.training.cpu.lanes import BYTES, whole
from biasgpu.training.cpu.plan import (
    BIASES,
    FAN_IN,
    INPUTS,
    MASKS,
    OUTPUTS,
    POOL,
    QUADS,
    QUADS_START,
    RELU,
    TAPS,
    UNITS,
    WEIGHTS,
)


@njit(forceinline=True)
def block_of(left: int) -> int:
    """How many of the channels that are left make the next block: 3, 2, or, of one alone, 1."""
    return 3 if left == 3 or left > 4 else min(left, 2)


def _make_block(rows: int, shared: bool) -> Any:
    """The forward pass of `rows` channels for one sample."""
    zeros, accumulate = make_zeros(4 * rows), make_accumulate(rows, 4, shared)
    channels, finish = make_addresses(rows), make_finish(rows, 4)
    store, pool = make_store(rows, 4), make_pool(rows)
    size = 4 if shared else BYTES

    @njit
    def block(op: int, table: int, w: int, x: int, y: int, masks: int, u: int) -> None:
        units, fan_in = whole(op, UNITS), whole(op, FAN_IN)
        positions = whole(op, OUTPUTS) // units
        relu, pooled = whole(op, RELU) != 0, whole(op, POOL) != 0
        weights = channels(w + BYTES * (whole(op, WEIGHTS) + u * fan_in), fan_in, rows - 1)
        biases = w + BYTES * (whole(op, BIASES) + u)
        taps = table + 8 * whole(op, TAPS)
        quads = table + 8 * whole(op, QUADS_START)
        place = u * positions
        left = positions - 1
        for quad in range(whole(op, QUADS)):
            at = (
                x + size * whole(quads, 4 * quad), x + size * whole(quads, 4 * quad + 1),
                x + size * whole(quads, 4 * quad + 2), x + size * whole(quads, 4 * quad + 3),
            )  # fmt: skip
            sums = zeros()
            for tap in range(fan_in):
                sums = accumulate(sums, weights, at, tap, whole(taps, tap))
            if pooled:
                pool(sums, biases, relu, y + BYTES * place, positions, masks + 8 * place)
                place += 1
            else:
                sums = finish(sums, biases, rows - 1, relu)
                store(sums, y + BYTES * place, positions, rows - 1, 1, left)
                place, left = place + 4, left - 4

    return block


def _make_forward(shared: bool) -> Any:
    one, two, three = (_make_block(rows, shared) for rows in (1, 2, 3))
    size = 4 if shared else BYTES

    @njit(inline="always")
    def forward(
        op: int, table: int, w: int, x: int, samples: int, y: int, masks: int, n: int
    ) -> None:
        """Activations `y` `[sample, channel, row, column]`; arguments as in dense.py.

        Args (in numba):
            table: address of the plan's table.
            masks: address of the masks of all operations; a sample's follow another's.
        """
        units, inputs, outputs = whole(op, UNITS), whole(op, INPUTS), whole(op, OUTPUTS)
        mine = masks + 2 * whole(op, MASKS) * n
        for s in range(n):
            start = (whole(samples, s) if shared else s) * inputs
            u = np.int64(0)  # not a literal: that would be compiled apart
            while u < units:
                rows = block_of(units - u)
                image, out = x + size * start, y + BYTES * s * outputs
                pattern = mine + 8 * s * outputs
                if rows == 3:
                    three(op, table, w, image, out, pattern, u)
                elif rows == 2:
                    two(op, table, w, image, out, pattern, u)
                else:
                    one(op, table, w, image, out, pattern, u)
                u += rows

    return forward


forward_own, forward_shared = _make_forward(False), _make_forward(True)
