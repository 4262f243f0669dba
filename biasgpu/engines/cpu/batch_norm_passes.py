"""All passes of some networks, compiled: the law for architectures with batch norms.

Drawn networks go through together, a draw in every lane, with all training samples: that settles
the batch norms and gives the training samples' logits. Networks that are settled, or given, go one
by one, with eight samples in the lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

from biasgpu.engines.cpu.batch_norm_conv import any_lanes, three_lanes
from biasgpu.engines.cpu.batch_norm_layers import (
    add_up,
    clear_margins,
    dense_lanes,
    element_lanes,
    expand_shared,
    max_pool,
)
from biasgpu.engines.cpu.batch_norm_program import (
    BLOCKS,
    CONV,
    COUNT,
    DENSE,
    DST,
    DST_HEIGHT,
    DST_PAD,
    DST_SIZE,
    DST_WIDTH,
    ELEMENT,
    EXPAND,
    FACTOR,
    FIRST_BLOCK,
    FORK_SIZE,
    FORKED,
    GROUP,
    KERNEL,
    KIND,
    N_COLUMNS,
    N_FLOATS,
    NORM,
    SLOT,
    SRC,
    SRC_SIZE,
    STRIDE,
    SUMS,
    UNITS,
)
from biasgpu.engines.cpu.batch_norm_taps import (
    NUMBER,
    VECTOR,
    everywhere,
    put,
    square_root,
    vector,
)
from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.memory import address_of, peek, peek_int
from biasgpu.engines.cpu.screen import name_lanes
from biasgpu.engines.cpu.simd import maximum
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.weights import draw_units, to_float32_and_back
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.reference import EPSILON


@njit
def _settle(op: Any, factors: Any, n_samples: int, sums: Any, affine: Any) -> None:
    """A batch norm: from its channels' sums to mean and variance, in their place.

    Args (in numba), all addresses but one:
        op, factors: the pass's rows of integers and floats.
        sums: of each channel, of numbers and of their squares.
        affine: each channel's weight and bias; what to multiply with and add instead.
    """
    count = everywhere(peek(factors, COUNT) * n_samples)
    epsilon, zero = everywhere(EPSILON), everywhere(0.0)
    for unit in range(peek_int(op, UNITS)):
        at, to = sums + 2 * unit * VECTOR, affine + 2 * unit * VECTOR
        mean = vector(at) / count
        variance = maximum(vector(at + VECTOR) / count - mean * mean, zero)
        put(at, mean)
        put(at + VECTOR, variance)
        factor = vector(to) / square_root(variance + epsilon)
        put(to, factor)
        put(to + VECTOR, vector(to + VECTOR) - mean * factor)


@njit
def _take_norms(op: Any, w: Any, column: int, affine: Any) -> None:
    """Weights (column 0) or biases (1) of a batch norm's channels, from where they were drawn."""
    stride, one = peek_int(op, STRIDE), everywhere(1.0)
    for unit in range(peek_int(op, UNITS)):
        value = vector(w + (unit * stride + column) * VECTOR)
        if column == 0:
            value = to_float32_and_back(one + value)
        put(affine + (2 * unit + column) * VECTOR, value)


@njit
def _fill(at: Any, count: int, even: float) -> None:
    """A number and zero by turns, in all lanes."""
    number, zero = everywhere(even), everywhere(0.0)
    for _ in range(count):
        put(at, number)
        put(at + VECTOR, zero)
        at += 2 * VECTOR


@njit
def _pairs(op: Any, src: Any, w: Any, dst: Any, first: int, count: int, sums: Any) -> None:
    """Some units of a convolution on one sample; addresses."""
    three = peek_int(op, KERNEL) == 3
    stride, pad = peek_int(op, STRIDE) * VECTOR, peek_int(op, DST_PAD)
    height, width = peek_int(op, DST_HEIGHT), peek_int(op, DST_WIDTH)
    plane = height * (width + 2 * pad) * VECTOR
    if first == 0:
        clear_margins(peek_int(op, UNITS), height, width, pad, dst)
    dst += pad * VECTOR
    for unit in range(0, count, 2):
        second = min(unit + 1, count - 1)
        w0, w1 = w + unit * stride, w + second * stride
        y0, y1 = dst + (first + unit) * plane, dst + (first + second) * plane
        s0 = s1 = 0
        if sums != 0:
            s0 = sums + 2 * (first + unit) * VECTOR
            s1 = sums + 2 * (first + second) * VECTOR
        if three:
            three_lanes(op, src, w0, w1, y0, y1, s0, s1)
        else:
            any_lanes(op, src, w0, w1, y0, y1, s0, s1)


@cache
def compiled_settle() -> Callable[..., None]:
    """The compiled law of drawn networks on their training set."""
    digest = source_digest()

    # One long function: numba compiles what a function calls again with it, at every level.
    @compiled
    def settle(
        ops: Any, constants: Any, family: int, seed: Any, inputs: Any, draws: Any, output: int,
        logits: Any, statistics: Any, names: Any, w: Any, values: Any, scratch: Any, sums: Any,
        affine: Any,
    ) -> None:  # fmt: skip
        """Fill `logits`, `(draws, samples, outputs)`, and `statistics`, `(draws, slots, 2)`."""
        _ = digest
        n_samples, features = inputs.shape
        n_outputs, slots = logits.shape[2], statistics.shape[1]
        here, padded = address_of(w), address_of(scratch)
        for tile in range(0, len(draws), LANES_F64):
            live = min(LANES_F64, len(draws) - tile)
            for lane in range(LANES_F64):
                name_lanes(names, lane, draws[tile + min(lane, live - 1)])
            for number in range(len(ops)):
                op = address_of(ops) + number * N_COLUMNS * NUMBER
                factors = address_of(constants) + number * N_FLOATS * NUMBER
                kind, slot, units = ops[number, KIND], ops[number, SLOT], ops[number, UNITS]
                block, n_blocks = ops[number, FIRST_BLOCK], ops[number, BLOCKS]
                stride, group = ops[number, STRIDE], units
                mine, its_affine = 0, 0
                if slot >= 0:
                    mine = address_of(sums) + 2 * slot * VECTOR
                    its_affine = address_of(affine) + 2 * slot * VECTOR
                if kind == NORM:
                    _fill(its_affine, units, 1.0)
                    for column in range(2 if constants[number, FACTOR] != 0.0 else 0):
                        factor = constants[number, FACTOR + column]
                        draw_units(w, stride, names, block, n_blocks, units, family, factor, seed)
                        _take_norms(op, here, column, its_affine)
                    _settle(op, factors, n_samples, mine, its_affine)
                    continue
                if slot >= 0 and kind != ELEMENT:
                    _fill(mine, units, 0.0)
                source, target, forked = ops[number, SRC], ops[number, DST], ops[number, FORKED]
                weighted = kind in (CONV, DENSE)
                if weighted:
                    group = ops[number, GROUP]
                for first in range(0, units, group):
                    count = min(group, units - first)
                    if weighted:
                        draw_units(
                            w, stride, names, block + first * n_blocks, n_blocks, count, family,
                            constants[number, FACTOR], seed,
                        )  # fmt: skip
                    for sample in range(n_samples):
                        if names[STOP]:
                            return
                        src, dst, fork = (
                            source * n_samples + sample * ops[number, SRC_SIZE],
                            target * n_samples + sample * ops[number, DST_SIZE],
                            forked * n_samples + sample * ops[number, FORK_SIZE],
                        )
                        x = address_of(values) + src * VECTOR
                        y = address_of(values) + dst * VECTOR
                        given = address_of(inputs) + sample * features * NUMBER
                        if kind == EXPAND:
                            expand_shared(op, given, y)
                        elif kind == CONV:
                            if source < 0:
                                expand_shared(op, given, padded)
                                x = padded
                            _pairs(op, x, here, y, first, count, mine)
                        elif kind == DENSE:
                            dense_lanes(op, x, here, stride * VECTOR, count, y + first * VECTOR)
                        elif kind == SUMS:
                            add_up(op, x, mine)
                        elif kind == ELEMENT:
                            joining = address_of(values) + fork * VECTOR
                            element_lanes(op, factors, x, y, joining, its_affine)
                        else:
                            max_pool(op, x, y)
            for lane in range(live):
                for i in range(n_samples * n_outputs):
                    place = (output * n_samples + i) * LANES_F64 + lane
                    logits[tile + lane, i // n_outputs, i % n_outputs] = values[place]
                for i in range(2 * slots):
                    statistics[tile + lane, i // 2, i % 2] = sums[i * LANES_F64 + lane]

    return settle
