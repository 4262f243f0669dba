"""Deferred decisions for one draw: layer after layer, input after input, until the first error.

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
    LAW_ERROR,
    OPEN,
    errors_at,
    factor_row,
    lengths_at,
    silence_row,
    space_size,
    spanned,
)
from biasgpu.engines.cpu.units import (
    BIAS,
    OFFSET,
    RECTIFIED,
    UNITS,
    absolute_error,
    layer_pass,
    make_normals,
    relative_error,
    roundoff,
    unit,
)
from biasgpu.rng import STREAM_OUTPUTS

SMALLEST, LARGEST = 1e-20, 1e30  # squared lengths that float32 is trusted with
SLACK = 1.0 + 2.0**-16  # of lengths that were added up in float32
TINY = 2.0**-120  # more than underflow can take from a pre-activation
UNSURE, TIED = -1, -2


@njit
def _support(
    g: Any, stride: int, layer: Any, std: float, space: Any, at: int, n: int, i: int
) -> Any:
    """How many units of a layer may be alive for an input up to i, and whether any is for i."""
    alive, last = 0, False
    rounding = relative_error(g) + (i + 4) * roundoff(g)
    for u in range(layer[OFFSET], layer[OFFSET] + layer[UNITS]):
        found = False
        for s in range(i + 1):
            y, e, any_weight = 0.0, 0.0, False
            for j in range(s + 1):
                place = at + s * n + j
                a, x = std * space[place], unit(g) * np.float64(g[j * stride + u])
                off = std * space[errors_at(place, n)]
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
    z: Any, made: int, space: Any, at: int, n: int, i: int, units: int, std: float, logits: Any,
    draw: Any, k0: Any, k1: Any,
) -> int:  # fmt: skip
    """Logits of input i, then bounds of how far they are from the law; returns normals made."""
    while made < (i + 1) * units:
        make_normals(z, made, np.uint64(STREAM_OUTPUTS), draw, np.uint64(made // 4), k0, k1)
        made += GROUP
    for c in range(units):
        total, doubt = 0.0, 0.0
        for j in range(i + 1):
            q = j * units + c  # natural order: word q % 4 of block q // 4
            x = unit(z) * np.float64(z[q // GROUP * GROUP + q % 4 * LANES + q % GROUP // 4])
            place = at + i * n + j
            a = std * space[place]
            total += a * x
            doubt += std * space[errors_at(place, n)] * abs(x)
            doubt += abs(a) * (relative_error(z) * abs(x) + absolute_error(z))
        logits[c], logits[units + c] = total, doubt * SLACK + abs(total) * LAW_ERROR
    return made


@njit(forceinline=True)
def _top(logits: Any, units: int) -> int:
    """The unit whose logit is certainly the largest, TIED or UNSURE."""
    if units == 1:
        if logits[0] == 0.0 and logits[1] == 0.0:
            return TIED
        return UNSURE if not abs(logits[0]) > logits[1] else int(logits[0] > 0.0)
    best, all_zero = 0, True
    for c in range(units):
        if logits[c] > logits[best]:
            best = c
        all_zero = all_zero and logits[c] == 0.0 and logits[units + c] == 0.0
    if all_zero:
        return TIED
    for c in range(units):
        if c != best and not logits[best] - logits[c] > logits[units + best] + logits[units + c]:
            return UNSURE
    return best


@njit(forceinline=True)
def reveal(
    layers: Any, scales: Any, shared: Any, labels: Any, blocks: int, stride: int, masks: Any,
    seed: Any, draw: Any, g: Any, h: Any, a: Any, z: Any, sums: Any, dots: Any, space: Any,
    logits: Any, answers: Any,
) -> int:  # fmt: skip
    """The prefix of a draw, or BORDERLINE.

    Args (in numba):
        layers: int64 `(layers, N_COLUMNS)`: the plan.
        scales: float64 `(layers, 2)`: standard deviations of the weights, and what the inner
            products of a layer's inputs round.
        shared: float64 `(n * n,)`: the factor of the first layer's inputs.
        labels: int64 `(n,)`.
        blocks, stride: Philox blocks of a direction, and the normals they hold.
        masks: `(layers * 16,)`: lanes of a layer's last vector that are units.
        g, h: `(n * stride,)`: normals and activations of all inputs so far.
        a .. answers: scratch; see deferred.py.
    """
    n, last = len(labels), len(layers) - 1
    room = space_size(n)
    k0, k1 = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
    units = layers[last, UNITS]
    for c in range(len(answers)):
        answers[c] = UNSURE
    z_made = 0
    for i in range(n):
        made = 0
        block = np.uint64(i * blocks)
        for number in range(last + 1):
            at = number * room  # what is known of this layer's inputs
            std = scales[number, 0]
            if number == 0:
                for j in range(i + 1):
                    space[at + i * n + j] = shared[i * n + j]
                    space[errors_at(at, n) + i * n + j] = 0.0
            elif (
                factor_row(dots, i, space, at, n, scales[number, 1]) == OPEN
                or not dots[i] >= SMALLEST
            ):
                alive, is_alive = _support(
                    g, stride, layers[number - 1], scales[number - 1, 0], space, at - room, n, i
                )
                bias = layers[number, BIAS]
                if not is_alive and not bias:
                    silence_row(i, space, at, n)
                elif not dots[i] >= SMALLEST or not spanned(i, space, at, n, alive + bias):
                    return BORDERLINE
            if number == last:
                z_made = _logits(z, z_made, space, at, n, i, units, std, logits, draw, k0, k1)
                break
            for j in range(i + 1):
                a[j] = std * space[at + i * n + j] * unit(g)
            made = layer_pass(
                g, h, stride, layers[number, OFFSET], layers[number, UNITS],
                layers[number, RECTIFIED] > 0, masks, 16 * number, i, a, sums, made, draw, block,
                k0, k1, dots,
            )  # fmt: skip
            # The next layer's inputs: their length, and how far they are from the law's.
            sizes = lengths_at(at, n) + 2 * n
            space[sizes + i] = unit(g) * np.sqrt(dots[i + 1])
            apart, rounding = 0.0, relative_error(g) + (i + 4) * roundoff(g)
            fixed = absolute_error(g) * np.sqrt(layers[number, UNITS])
            for j in range(i + 1):
                place = at + i * n + j
                error = space[errors_at(place, n)] + abs(space[place]) * rounding
                apart += std * (error * space[sizes + j] + abs(space[place]) * fixed)
            if layers[number + 1, BIAS]:
                for j in range(i + 1):
                    dots[j] += 1.0
            if not dots[i] <= LARGEST:
                return BORDERLINE
            length = np.sqrt(dots[i]) * SLACK
            above = lengths_at(at + room, n) + i
            space[above], space[above + n] = length, apart * SLACK + LAW_ERROR * length
        top, label = _top(logits, units), labels[i]
        if top == UNSURE:
            return BORDERLINE
        if top == TIED:  # goes to class 0, whatever the arrangement
            if label != 0:
                return i
            continue
        # Units by class, then classes by unit.
        half = len(answers) // 2
        mine, theirs = answers[label], answers[half + top]
        if (mine != UNSURE and mine != top) or (theirs != UNSURE and theirs != label):
            return i
        answers[label], answers[half + top] = top, label
    return n
