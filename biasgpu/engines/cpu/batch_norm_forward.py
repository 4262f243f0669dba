"""Settled or given networks, compiled: the law, with eight samples in the lanes.

Weights are numbers that all lanes share, so a network costs the same however few there are. What
its batch norms multiply with and add is given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

from biasgpu.engines.cpu.batch_norm_conv import any_shared, three_shared
from biasgpu.engines.cpu.batch_norm_layers import (
    clear_margins,
    dense_shared,
    element_shared,
    expand_lanes,
    max_pool,
)
from biasgpu.engines.cpu.batch_norm_program import (
    COLUMNS,
    CONV,
    DENSE,
    DST,
    DST_HEIGHT,
    DST_PAD,
    DST_WIDTH,
    ELEMENT,
    EXPAND,
    FORKED,
    GIVEN,
    KERNEL,
    KIND,
    N_COLUMNS,
    N_FLOATS,
    POOL,
    SLOT,
    SRC,
    UNITS,
)
from biasgpu.engines.cpu.batch_norm_taps import NUMBER, VECTOR
from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.memory import address_of, peek_int
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.workspace import STOP


@njit
def _convolve(op: Any, x: Any, w: Any, y: Any) -> None:
    """All units of a convolution; addresses."""
    units, pad = peek_int(op, UNITS), peek_int(op, DST_PAD)
    height, width = peek_int(op, DST_HEIGHT), peek_int(op, DST_WIDTH)
    stride, plane = peek_int(op, COLUMNS) * NUMBER, height * (width + 2 * pad) * VECTOR
    three = peek_int(op, KERNEL) == 3
    clear_margins(units, height, width, pad, y)
    y += pad * VECTOR
    for unit in range(0, units, 2):
        second = min(unit + 1, units - 1)
        w0, w1, y0, y1 = (
            w + unit * stride,
            w + second * stride,
            y + unit * plane,
            y + second * plane,
        )
        if three:
            three_shared(op, x, w0, w1, y0, y1, 0, 0)
        else:
            any_shared(op, x, w0, w1, y0, y1, 0, 0)


@njit
def _pass(
    op: Any, factors: Any, x: Any, values: Any, scratch: Any, weights: Any, affine: Any
) -> None:
    """One pass for eight samples; addresses."""
    kind = peek_int(op, KIND)
    src, dst = values + peek_int(op, SRC) * VECTOR, values + peek_int(op, DST) * VECTOR
    fork, w = values + peek_int(op, FORKED) * VECTOR, weights + peek_int(op, GIVEN) * NUMBER
    if kind == EXPAND:
        expand_lanes(op, x, dst)
    elif kind == CONV:
        if peek_int(op, SRC) < 0:
            expand_lanes(op, x, scratch)
            src = scratch
        _convolve(op, src, w, dst)
    elif kind == DENSE:
        dense_shared(op, src, w, peek_int(op, COLUMNS) * NUMBER, peek_int(op, UNITS), dst)
    elif kind == ELEMENT:
        slot = affine + 2 * max(0, peek_int(op, SLOT)) * NUMBER
        element_shared(op, factors, src, dst, fork, slot)
    elif kind == POOL:
        max_pool(op, src, dst)


@cache
def compiled_forward() -> Callable[..., None]:
    """The compiled law of networks whose batch norms are settled."""
    digest = source_digest()

    @compiled
    def forward(
        ops: Any, constants: Any, weights: Any, affines: Any, inputs: Any, output: int,
        logits: Any, names: Any, values: Any, scratch: Any,
    ) -> None:  # fmt: skip
        """Fill `logits`, `(networks, samples, outputs)`.

        Args (in numba):
            weights: float64 `(networks, n)`, unit by unit, each with a bias.
            affines: float64 `(networks, slots, 2)`.
            inputs: float64 `(blocks, features, lanes)`; the last block may be longer than what is
                left of the samples.
        """
        _ = digest
        n_networks, n_samples, n_outputs = logits.shape
        block = inputs.shape[1] * VECTOR
        for network in range(n_networks):
            w = address_of(weights) + network * weights.shape[1] * NUMBER
            affine = address_of(affines) + network * affines.shape[1] * 2 * NUMBER
            for start in range(0, n_samples, LANES_F64):
                x = address_of(inputs) + start // LANES_F64 * block
                for number in range(len(ops)):
                    if names[STOP]:
                        return
                    op = address_of(ops) + number * N_COLUMNS * NUMBER
                    factors = address_of(constants) + number * N_FLOATS * NUMBER
                    _pass(op, factors, x, address_of(values), address_of(scratch), w, affine)
                for lane in range(min(LANES_F64, n_samples - start)):
                    for unit in range(n_outputs):
                        value = values[(output + unit) * LANES_F64 + lane]
                        logits[network, start + lane, unit] = value

    return forward
