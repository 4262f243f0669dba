"""A first dense layer while screening: what all samples of a stage have in common, once.

Inputs that are the same in all samples of a stage (*still*: the background of images) add the same
to a unit for each of them; only the others (*moving*) are multiplied sample by sample. `order` says
which are which: the number of still inputs, the place in it from which on weights are looked at for
the error bound, then all inputs, still ones first. Rows of inputs are in that order: one of the
still inputs, then a sample a row.

Sums are in any order that rounds little: 8 terms, 8 of these, then the blocks of 64, still and
moving inputs apart. Most of a network's rounding error starts in its first layer, from where every
later layer makes it grow. Many inputs are added in float64: sixteen lanes cost two instructions
each, little beside making the weights.

The error bound is inject times the sum of |weight| times the input's largest magnitude in this
stage (margins.py, tighter form; e = 0). For still inputs under a uniform prior, the largest weight
there is stands in for each |weight|: twice the average, of the smallest inputs, for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from biasgpu.engines.cpu.dense import make_dense
from biasgpu.engines.cpu.memory import peek_int, peek_splat
from biasgpu.engines.cpu.program import (
    BLOCK,
    COLUMNS,
    DENSE,
    FAN_IN,
    INJECT,
    KIND,
    RUN,
    TINY,
    Program,
)
from biasgpu.engines.cpu.quads import abs4, add1, add4, keep4, load4, madd4, narrow4, zero4
from biasgpu.engines.cpu.ranges import FLOOR
from biasgpu.engines.cpu.simd import load_splat, load_splat_wide, splat_like, widen

HEAD = 2  # entries of `order`, and of magnitudes, before those of the inputs


@dataclass(frozen=True)
class Inputs:
    """What the compiled screen reads of the training samples, stage after stage.

    Attributes:
        rows: float32 `(n_rows * features,)`. Of a first dense layer, a row of still inputs for each
            stage, followed by the stage's samples; else a row for each sample.
        wide: the same in float64.
        order: int64 `(stages, HEAD + features)`; of no other first layer.
        magnitudes: float32 of that shape: what still inputs add to the sum of magnitudes, nothing,
            then each input's largest magnitude.
        peaks: float32, the largest magnitude of each group of inputs over all samples.
    """

    rows: npt.NDArray[np.float32]
    wide: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64]
    magnitudes: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]

    @classmethod
    def make(
        cls,
        program: Program,
        x_train: npt.NDArray[np.float32],
        stages: npt.NDArray[np.int64],
        largest_weight: float,
    ) -> Inputs:
        """Sort inputs stage by stage.

        Args:
            program: of the ensemble.
            x_train: float32 `(samples, *shape)`.
            stages: where the stages end.
            largest_weight: of the first layer, or infinity where nobody knows.
        """
        samples = program.inputs(x_train, np.float32)
        peaks = program.peaks(samples)
        if program.ops[0, KIND] != DENSE:
            rows = samples.reshape(-1)
            none, nothing = np.zeros((len(stages), 1), np.int64), np.zeros((len(stages), 1))
            wide = np.zeros(1)
            return cls(rows, wide, none, nothing.astype(np.float32), peaks)
        parts, orders, magnitudes = [], [], []
        begin = 0
        for end in stages.tolist():
            part = samples[begin:end]
            still = (part == part[0]).all(axis=0)
            order = np.argsort(~still, kind="stable")
            n_still = int(still.sum())
            largest = np.maximum(np.abs(part).max(axis=0), FLOOR)[order].astype(np.float64)
            bounded = np.isfinite(largest_weight)
            rest = largest[:n_still].sum() * largest_weight if bounded else 0.0
            orders.append([n_still, n_still if bounded else 0, *order.tolist()])
            with np.errstate(over="ignore"):  # such a bound is infinite: nothing is certain
                magnitudes.append(np.array([rest * (1 + 2.0**-20), 0.0, *largest], np.float32))
            parts += [part[:1, order], part[:, order]]
            begin = end
        rows = np.concatenate(parts).reshape(-1)
        return cls(
            rows, rows.astype(np.float64), np.array(orders, np.int64), np.array(magnitudes), peaks
        )


@njit(forceinline=True)
def _common(x: Any, n: int, w: Any, slots: Any, order: int) -> Any:
    """The sums of four units over the still inputs."""
    total, n_still = zero4(w), peek_int(order, 0)
    for begin in range(0, n_still, BLOCK):
        block, end = zero4(w), min(begin + BLOCK, n_still)
        for start in range(begin, end, RUN):
            part = zero4(w)
            for k in range(start, min(start + RUN, end)):
                part = madd4(load4(w, slots, peek_int(order, HEAD + k)), load_splat(w, x, k), part)
            block = add4(block, part)
        total = add4(total, block)
    return total


@njit(forceinline=True)
def _sums(x: Any, a: int, b: int, n: int, w: Any, slots: Any, order: int, base: Any) -> Any:
    """The sums of four units over all inputs of two samples."""
    total_a, total_b = zero4(w), zero4(w)
    a, b = a + n, b + n  # behind the row of still inputs
    if n - peek_int(order, 0) <= RUN:  # so few that levels of sums are what would cost
        for k in range(peek_int(order, 0), n):
            four = load4(w, slots, peek_int(order, HEAD + k))
            total_a = madd4(four, load_splat(w, x, a + k), total_a)
            total_b = madd4(four, load_splat(w, x, b + k), total_b)
        return add4(base, total_a), add4(base, total_b)
    for begin in range(peek_int(order, 0), n, BLOCK):
        block_a, block_b, end = zero4(w), zero4(w), min(begin + BLOCK, n)
        for start in range(begin, end, RUN):
            part_a, part_b = zero4(w), zero4(w)
            for k in range(start, min(start + RUN, end)):
                four = load4(w, slots, peek_int(order, HEAD + k))
                part_a = madd4(four, load_splat(w, x, a + k), part_a)
                part_b = madd4(four, load_splat(w, x, b + k), part_b)
            block_a, block_b = add4(block_a, part_a), add4(block_b, part_b)
        total_a, total_b = add4(total_a, block_a), add4(total_b, block_b)
    return add4(base, total_a), add4(base, total_b)


@njit(forceinline=True)
def _ahead(
    x: Any, y: Any, at: int, far: Any, row: int, n: int, n_samples: int, w: Any, slots: Any,
    order: int, base: Any,
) -> int:  # fmt: skip
    """What `_sums` gives, of four samples at a time, to `y`. Returns for how many samples.

    Weights of four units outgrow the first-level cache: this reads them half as often.
    """
    begin = peek_int(order, 0)
    if n - begin <= RUN:
        return 0
    for sample in range(0, n_samples - 3, 4):
        a = (sample + 1) * n  # behind the row of still inputs
        b, c, d = a + n, a + 2 * n, a + 3 * n
        total_a, total_b, total_c, total_d = zero4(w), zero4(w), zero4(w), zero4(w)
        for start in range(begin, n, BLOCK):
            block_a, block_b, block_c, block_d = zero4(w), zero4(w), zero4(w), zero4(w)
            end = min(start + BLOCK, n)
            for run in range(start, end, RUN):
                part_a, part_b, part_c, part_d = zero4(w), zero4(w), zero4(w), zero4(w)
                for k in range(run, min(run + RUN, end)):
                    four = load4(w, slots, peek_int(order, HEAD + k))
                    part_a = madd4(four, load_splat(w, x, a + k), part_a)
                    part_b = madd4(four, load_splat(w, x, b + k), part_b)
                    part_c = madd4(four, load_splat(w, x, c + k), part_c)
                    part_d = madd4(four, load_splat(w, x, d + k), part_d)
                block_a, block_b = add4(block_a, part_a), add4(block_b, part_b)
                block_c, block_d = add4(block_c, part_c), add4(block_d, part_d)
            total_a, total_b = add4(total_a, block_a), add4(total_b, block_b)
            total_c, total_d = add4(total_c, block_c), add4(total_d, block_d)
        place = at + sample * row
        keep4(y, place, far[0], far[1], far[2], add4(base, total_a))
        keep4(y, place + row, far[0], far[1], far[2], add4(base, total_b))
        keep4(y, place + 2 * row, far[0], far[1], far[2], add4(base, total_c))
        keep4(y, place + 3 * row, far[0], far[1], far[2], add4(base, total_d))
    return n_samples - n_samples % 4


@njit(forceinline=True)
def _widen4(a: Any) -> Any:
    return (widen(a[0]), widen(a[1]), widen(a[2]), widen(a[3]))


@njit(forceinline=True)
def _wide_common(x: Any, n: int, w: Any, slots: Any, order: int) -> Any:
    total = _widen4(zero4(w))
    for k in range(peek_int(order, 0)):
        wide = _widen4(load4(w, slots, peek_int(order, HEAD + k)))
        total = madd4(wide, load_splat_wide(w, x, k), total)
    return total


@njit(forceinline=True)
def _wide_sums(x: Any, a: int, b: int, n: int, w: Any, slots: Any, order: int, base: Any) -> Any:
    sum_a, sum_b = base, base
    for k in range(peek_int(order, 0), n):
        wide = _widen4(load4(w, slots, peek_int(order, HEAD + k)))
        sum_a = madd4(wide, load_splat_wide(w, x, a + n + k), sum_a)
        sum_b = madd4(wide, load_splat_wide(w, x, b + n + k), sum_b)
    return narrow4(sum_a), narrow4(sum_b)


@njit(forceinline=True)
def _bounds(
    w: Any, slots: Any, op: Any, constants: Any, bounds: Any, order: int, magnitudes: int
) -> Any:
    """Error bounds of four units."""
    number = w.dtype.type
    even, odd = zero4(w), zero4(w)  # two chains each, so that none waits for its last addition
    end, begin = HEAD + op[FAN_IN], HEAD + peek_int(order, 1)
    for k in range(begin, end - 1, 2):
        one = load4(w, slots, peek_int(order, k))
        other = load4(w, slots, peek_int(order, k + 1))
        even = madd4(abs4(one), peek_splat(w, magnitudes, k), even)
        odd = madd4(abs4(other), peek_splat(w, magnitudes, k + 1), odd)
    if (end - begin) % 2:
        four = load4(w, slots, peek_int(order, end - 1))
        even = madd4(abs4(four), peek_splat(w, magnitudes, end - 1), even)
    even = add1(add4(even, odd), peek_splat(w, magnitudes, 0))
    if op[COLUMNS] > op[FAN_IN]:
        even = add4(even, abs4(load4(w, slots, op[FAN_IN])))
    inject, tiny = splat_like(w, number(constants[INJECT])), splat_like(w, number(constants[TINY]))
    return madd4(even, inject, (tiny, tiny, tiny, tiny))


first_dense = make_dense("first", _sums, _common, _bounds, _ahead)
first_dense_wide = make_dense("first_wide", _wide_sums, _wide_common, _bounds)  # float64 inputs
