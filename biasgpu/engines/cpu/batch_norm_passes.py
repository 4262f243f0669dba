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
    CHANNELS,
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
    HEIGHT,
    KERNEL,
    KIND,
    N_COLUMNS,
    N_FLOATS,
    NORM,
    PAD,
    POOL,
    SLOT,
    SRC,
    SRC_SIZE,
    STRIDE,
    SUMS,
    UNITS,
    WIDTH,
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
def _draw(w: Any, names: Any, op: Any, first: int, count: int, family: int, scale: Any, seed: Any) -> None:
    """The weights of some units of a pass, from unit `first` on."""
    blocks = peek_int(op, BLOCKS)
    block = peek_int(op, FIRST_BLOCK) + first * blocks
    draw_units(w, peek_int(op, STRIDE), names, block, blocks, count, family, scale, seed)


@njit
def _settle(
    op: Any, factors: Any, w: Any, names: Any, family: int, seed: Any, n_samples: int, sums: Any,
    affine: Any,
) -> None:  # fmt: skip
    """A batch norm: from its channels' sums to mean and variance, in their place, and to `affine`.

    Args (in numba):
        op, factors, sums, affine: addresses.
    """
    units, stride = peek_int(op, UNITS), peek_int(op, STRIDE)
    one, zero, here = everywhere(1.0), everywhere(0.0), address_of(w)
    drawn = peek(factors, FACTOR) != 0.0
    for unit in range(units):
        put(affine + 2 * unit * VECTOR, one)
        put(affine + (2 * unit + 1) * VECTOR, zero)
    for column in range(2 if drawn else 0):
        _draw(w, names, op, 0, units, family, peek(factors, FACTOR + column), seed)
        for unit in range(units):
            value = vector(here + (unit * stride + column) * VECTOR)
            if column == 0:
                value = to_float32_and_back(one + value)
            put(affine + (2 * unit + column) * VECTOR, value)
    count, epsilon = everywhere(peek(factors, COUNT) * n_samples), everywhere(EPSILON)
    for unit in range(units):
        at, to = sums + 2 * unit * VECTOR, affine + 2 * unit * VECTOR
        mean = vector(at) / count
        variance = maximum(vector(at + VECTOR) / count - mean * mean, zero)
        put(at, mean)
        put(at + VECTOR, variance)
        factor = vector(to) / square_root(variance + epsilon)
        put(to, factor)
        put(to + VECTOR, vector(to + VECTOR) - mean * factor)


@njit
def _sample(
    op: Any, factors: Any, src: Any, dst: Any, fork: Any, sums: Any, affine: Any
) -> None:
    """One sample of a pass without weights."""
    kind = peek_int(op, KIND)
    if kind == SUMS:
        add_up(op, src, sums)
    elif kind == ELEMENT:
        element_lanes(op, factors, src, dst, fork, affine)
    elif kind == POOL:
        max_pool(op, src, dst)


@njit
def _pairs(
    op: Any, src: Any, w: Any, dst: Any, first: int, count: int, sums: Any
) -> None:
    """Some units of a convolution on one sample."""
    three = peek_int(op, KERNEL) == 3
    stride = peek_int(op, STRIDE) * VECTOR
    row = peek_int(op, DST_WIDTH) + 2 * peek_int(op, DST_PAD)
    plane = row * peek_int(op, DST_HEIGHT) * VECTOR
    dst += peek_int(op, DST_PAD) * VECTOR
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


@njit
def _expand_input(op: Any, x: Any, y: Any) -> None:
    expand_shared(
        peek_int(op, CHANNELS), peek_int(op, HEIGHT), peek_int(op, WIDTH), peek_int(op, PAD), x, y
    )


@njit
def _clear(op: Any, y: Any) -> None:
    clear_margins(
        peek_int(op, UNITS), peek_int(op, DST_HEIGHT), peek_int(op, DST_WIDTH),
        peek_int(op, DST_PAD), y,
    )  # fmt: skip


@njit
def settle_tile(
    ops: Any, factors: Any, n_ops: int, family: int, seed: Any, names: Any, w: Any, inputs: Any,
    features: int, n_samples: int, values: Any, scratch: Any, sums: Any, affine: Any,
) -> bool:  # fmt: skip
    """Eight draws, all samples; False if it was stopped. Arrays but for w and names at addresses."""
    here = address_of(w)
    for number in range(n_ops):
        op, row = ops + 8 * number * N_COLUMNS, factors + 8 * number * N_FLOATS
        kind, slot = peek_int(op, KIND), peek_int(op, SLOT)
        source, target = peek_int(op, SRC), peek_int(op, DST)
        src_size, dst_size = peek_int(op, SRC_SIZE) * VECTOR, peek_int(op, DST_SIZE) * VECTOR
        src, dst = values + source * n_samples * VECTOR, values + target * n_samples * VECTOR
        fork = values + peek_int(op, FORKED) * n_samples * VECTOR
        fork_size = peek_int(op, FORK_SIZE) * VECTOR
        mine = sums + 2 * slot * VECTOR if slot >= 0 else 0
        its_affine = affine + 2 * slot * VECTOR
        if kind == NORM:
            _settle(op, row, w, names, family, seed, n_samples, mine, its_affine)
            continue
        units = peek_int(op, UNITS)
        if slot >= 0 and kind != ELEMENT:
            zero = everywhere(0.0)
            for i in range(2 * units):
                put(mine + i * VECTOR, zero)
        group = peek_int(op, GROUP) if kind == CONV or kind == DENSE else units
        for first in range(0, units, group):
            count = min(group, units - first)
            if kind == CONV or kind == DENSE:
                _draw(w, names, op, first, count, family, peek(row, FACTOR), seed)
            for sample in range(n_samples):
                if names[STOP]:
                    return False
                x, y = src + sample * src_size, dst + sample * dst_size
                given = inputs + sample * features * NUMBER
                if kind == EXPAND:
                    expand_shared(
                        units, peek_int(op, HEIGHT), peek_int(op, WIDTH), peek_int(op, DST_PAD),
                        given, y,
                    )  # fmt: skip
                elif kind == CONV:
                    if source < 0:
                        x = scratch
                        _expand_input(op, given, x)
                    if first == 0:
                        _clear(op, y)
                    _pairs(op, x, here, y, first, count, mine)
                elif kind == DENSE:
                    stride = peek_int(op, STRIDE) * VECTOR
                    dense_lanes(op, x, here, stride, count, y + first * VECTOR)
                else:
                    _sample(op, row, x, y, fork + sample * fork_size, mine, its_affine)
    return True


@cache
def compiled_settle() -> Callable[..., None]:
    """The compiled law of drawn networks on their training set."""
    digest = source_digest()

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
        for tile in range(0, len(draws), LANES_F64):
            live = min(LANES_F64, len(draws) - tile)
            for lane in range(LANES_F64):
                name_lanes(names, lane, draws[tile + min(lane, live - 1)])
            done = settle_tile(
                address_of(ops), address_of(constants), len(ops), family, seed, names, w,
                address_of(inputs), features, n_samples, address_of(values), address_of(scratch),
                address_of(sums), address_of(affine),
            )  # fmt: skip
            if not done:
                return
            for lane in range(live):
                for i in range(n_samples * n_outputs):
                    place = (output * n_samples + i) * LANES_F64 + lane
                    logits[tile + lane, i // n_outputs, i % n_outputs] = values[place]
                for i in range(2 * slots):
                    statistics[tile + lane, i // 2, i % 2] = sums[i * LANES_F64 + lane]

    return settle
