"""Deferred decisions: layer after layer, input after input, until the first error.

Each input goes through the layers with those before it at hand: its part along their directions
(factor.py), random normals for the new one, a pass over the units (units.py). The type of the
buffers says how: float32 screens, float64 screens again what float32 left open, with the law's own
normals. Either knows how far it may be from the law.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.deferred.plan import GROUP, LANES
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.factor import (
    FOUND,
    LAW_ERROR,
    OPEN,
    factor_row,
    lengths_at,
    silence_row,
    space_size,
    spanned,
)
from biasgpu.engines.cpu.front import feature_alive, feature_dots
from biasgpu.engines.cpu.memory import address_of, peek, poke
from biasgpu.engines.cpu.units import (
    BIAS,
    CHUNK,
    OFFSET,
    RECTIFIED,
    UNITS,
    absolute_error,
    layer_pass,
    make_normals,
    product_error,
    relative_error,
    roundoff,
    unit,
)
from biasgpu.engines.cpu.verdict import ERRS, GOES_ON, UNSURE, judge
from biasgpu.rng import STREAM_OUTPUTS

SMALLEST, LARGEST = 1e-20, 1e30  # squared lengths that float32 is trusted with
SLACK = 1.0 + 2.0**-16  # of lengths that were added up in float32
TINY = 2.0**-120  # more than underflow can take from a pre-activation


@njit
def _support(
    g: Any, g_at: int, stride: int, layer: Any, std: float, space: int, n: int, i: int
) -> Any:
    """How many units of a layer may be alive for an input up to i, and whether any is for i."""
    alive, last = 0, False
    rounding = relative_error(g) + (i + 4) * roundoff(g)
    for u in range(layer[OFFSET], layer[OFFSET] + layer[UNITS]):
        found = False
        for s in range(i + 1):
            y, e, any_weight = 0.0, 0.0, False
            for j in range(s + 1):
                a = std * peek(space, s * n + j)
                x = unit(g) * np.float64(g[g_at + j * stride + u])
                off = std * peek(space, n * n + s * n + j)
                y += a * x
                e += (off + abs(a) * rounding) * abs(x) + abs(a) * absolute_error(g)
                any_weight = any_weight or a != 0.0 or off != 0.0
            if any_weight and (layer[RECTIFIED] == 0 or y + e + TINY > 0.0):
                found = True
                last = last or s == i
        alive += found
    return alive, last


@njit(forceinline=True)
def _logits(
    z: Any, z_at: int, space: int, n: int, i: int, units: int, std: float, logits: int, draw: Any,
    k0: Any, k1: Any,
) -> None:  # fmt: skip
    """Logits of input i, then bounds of how far they are from the law."""
    made = (i * units + GROUP - 1) // GROUP * GROUP
    while made < (i + 1) * units:
        stream, block = np.uint64(STREAM_OUTPUTS), np.uint64(made // 4)
        make_normals(z, z_at + made, stream, draw, block, k0, k1)
        made += GROUP
    row = i * n
    for c in range(units):
        total, doubt = 0.0, 0.0
        for j in range(i + 1):
            q = j * units + c  # natural order: word q % 4 of block q // 4
            x = unit(z) * np.float64(z[z_at + (q & -GROUP) + (q & 3) * LANES + ((q & 63) >> 2)])
            a, off = peek(space, row + j), peek(space, n * n + row + j)
            total += a * x
            doubt += (off + abs(a) * relative_error(z)) * abs(x) + abs(a) * absolute_error(z)
        poke(logits, c, std * total)
        poke(logits, units + c, std * (doubt * SLACK + abs(total) * LAW_ERROR))


@njit
def _first_row(shared: int, i: int, space: int, n: int) -> None:
    for j in range(i * n, i * n + i + 1):
        poke(space, j, peek(shared, j))
        poke(space, n * n + j, 0.0)


@njit
def _apart(
    dots: int, i: int, below: int, n: int, std: float, unit: float, rounding: float, fixed: float
) -> float:
    """How far activations may be from the law's, in Euclidean norm, after a pass over their units.

    Args (in numba):
        dots: address of what the pass left; the last number is the square of the normals' length.
        below: address of what is known of the layer's inputs.
        std: of its weights.
        unit, rounding, fixed: of the normals: what they are to be multiplied with, and the part
            and the amount that they and the sums with them may be off.
    """
    sizes, row, square = lengths_at(n) + 2 * n, i * n, n * n
    poke(below, sizes + i, unit * np.sqrt(peek(dots, i + 1)))
    apart = 0.0
    for j in range(i + 1):
        a = abs(peek(below, row + j))
        error = peek(below, square + row + j) + a * rounding
        apart += error * peek(below, sizes + j) + a * fixed
    return std * apart * SLACK


@njit
def _row(dots: int, i: int, space: int, n: int, bias: int, apart: float, gram_error: float) -> int:
    """Input i of a layer in terms of the directions before it.

    Args (in numba):
        dots: address of its inner products with inputs 0 to i.
        space: address of what is known of the layer's inputs.
        bias: whether a constant 1 stands before its biases.
        apart: how far input i may be from the law's.

    Returns:
        FOUND or OPEN, as `factor_row`; OPEN too for lengths that float32 is not trusted with.
    """
    for j in range(i + 1):
        poke(dots, j, peek(dots, j) + bias)
    length = np.sqrt(peek(dots, i)) * SLACK
    poke(space, lengths_at(n) + i, length)
    poke(space, lengths_at(n) + n + i, apart + LAW_ERROR * length)
    if not SMALLEST <= peek(dots, i) <= LARGEST:
        factor_row(dots, i, space, n, np.inf)
        return OPEN
    return factor_row(dots, i, space, n, gram_error)


@njit(inline="always")
def reveal(
    layers: Any, scales: Any, shared: Any, features: Any, labels: Any, blocks: int, stride: int,
    masks: Any, seed: Any, draws: Any, live: Any, count: int, prefixes: Any, g: Any, h: Any,
    a: Any, z: Any, sums: Any, dots: Any, space: Any, logits: Any, answers: Any,
) -> None:  # fmt: skip
    """The prefixes of some draws, or BORDERLINE.

    All draws take a step together, each in its own buffers: what one of them has to wait for
    (a square root, a division) is hidden behind the others.

    Args (in numba):
        layers: int64 `(layers, N_COLUMNS)`: the plan.
        scales: float64 `(layers, 2)`: standard deviations of the weights, and what the inner
            products of a layer's inputs round.
        shared: float64 `(n * n,)`: the factor of the first layer's inputs, where all draws share
            it. Else empty, and `features` has the inputs (front.py).
        labels: int64 `(n,)`.
        blocks, stride: Philox blocks of a direction, and the normals they hold.
        masks: `(layers * 16,)`: lanes of a layer's last vector that are units.
        draws, prefixes: uint64 and int64 `(count,)`.
        live: int64 `(count,)`, scratch.
        g, h: for each draw `(n * stride,)`: normals and activations of all inputs so far.
        a .. answers: scratch; see deferred.py.
    """
    n, last = len(labels), len(layers) - 1
    room = 8 * (last + 1) * space_size(n)
    k0, k1 = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
    units = layers[last, UNITS]
    outputs, n_answers = 2 * units, 2 * max(2, units)
    z_room = (n * units + GROUP - 1) // GROUP * GROUP
    for slot in range(count):
        live[slot] = slot
        for c in range(n_answers):
            answers[slot * n_answers + c] = UNSURE
    dots_from, space_from = address_of(dots), address_of(space)
    logits_from, shared_from = address_of(logits), address_of(shared)
    layer_room = 8 * space_size(n)
    for i in range(n):
        block = np.uint64(i * blocks)
        rounding = relative_error(g) + (i + 4) * roundoff(g)
        for number in range(last + 1):
            offset, width, std = layers[number, OFFSET], layers[number, UNITS], scales[number, 0]
            before = max(0, number - 1)
            fixed = absolute_error(g) * np.sqrt(layers[before, UNITS])
            kept = 0
            for k in range(count):
                slot = live[k]
                mine = space_from + slot * room + number * layer_room
                dots_at = slot * (n + 2)
                dots_here, bias = dots_from + 8 * dots_at, layers[number, BIAS]
                found = FOUND
                if number > 0:
                    apart = _apart(
                        dots_here, i, mine - layer_room, n, scales[before, 0], unit(g), rounding,
                        fixed,
                    )  # fmt: skip
                    error = scales[number, 1] + product_error(g)
                    found = _row(dots_here, i, mine, n, bias, apart, error)
                elif len(shared):
                    _first_row(shared_from, i, mine, n)
                else:
                    apart = feature_dots(features, slot, i, sums, dots, dots_at)
                    found = _row(dots_here, i, mine, n, bias, apart, scales[number, 1])
                if found == OPEN:
                    if number > 0:
                        alive, is_alive = _support(
                            g, slot * n * stride, stride, layers[before], scales[before, 0],
                            mine - layer_room, n, i,
                        )  # fmt: skip
                    else:
                        alive, is_alive = n, feature_alive(features, slot, i)
                    trusted = SMALLEST <= dots[dots_at + i] <= LARGEST
                    if not is_alive and not bias:
                        silence_row(i, mine, n)
                    elif not trusted or not spanned(i, mine, n, alive + bias):
                        prefixes[slot] = BORDERLINE
                        continue
                if number == last:
                    found_logits = logits_from + 8 * slot * outputs
                    _logits(
                        z, slot * z_room, mine, n, i, units, std, found_logits, draws[slot], k0, k1
                    )  # fmt: skip
                    verdict = judge(found_logits, units, labels[i], answers, slot * n_answers)
                    if verdict != GOES_ON:
                        prefixes[slot] = i if verdict == ERRS else BORDERLINE
                        continue
                else:
                    for j in range(i + 1):
                        a[slot * n + j] = std * peek(mine, i * n + j) * unit(g)
                live[kept] = slot
                kept += 1
            count = kept
            if number == last:
                break
            # What is made of a layer's normals so far is the same for all.
            made = (offset + CHUNK - 1) // CHUNK * CHUNK
            for k in range(count):
                slot = live[k]
                layer_pass(
                    g, h, slot * n * stride, stride, offset, width, layers[number, RECTIFIED] > 0,
                    masks, LANES * number, i, a, slot * n, sums, made, draws[slot], block, k0, k1,
                    dots, slot * (n + 2),
                )  # fmt: skip
    for k in range(count):
        prefixes[live[k]] = n
