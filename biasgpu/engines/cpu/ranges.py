"""What screening notes of each unit: how far it may lie from the law, and how large it gets.

`ranges` holds two vectors a group of activations (a unit's, or a channel's): the bound e of the
difference to the law's activations, and the largest magnitude h. A unit whose pre-activations are
all below -e is silent under the law as well: its e is 0. That halves the bound again and again.

`alive` is 0 for a sample, in the lanes in which a whole ReLU layer is silent under the law as well.
Without biases the logits are then exactly zero, a tie, which narrow networks often come to.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.program import (
    COLUMNS,
    FAN_IN,
    GAIN,
    GROUP_SIZE,
    GROUPS,
    INJECT,
    RELU_AFTER,
    TINY,
)
from biasgpu.engines.cpu.quads import LOWEST, abs4, add1, add4, load4, madd4, zero4
from biasgpu.engines.cpu.simd import (
    absolute,
    load,
    madd,
    maximum,
    negative,
    splat_like,
    store,
    zero_where_below,
)
from biasgpu.engines.cpu.weights import lanes

FLOOR = 2.0**-100  # margins.layer_constants, floor_hmax


@njit
def input_bounds(w: Any, op: Any, constants: Any, ranges: Any, bounds: Any) -> None:
    """For each group of inputs `gain e + inject h`; for the bias, an input of 1, `inject`."""
    width = lanes(w)
    gain = splat_like(w, w.dtype.type(constants[GAIN]))
    inject = splat_like(w, w.dtype.type(constants[INJECT]))
    floor = splat_like(w, w.dtype.type(FLOOR))  # keeps what underflows from vanishing: margins.py
    for group in range(op[GROUPS]):
        error, peak = load(ranges, 2 * group * width), load(ranges, (2 * group + 1) * width)
        store(bounds, group * width, gain * error + inject * maximum(peak, floor))
    store(bounds, op[GROUPS] * width, inject)


@njit(forceinline=True)
def unit_bounds(w: Any, slots: Any, op: Any, constants: Any, bounds: Any) -> Any:
    """Error bounds of four units: the sum of |weight| times the bound of its input.

    Args (in numba):
        slots: the vectors of `w` at which the units' weights start.
        bounds: what `input_bounds` made; a group's inputs share a bound.
    """
    width = lanes(w)
    groups, size = op[GROUPS], op[GROUP_SIZE]
    even, odd = zero4(w), zero4(w)  # two chains each, so that none waits for its last addition
    k = 0
    if size == 1:
        for k in range(0, groups - 1, 2):
            even = madd4(abs4(load4(w, slots, k)), load(bounds, k * width), even)
            odd = madd4(abs4(load4(w, slots, k + 1)), load(bounds, (k + 1) * width), odd)
        if groups % 2:
            last = groups - 1
            even = madd4(abs4(load4(w, slots, last)), load(bounds, last * width), even)
    else:
        for group in range(groups):
            bound = load(bounds, group * width)
            for _ in range(size // 2):
                even = madd4(abs4(load4(w, slots, k)), bound, even)
                odd = madd4(abs4(load4(w, slots, k + 1)), bound, odd)
                k += 2
            if size % 2:
                even = madd4(abs4(load4(w, slots, k)), bound, even)
                k += 1
    if op[COLUMNS] > op[FAN_IN]:
        bias = abs4(load4(w, slots, op[FAN_IN]))
        even = madd4(bias, load(bounds, groups * width), even)
    return add1(add4(even, odd), splat_like(w, w.dtype.type(constants[TINY])))


@njit
def pair_bound(w: Any, u: int, v: int, op: Any, constants: Any, ranges: Any) -> Any:
    """Half the error bound of the difference of two units, from what is known of their inputs.

    An error e of an input moves the difference by |w_u - w_v| e only, where it may move both units
    by |w_u| e and |w_v| e. What the units round by themselves, and what their weights may be off
    (the gain beyond 1), adds up as before.

    Args (in numba):
        u, v: the vectors of `w` at which the units' weights start.
        ranges: still those of the inputs.
    """
    width = lanes(w)
    number = w.dtype.type
    gain, inject = splat_like(w, number(constants[GAIN])), splat_like(w, number(constants[INJECT]))
    beyond = splat_like(w, number(constants[GAIN] - 1.0))
    floor = splat_like(w, number(FLOOR))
    apart, both = splat_like(w, number(0.0)), splat_like(w, number(0.0))
    at_u, at_v = u * width, v * width
    for group in range(op[GROUPS]):
        error = load(ranges, 2 * group * width)
        peak = maximum(load(ranges, (2 * group + 1) * width), floor)
        own = beyond * error + inject * peak
        moved = gain * error
        for _ in range(op[GROUP_SIZE]):
            one, other = load(w, at_u), load(w, at_v)
            apart = madd(absolute(one - other), moved, apart)
            both = madd(absolute(one) + absolute(other), own, both)
            at_u, at_v = at_u + width, at_v + width
    if op[COLUMNS] > op[FAN_IN]:
        both = madd(absolute(load(w, at_u)) + absolute(load(w, at_v)), inject, both)
    half = splat_like(w, number(0.5))
    return half * (apart + both) + splat_like(w, number(constants[TINY]))


@njit(forceinline=True)
def note_range(w: Any, op: Any, ranges: Any, unit: int, bound: Any, top: Any, bottom: Any) -> None:
    """Note a unit's error bound and magnitude.

    Args (in numba):
        top, bottom: its largest and its negated smallest pre-activation.
    """
    width = lanes(w)
    if op[RELU_AFTER]:
        store(ranges, 2 * unit * width, zero_where_below(bound, top, negative(bound)))
        store(ranges, (2 * unit + 1) * width, maximum(top, splat_like(w, w.dtype.type(0.0))))
    else:
        store(ranges, 2 * unit * width, bound)
        store(ranges, (2 * unit + 1) * width, maximum(top, bottom))


@njit(forceinline=True)
def raise_ceiling(ceilings: Any, place: int, value: Any) -> None:
    """Note that a sample's pre-activations, under the law, may reach `value`."""
    store(ceilings, place, maximum(load(ceilings, place), value))


@njit
def reset_ceilings(w: Any, ceilings: Any, n_samples: int) -> None:
    """Start a layer: nothing is known to reach above the lowest number."""
    for sample in range(n_samples):
        store(ceilings, sample * lanes(w), splat_like(w, w.dtype.type(LOWEST)))


@njit
def note_alive(w: Any, ceilings: Any, alive: Any, n_samples: int) -> None:
    """After a layer: samples in whose lanes no unit can reach zero are not alive from here on."""
    width = lanes(w)
    zero = splat_like(w, w.dtype.type(0.0))
    for sample in range(n_samples):
        place = sample * width
        store(alive, place, zero_where_below(load(alive, place), load(ceilings, place), zero))
