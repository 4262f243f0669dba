"""Fully connected layers in SIMD lanes: forward, and the gradients by weights and by inputs.

Blocks of four units by two samples; for the gradients of weights, four units by four inputs.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.training.cpu.blocks import (
    make_accumulate,
    make_add_stored,
    make_addresses,
    make_descend,
    make_finish,
    make_store,
    make_zeros,
)
from biasgpu.training.cpu.lanes import BYTES, above, get, put, spread, where, whole
from biasgpu.training.cpu.plan import BIASES, FAN_IN, INPUTS, RELU, UNITS, WEIGHTS

UNIT_BLOCK, INPUT_BLOCK, SAMPLE_BLOCK = 4, 4, 2

_zeros_8, _zeros_16 = make_zeros(8), make_zeros(16)
_two, _two_shared, _four = make_addresses(2), make_addresses(2, 4), make_addresses(4)
_four_shared = make_addresses(4, 4)
_finish, _store_8, _store_16 = make_finish(4, 2), make_store(4, 2), make_store(4, 4)
_add_16, _descend_16 = make_add_stored(4, 4), make_descend(4, 4)
_accumulate_own = make_accumulate(4, 2, False)


def _make_forward(shared: bool) -> Any:
    accumulate = make_accumulate(4, 2, shared)

    @njit
    def forward(op: int, w: int, x: int, samples: int, y: int, n: int) -> None:
        """Activations `y` `[sample, unit]`.

        Args (in numba):
            op: address of the operation's row.
            w: address of all parameters.
            x: address of the inputs: of the layer before, or of the task's.
            samples: address of the numbers of the samples among the task's.
            y: address of the outputs.
            n: how many samples.
        """
        units, fan_in, inputs = whole(op, UNITS), whole(op, FAN_IN), whole(op, INPUTS)
        biases = w + BYTES * whole(op, BIASES)
        weights = w + BYTES * whole(op, WEIGHTS)
        relu = whole(op, RELU) != 0
        for u in range(0, units, UNIT_BLOCK):
            last = units - 1 - u
            rows = _four(weights + BYTES * u * fan_in, fan_in, last)
            for s in range(0, n, SAMPLE_BLOCK):
                more = min(1, n - 1 - s)
                if shared:
                    first = whole(samples, s) * inputs
                    step = whole(samples, s + more) * inputs - first
                    columns = _two_shared(x + 4 * first, step, more)
                else:
                    columns = _two(x + BYTES * s * inputs, inputs, more)
                sums = _zeros_8()
                for i in range(fan_in):
                    sums = accumulate(sums, rows, columns, i, i)
                sums = _finish(sums, biases + BYTES * u, last, relu)
                _store_8(sums, y + BYTES * (s * units + u), 1, last, units, more)

    return forward


forward_own, forward_shared = _make_forward(False), _make_forward(True)


@njit
def mask_and_sum(op: int, y: int, up: int, n: int, g: int, fresh: bool) -> None:
    """Stop the gradient `up` where the rectifier was silent, and add up that by the biases."""
    units, relu = whole(op, UNITS), whole(op, RELU) != 0
    biases = whole(op, BIASES)
    zero = spread(0.0)
    for u in range(units):
        total = zero if fresh else get(g, biases + u)
        for s in range(n):
            d = get(up, s * units + u)
            if relu:
                d = where(above(get(y, s * units + u), zero), d, zero)
                put(up, s * units + u, d)
            total = total + d
        put(g, biases + u, total)


def _make_by_weights(shared: bool) -> Any:
    accumulate = make_accumulate(4, 4, shared)
    size = 4 if shared else BYTES
    four = _four_shared if shared else _four

    @njit
    def by_weights(
        op: int, x: int, samples: int, up: int, n: int, target: int, fresh: bool, at_once: bool,
        rate: Any, active: Any,
    ) -> None:  # fmt: skip
        """The gradient by the weights, from `up` `[sample, unit]`.

        Args (in numba):
            op, x, samples, n: as in `forward`.
            target: address of what is as long as all parameters.
            fresh: whether the gradient is stored there, or added to what is there.
            at_once: whether it is taken from there, `rate` (negative) times, in lanes `active`.
        """
        units, fan_in, inputs = whole(op, UNITS), whole(op, FAN_IN), whole(op, INPUTS)
        target += BYTES * whole(op, WEIGHTS)
        for u in range(0, units, UNIT_BLOCK):
            last = units - 1 - u
            rows = _four(up + BYTES * u, 1, last)
            for i in range(0, fan_in, INPUT_BLOCK):
                end = fan_in - 1 - i
                columns = four(x + size * i, 1, end)
                sums = _zeros_16()
                for s in range(n):
                    start = (whole(samples, s) if shared else s) * inputs
                    sums = accumulate(sums, rows, columns, s * units, start)
                place = target + BYTES * (u * fan_in + i)
                if at_once:
                    _descend_16(sums, rate, active, place, fan_in, last, 1, end)
                else:
                    if not fresh:
                        sums = _add_16(sums, place, fan_in, last, 1, end)
                    _store_16(sums, place, fan_in, last, 1, end)

    return by_weights


by_weights_own, by_weights_shared = _make_by_weights(False), _make_by_weights(True)


@njit
def by_inputs(op: int, w: int, up: int, down: int, n: int) -> None:
    """The gradient `down` `[sample, input]` by the inputs."""
    units, fan_in, inputs = whole(op, UNITS), whole(op, FAN_IN), whole(op, INPUTS)
    weights = w + BYTES * whole(op, WEIGHTS)
    for i in range(0, fan_in, INPUT_BLOCK):
        end = fan_in - 1 - i
        rows = _four(weights + BYTES * i, 1, end)
        for s in range(0, n, SAMPLE_BLOCK):
            more = min(1, n - 1 - s)
            columns = _two(up + BYTES * s * units, units, more)
            sums = _zeros_8()
            for u in range(units):
                sums = _accumulate_own(sums, rows, columns, u * fan_in, u)
            _store_8(sums, down + BYTES * (s * inputs + i), 1, end, inputs, more)
