"""A program's forward pass for all lanes, with the bound on its rounding error.

The bound (derived in `biasgpu.margins`, here kept for each unit rather than for a layer as a whole)
is carried along by `ranges.py`; pooling, padding and a ReLU on its own leave it alone.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.convolution import convolution_own, convolution_shared
from biasgpu.engines.cpu.dense import dense_own, dense_shared
from biasgpu.engines.cpu.distinct import distinct
from biasgpu.engines.cpu.first import first_dense, first_dense_wide
from biasgpu.engines.cpu.program import (
    CHANNELS,
    CONV,
    DENSE,
    HEIGHT,
    KIND,
    OUTPUTS,
    PAD,
    PADDING,
    POOL,
    POOL_SIZE,
    SILENCES,
    WIDE,
    WIDTH,
)
from biasgpu.engines.cpu.ranges import input_bounds, note_alive, reset_ceilings
from biasgpu.engines.cpu.simd import load, maximum, relu, splat_like, store
from biasgpu.engines.cpu.weights import lanes, screening


@njit
def _pool(x: Any, y: Any, w: Any, op: Any, n_samples: int) -> None:
    width, size = lanes(w), op[POOL_SIZE]
    rows, columns = op[HEIGHT] // size, op[WIDTH] // size
    out = 0
    for plane in range(n_samples * op[CHANNELS]):
        for row in range(rows):
            for column in range(columns):
                corner = (plane * op[HEIGHT] + row * size) * op[WIDTH] + column * size
                best = load(x, corner * width)
                for i in range(size):
                    for j in range(size):
                        best = maximum(best, load(x, (corner + i * op[WIDTH] + j) * width))
                store(y, out * width, best)
                out += 1


@njit
def _pad(x: Any, y: Any, w: Any, op: Any, n_samples: int) -> None:
    width, pad = lanes(w), op[PADDING]
    rows, columns = op[HEIGHT] + 2 * pad, op[WIDTH] + 2 * pad
    zero = splat_like(w, w.dtype.type(0.0))
    for plane in range(n_samples * op[CHANNELS]):
        for row in range(rows):
            for column in range(columns):
                place = ((plane * rows + row) * columns + column) * width
                inside = pad <= row < rows - pad and pad <= column < columns - pad
                if inside:
                    i = (plane * op[HEIGHT] + row - pad) * op[WIDTH] + column - pad
                    store(y, place, load(x, i * width))
                else:
                    store(y, place, zero)


@njit
def _relu(x: Any, y: Any, w: Any, n: int) -> None:
    width = lanes(w)
    for i in range(n):
        store(y, i * width, relu(load(x, i * width)))


def _make_forward(quick: bool) -> Any:
    @njit
    @distinct("quick" if quick else "law")
    def forward(
        ops: Any,
        constants: Any,
        quads: Any,
        family: int,
        seed: Any,
        names: Any,
        inputs: Any,
        wide_inputs: Any,
        input_peaks: Any,
        order: int,
        magnitudes: int,
        n_samples: int,
        w: Any,
        here: Any,
        there: Any,
        ranges: Any,
        bounds: Any,
        ceilings: Any,
        alive: Any,
    ) -> Any:
        """Logits of the draws in `names` for the shared `inputs`.

        Args (in numba):
            inputs: `(samples * features,)`, of the dtype of the buffers, shared by all lanes; empty
                where each lane has an input of its own, which then lies in `here`: the law alone.
            wide_inputs: the same in float64.
            input_peaks: the largest input magnitude of each group of inputs.
            order, magnitudes: addresses; of a first dense layer while screening (first.py), whose
                inputs are rearranged, too.
            w, here, there: buffers for weights and activations.
            ranges, bounds, ceilings: buffers for error bounds (ranges.py).
            alive: receives 0 for each sample and lane whose logits are exactly zero, else 1.

        Returns:
            The buffer that holds the logits, `[sample, output, lane]`. While screening, the first
            vector of `bounds` then holds the logits' error bound (of two logits, half the bound of
            their difference), the second the largest bound of anything: past 1e29 a sum may have
            overflowed, and no bound means anything.
        """
        width = lanes(w)
        number = w.dtype.type
        zero = splat_like(w, number(0.0))
        limit, error = zero, zero
        shared = quick or len(inputs) > 0
        if screening(w):
            for sample in range(n_samples):
                store(alive, sample * width, splat_like(w, number(1.0)))
        for group in range(len(input_peaks)):
            store(ranges, 2 * group * width, zero)
            store(ranges, (2 * group + 1) * width, splat_like(w, input_peaks[group]))
        for i in range(len(ops)):
            op, constant = ops[i], constants[i]
            kind = op[KIND]
            if kind in (DENSE, CONV):
                if screening(w):
                    if i > 0 or kind == CONV:
                        input_bounds(w, op, constant, ranges, bounds)
                    reset_ceilings(w, ceilings, n_samples)
                if i == 0 and shared and kind == DENSE:
                    if not quick:
                        error = dense_shared(
                            inputs, there, w, names, seed, op, constant, family, n_samples,
                            bounds, ranges, ceilings, order, magnitudes,
                        )  # fmt: skip
                    elif op[WIDE]:
                        error = first_dense_wide(
                            wide_inputs, there, w, names, seed, op, constant, family, n_samples,
                            bounds, ranges, ceilings, order, magnitudes,
                        )  # fmt: skip
                    else:
                        error = first_dense(
                            inputs, there, w, names, seed, op, constant, family, n_samples,
                            bounds, ranges, ceilings, order, magnitudes,
                        )  # fmt: skip
                elif i == 0 and shared:
                    error = convolution_shared(
                        inputs, there, w, names, seed, op, constant, quads, family, n_samples,
                        bounds, ranges, ceilings,
                    )  # fmt: skip
                elif kind == DENSE:
                    error = dense_own(
                        here, there, w, names, seed, op, constant, family, n_samples,
                        bounds, ranges, ceilings, order, magnitudes,
                    )  # fmt: skip
                else:
                    error = convolution_own(
                        here, there, w, names, seed, op, constant, quads, family, n_samples,
                        bounds, ranges, ceilings,
                    )  # fmt: skip
                limit = maximum(limit, error)
                if screening(w) and op[SILENCES]:
                    note_alive(w, ceilings, alive, n_samples)
            elif kind == POOL:
                _pool(here, there, w, op, n_samples)
            elif kind == PAD:
                _pad(here, there, w, op, n_samples)
            else:
                _relu(here, there, w, n_samples * op[OUTPUTS])
            here, there = there, here
        store(bounds, 0, error)
        store(bounds, width, limit)
        return here

    return forward


forward_quick = _make_forward(True)  # screens
forward_law = _make_forward(False)
