"""All layers of one network: forward, and back to the gradients by its parameters."""

from __future__ import annotations

from numba import njit

from biasgpu.engines.cpu.memory import peek
from biasgpu.training.cpu.lanes import get, put, whole
from biasgpu.training.planes import convolution, dense, elements, norm
from biasgpu.training.planes.columns import (
    CONV,
    DENSE,
    FLATTEN,
    KIND,
    N_COLUMNS,
    NORM,
    PLANES,
    POOL,
    SAMPLE,
    SAMPLES,
    SRC,
    SRC_PLANE,
)
from biasgpu.training.planes.grid import LANES
from biasgpu.training.planes.numbers import NUMBER, number, put_number
from biasgpu.training.planes.pool import pool

# Numba takes compiled functions as globals, not as attributes of modules.
_conv, _conv_by_parameters, _conv_by_inputs = (
    convolution.forward, convolution.by_parameters, convolution.by_inputs,
)  # fmt: skip
_dense, _dense_by_parameters, _dense_by_inputs = (
    dense.forward, dense.by_parameters, dense.by_inputs,
)  # fmt: skip
_norm, _norm_back = norm.forward, norm.backward
_element, _element_back, _flatten = elements.forward, elements.backward, elements.flatten


@njit
def take(op: int, flat: bool, inputs: int, samples: int, values: int) -> None:
    """Put some samples of the task into the first tensor.

    Args (in numba):
        op: address of the first operation's row.
        flat: whether they are no images.
        inputs: address of all samples, `[sample, plane, number]`.
        samples: address of the numbers of those that are to be taken.
        values: address of all tensors.
    """
    planes = 1 if flat else whole(op, PLANES)
    size = whole(op, SRC_PLANE) if flat else whole(op, SAMPLE)
    # From one sample of a plane to the next, and from plane to plane.
    apart = whole(op, SRC_PLANE)
    for c in range(planes):
        for s in range(whole(op, SAMPLES)):
            x = inputs + NUMBER * (whole(samples, s) * planes + c) * size
            y = values + NUMBER * (whole(op, SRC) + c * apart + s * size)
            n = size // LANES
            for i in range(n):
                put(y, i, get(x, i))
            for i in range(n * LANES, size):
                put_number(y, i, number(x, i))


@njit
def forward(
    ops: int, n_ops: int, factors: int, table: int, masks: int, w: int, values: int,
    statistics: int, mode: int,
) -> None:  # fmt: skip
    """All tensors of a batch that has been taken; arguments are addresses.

    Args (in numba):
        mode: of batch norms, see norm.py.
    """
    for k in range(n_ops):
        op = ops + 8 * N_COLUMNS * k
        kind = whole(op, KIND)
        if kind == CONV:
            _conv(op, table, masks, w, values)
        elif kind == NORM:
            _norm(op, masks, w, values, statistics, mode)
        elif kind == POOL:
            pool(op, values, values, False)
        elif kind == DENSE:
            _dense(op, w, values)
        elif kind == FLATTEN:
            _flatten(op, values, False)
        else:
            _element(op, peek(factors, k), values)


@njit
def backward(
    ops: int, n_ops: int, factors: int, table: int, masks: int, w: int, values: int, grads: int,
    g: int, statistics: int,
) -> None:  # fmt: skip
    """Gradients by all parameters to `g`; arguments are addresses."""
    for k in range(n_ops - 1, -1, -1):
        op = ops + 8 * N_COLUMNS * k
        kind = whole(op, KIND)
        if kind == CONV:
            _conv_by_parameters(op, table, values, grads, g)
            _conv_by_inputs(op, table, masks, w, grads)
        elif kind == NORM:
            _norm_back(op, masks, w, values, grads, g, statistics)
        elif kind == POOL:
            pool(op, values, grads, True)
        elif kind == DENSE:
            _dense_by_parameters(op, values, grads, g)
            _dense_by_inputs(op, w, grads)
        elif kind == FLATTEN:
            _flatten(op, grads, True)
        else:
            _element_back(op, peek(factors, k), values, grads)
