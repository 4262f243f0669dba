"""All layers of sixteen networks: forward, and backward to the gradients by their parameters."""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.training.cpu import convolution, convolution_back, dense, shapes, sparse
from biasgpu.training.cpu.lanes import BYTES, whole
from biasgpu.training.cpu.plan import CONV, DENSE, FROM, KIND, N_COLUMNS, TO

# Numba takes compiled functions as globals, not as attributes of modules that were made by a call.
_dense_own, _dense_shared = dense.forward_own, dense.forward_shared
_conv_own, _conv_shared = convolution.forward_own, convolution.forward_shared
_by_weights_own, _by_weights_shared = dense.by_weights_own, dense.by_weights_shared


@njit(inline="always")
def forward(
    ops: int, n_ops: int, table: int, w: int, inputs: int, samples: int, activations: int,
    masks: int, n: int, listed: bool, entries: int, starts: int, background: float, padded: int,
) -> int:  # fmt: skip
    """Activations of all operations for `n` of the task's samples; returns the logits' address.

    Args (in numba):
        ops, table, w, inputs, samples, activations, masks: addresses; `inputs` of the task's.
        listed, ...: whether a first convolution goes by lists, and these; see sparse.py.
    """
    y = activations
    for k in range(n_ops):
        op = ops + 8 * N_COLUMNS * k
        x, y = activations + BYTES * n * whole(op, FROM), activations + BYTES * n * whole(op, TO)
        kind = whole(op, KIND)
        if kind == DENSE:
            if k == 0:
                _dense_shared(op, w, inputs, samples, y, n)
            else:
                _dense_own(op, w, x, samples, y, n)
        elif kind == CONV:
            if k == 0 and listed:
                sparse.forward(op, w, entries, starts, background, padded, samples, y, masks, n)
            elif k == 0:
                _conv_shared(op, table, w, inputs, samples, y, masks, n)
            else:
                _conv_own(op, table, w, x, samples, y, masks, n)
        else:
            shapes.forward(op, x, y, n)
    return y


@njit(inline="always")
def backward(
    ops: int, n_ops: int, table: int, w: int, inputs: int, samples: int, activations: int,
    masks: int, images: int, up: int, down: int, n: int, g: int, fresh: bool, at_once: bool,
    rate: Any, active: Any,
) -> None:  # fmt: skip
    """From the gradient by the logits, `up`, to those by all parameters.

    Args (in numba):
        g: address of the gradients: stored there, or added to what is there (`fresh`).
        at_once: whether dense layers take a step with their weights at once, by `rate` (negative)
            times the gradient in lanes `active`, in place of storing the gradient.
    """
    for k in range(n_ops - 1, -1, -1):
        op = ops + 8 * N_COLUMNS * k
        x, y = activations + BYTES * n * whole(op, FROM), activations + BYTES * n * whole(op, TO)
        kind = whole(op, KIND)
        if kind == DENSE:
            dense.mask_and_sum(op, y, up, n, g, fresh)
            target = w if at_once else g
            if k == 0:
                _by_weights_shared(op, inputs, samples, up, n, target, fresh, at_once, rate, active)
            else:
                dense.by_inputs(op, w, up, down, n)
                _by_weights_own(op, x, samples, up, n, target, fresh, at_once, rate, active)
        elif kind == CONV:
            source = inputs if k == 0 else x
            convolution_back.backward(
                op, table, w, source, samples, y, masks, images, up, down, n, g, fresh, k == 0
            )
        else:
            shapes.backward(op, x, y, up, down, n)
        up, down = down, up
