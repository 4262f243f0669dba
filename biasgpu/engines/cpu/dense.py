"""Dense layers in SIMD lanes: four output units by two samples at a time.

Sums run as the law prescribes: 16 terms, then the runs' sums, then the bias. A first layer while
screening is in first.py.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.distinct import distinct
from biasgpu.engines.cpu.program import (
    BLOCKS,
    COLUMNS,
    FIRST_BLOCK,
    INPUTS,
    PAIR,
    RELU_AFTER,
    SCALE,
    SLOT_STEP,
    UNITS,
)
from biasgpu.engines.cpu.quads import (
    add4,
    bottom4,
    keep4,
    load4,
    low4,
    madd4,
    max4,
    own,
    relu4,
    shared,
    top4,
    zero4,
)
from biasgpu.engines.cpu.ranges import note_range, pair_bound, raise_ceiling, unit_bounds
from biasgpu.engines.cpu.simd import maximum, splat_like
from biasgpu.engines.cpu.weights import draw_units, lanes, screening
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.reference import RUN_LENGTH


def _make_sums(fetch: Any) -> Any:
    @njit(forceinline=True)
    def sums(x: Any, a: int, b: int, n: int, w: Any, slots: Any, order: int, base: Any) -> Any:
        """The sums of four units over the inputs from `a` and `b` on, as the law orders them."""
        total_a, total_b = zero4(w), zero4(w)
        for start in range(0, n, RUN_LENGTH):
            part_a, part_b = zero4(w), zero4(w)
            for k in range(start, min(start + RUN_LENGTH, n)):
                four = load4(w, slots, k)
                part_a = madd4(four, fetch(w, x, a + k), part_a)
                part_b = madd4(four, fetch(w, x, b + k), part_b)
            total_a, total_b = add4(total_a, part_a), add4(total_b, part_b)
        return total_a, total_b

    return sums


@njit(forceinline=True)
def _nothing(x: Any, n: int, w: Any, slots: Any, order: int) -> Any:
    return zero4(w)


@njit(forceinline=True)
def _none_ahead(
    x: Any, y: Any, at: int, far: Any, row: int, n: int, n_samples: int, w: Any, slots: Any,
    order: int, base: Any,
) -> int:  # fmt: skip
    return 0


@njit(forceinline=True)
def _unit_bounds(
    w: Any, slots: Any, op: Any, constants: Any, bounds: Any, order: int, magnitudes: int
) -> Any:
    return unit_bounds(w, slots, op, constants, bounds)


def make_dense(
    name: str,
    sums: Any,
    common: Any = _nothing,
    bounds_of: Any = _unit_bounds,
    ahead: Any = _none_ahead,
) -> Any:
    """The layer, given how to add up.

    Args:
        name: of this one: see distinct.py.
        sums: of four units, for two samples.
        common: of four units, what all samples have in common; handed on to `sums`.
        bounds_of: error bounds of four units.
        ahead: sums of four units for the first samples, to where the outputs go; says how many it
            took. `sums` is for the others.
    """

    @njit
    @distinct(name)
    def dense(
        x: Any,
        y: Any,
        w: Any,
        names: Any,
        seed: Any,
        op: Any,
        constants: Any,
        family: int,
        n_samples: int,
        bounds: Any,
        ranges: Any,
        ceilings: Any,
        order: int,
        magnitudes: int,
    ) -> Any:
        """One dense layer for all lanes.

        Args (in numba):
            x, y: inputs and outputs, `[sample, unit, lane]` (shared inputs have no lanes). w:
            buffer for weights, of the dtype that says how many lanes there are. bounds: the error
            bound of each group of inputs, times its share in a unit's (forward.py). ranges:
            receives each unit's error bound and largest magnitude. ceilings: per sample, what the
            law's pre-activations may reach. order, magnitudes: addresses; of a
            first layer (first.py).

        Returns:
            The largest error bound of a unit; of two logits, half the bound of their difference.
        """
        width = lanes(w)
        n_in, units, columns, blocks = op[INPUTS], op[UNITS], op[COLUMNS], op[BLOCKS]
        worst = splat_like(w, w.dtype.type(0.0))
        stride = columns + (-columns) % SLOT_STEP
        for first in range(0, units, 4):
            if names[STOP]:
                return worst
            # The last four may be fewer: the slots then repeat the last unit, and so do the stores.
            last = min(first + 3, units - 1)
            block = op[FIRST_BLOCK] + first * blocks
            draw_units(
                w, stride, names, block, blocks, last - first + 1, family, constants[SCALE], seed
            )
            s1, s2, s3 = min(1, last - first), min(2, last - first), last - first
            slots = (0, s1 * stride, s2 * stride, s3 * stride)
            top, bottom, errors = low4(w), low4(w), zero4(w)
            if screening(w):
                errors = bounds_of(w, slots, op, constants, bounds, order, magnitudes)
                worst = maximum(worst, max4(errors))
                if op[PAIR]:
                    worst = pair_bound(w, slots[0], slots[1], op, constants, ranges)
            base = common(x, n_in, w, slots, order)
            far = (s1 * width, s2 * width, s3 * width)
            done = ahead(
                x, y, first * width, far, units * width, n_in, n_samples, w, slots, order, base
            )
            for a in range(0, n_samples, 2):
                b = min(a + 1, n_samples - 1)
                if a < done:
                    out_a = load4(y, (0, s1, s2, s3), a * units + first)
                    out_b = load4(y, (0, s1, s2, s3), b * units + first)
                else:
                    out_a, out_b = sums(x, a * n_in, b * n_in, n_in, w, slots, order, base)
                if columns > n_in:
                    bias = load4(w, slots, n_in)
                    out_a, out_b = add4(out_a, bias), add4(out_b, bias)
                top, bottom = top4(top, out_a, out_b), bottom4(bottom, out_a, out_b)
                if screening(w):
                    raise_ceiling(ceilings, a * width, max4(add4(out_a, errors)))
                    raise_ceiling(ceilings, b * width, max4(add4(out_b, errors)))
                if op[RELU_AFTER]:
                    out_a, out_b = relu4(out_a), relu4(out_b)
                keep4(y, (a * units + first) * width, far[0], far[1], far[2], out_a)
                keep4(y, (b * units + first) * width, far[0], far[1], far[2], out_b)
            if screening(w):
                note_range(w, op, ranges, first, errors[0], top[0], bottom[0])
                note_range(w, op, ranges, first + s1, errors[1], top[1], bottom[1])
                note_range(w, op, ranges, first + s2, errors[2], top[2], bottom[2])
                note_range(w, op, ranges, first + s3, errors[3], top[3], bottom[3])
        return worst

    return dense


dense_own = make_dense("own", _make_sums(own))  # inputs are activations
dense_shared = make_dense("shared", _make_sums(shared))  # inputs are the task's
