"""Networks trained from their names to the end in one launch: a program trains `G` of them.

Every number of a network lies next to those of its group: `[element, G]`, so that whatever a phase
reads of neighbouring networks is one sector. A phase computes all elements of a layer, `E` at a
time, each as one sum; phases are divided by barriers of the program. Nothing is shared between
programs, so that a network's bits do not depend on which others are trained, nor on how many.

The table of operations is `kernels.train_plan`'s; the formulas are those of `biasgpu.training.law`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.draw import draw_parameters
from biasgpu.kernels.train_look import classified, squares
from biasgpu.kernels.train_phases import (
    FIELDS,
    linear_backward,
    linear_forward,
    logit_gradient,
    pool_backward,
    pool_forward,
    take_inputs,
)
from biasgpu.kernels.train_update import update

LINEAR = tl.constexpr(1)
ONE = tl.constexpr(1)  # the window of a dense layer
ANY = tl.constexpr(0)


@triton.jit(do_not_specialize=[
    "n_operations", "n_train", "batch_size", "n_epochs", "n_kept", "rate",
    "n_parameters", "n_values", "n_outputs",
])  # fmt: skip
def _train_kernel(
    name_ptr,
    draws_ptr,
    operations_ptr,
    scales_ptr,
    x_ptr,
    label_ptr,
    orders_ptr,
    marks_ptr,
    work_ptr,
    kept_ptr,
    ended_ptr,
    norms_ptr,
    n_operations,
    n_train,
    batch_size,
    n_epochs,
    n_kept,
    rate,
    n_parameters,
    n_values,
    n_outputs,
    OPTIMIZER: tl.constexpr,
    STOP: tl.constexpr,
    NORMS: tl.constexpr,
    BITS: tl.constexpr,
    NORMAL: tl.constexpr,
    STREAM: tl.constexpr,
    WINDOW: tl.constexpr,
    PADDED: tl.constexpr,
    E: tl.constexpr,
    G: tl.constexpr,
):
    """Train the draws of one group.

    Args:
        name_ptr: int64 `(1,)`: bits of the seed.
        draws_ptr: int64 `(programs * G,)`: bits of the draws.
        operations_ptr: int32 `(n_operations, FIELDS)`.
        scales_ptr: float64 `(n_operations,)`: the prior's scale, or its step, of each linear map.
        x_ptr: float32 `(n_train, inputs)`.
        label_ptr: int32 `(n_train,)`.
        orders_ptr: int32 `(n_epochs + 1, n_train)`; the first row is the order of the task.
        marks_ptr: int32 `(n_kept,)`: epochs to keep, increasing; the last is `n_epochs`.
        work_ptr: float32, `values_per_program` for each program.
        kept_ptr: float32 `(programs, n_kept, n_parameters, G)`: gets the weights.
        ended_ptr: int32 `(programs, G)`: gets the number of epochs that each was trained.
        norms_ptr: float64 `(programs, n_epochs + 1, G)`: gets the squares of gradient norms, where
            they are asked for and the network has not stopped.
        rate: float32, the learning rate.
        OPTIMIZER: 0 (plain), 1 (momentum), 2 (Adam).
        STOP: a network stops after the first epoch that it ends without training error.
        NORMS: 1 if gradient norms are asked for, else 0.
        WINDOW: the kernel size of all convolutions (of those that are not 1 x 1); 0 if they differ.
        PADDED: whether one is padded.

    Grid: `(programs,)`. Bytes and operations: docs/gpu.md. Random words: those of the draws, once.
    """
    program = tl.program_id(0).to(tl.int64)
    values = n_parameters * (1 + OPTIMIZER + NORMS) + 2 * n_values
    parameters = work_ptr + program * values * G
    states = parameters + n_parameters * G
    sums = states + OPTIMIZER * n_parameters * G
    acts = sums + NORMS * n_parameters * G
    deltas = acts + n_values * G

    _clear(parameters, n_parameters * (1 + OPTIMIZER), E, G)
    tl.debug_barrier()
    draw_parameters(
        name_ptr, draws_ptr + program * G, operations_ptr, scales_ptr, parameters, n_operations,
        BITS, NORMAL, STREAM, E // 2, G,
    )  # fmt: skip
    tl.debug_barrier()

    mark = 0
    power_1 = tl.full((), 1.0, tl.float64)
    power_2 = tl.full((), 1.0, tl.float64)
    row_at = tl.full((), 0, tl.int64)
    alive = tl.full([G], 1, tl.int32)
    ended = tl.zeros([G], tl.int32) + n_epochs
    n_batches = (n_train + batch_size - 1) // batch_size
    steps = 0 * n_batches
    last = operations_ptr + (n_operations - 1) * FIELDS
    for epoch in range(n_epochs + 1):
        # After the steps of an epoch the batches of a look, if it has a use.
        batches = steps
        if NORMS:
            batches = steps + n_batches
        elif STOP:
            batches = steps + steps
        if STOP:
            batches = batches * tl.max(alive, axis=0)
        right = alive * tl.minimum(steps, 1)  # nobody stops before the first epoch
        for batch in range(batches):
            looks = batch >= steps
            if STOP or NORMS:
                start = (batch - tl.where(looks, steps, 0)) * batch_size
                order = orders_ptr + tl.where(looks, 0, row_at) + start
                n = tl.minimum(batch_size, n_train - start)
                mean_of = tl.where(looks, n_train, n)
                power_1 = tl.where(looks, power_1, power_1 * 0.9)
                power_2 = tl.where(looks, power_2, power_2 * 0.999)
            else:  # the same with `looks` false, for registers' sake
                start = batch * batch_size
                order = orders_ptr + row_at + start
                n = tl.minimum(batch_size, n_train - start)
                mean_of = n
                power_1 = power_1 * 0.9
                power_2 = power_2 * 0.999
            take_inputs(x_ptr, order, operations_ptr, acts, n, E, G)
            for op in range(1, n_operations):
                tl.debug_barrier()
                row = operations_ptr + op * FIELDS
                if tl.load(row) == LINEAR:
                    if tl.load(row + 3) == 1:
                        linear_forward(row, parameters, acts, n, ONE, PADDED, E, G)
                    else:
                        linear_forward(row, parameters, acts, n, WINDOW, PADDED, E, G)
                else:
                    pool_forward(row, acts, n, E, G)
            tl.debug_barrier()
            if STOP:  # noqa: SIM102 (one is the compiler's to decide, the other the program's)
                if looks:
                    right = right & classified(last, label_ptr, order, acts, n, n_outputs, G)
            n_back = n_operations
            if STOP and not NORMS:
                n_back = tl.where(looks, 1, n_operations)  # nobody asks for gradients
            logit_gradient(last, label_ptr, order, acts, deltas, n, mean_of, n_outputs, G)
            for back in range(1, n_back):
                tl.debug_barrier()
                row = operations_ptr + (n_operations - back) * FIELDS
                if tl.load(row) == LINEAR:
                    if tl.load(row + 3) == 1:
                        linear_backward(row, parameters, acts, deltas, n, ONE, PADDED, E, G)
                    else:
                        linear_backward(row, parameters, acts, deltas, n, WINDOW, PADDED, E, G)
                    tl.debug_barrier()
                    update(
                        row, parameters, states, sums, acts, deltas, n, rate, power_1, power_2,
                        n_parameters, alive, looks, batch > steps, OPTIMIZER, STOP, NORMS,
                        ANY, PADDED, E, G,
                    )  # fmt: skip
                else:
                    pool_backward(row, acts, deltas, n, E, G)
            tl.debug_barrier()
        if NORMS:
            norm = norms_ptr + (program * (n_epochs + 1) + epoch) * G + tl.arange(0, G)
            tl.store(norm, squares(sums, n_parameters, E, G), mask=alive != 0)
        if tl.load(marks_ptr + mark) == epoch:
            to = kept_ptr + (program * n_kept + mark) * n_parameters * G
            _copy(parameters, to, n_parameters, E, G)
            mark = tl.minimum(mark + 1, n_kept - 1)
        if STOP:
            ended = tl.where(right != 0, epoch, ended)
            alive = alive & (1 - right)
        steps = n_batches
        row_at += n_train
    tl.store(ended_ptr + program * G + tl.arange(0, G), ended)


@triton.jit
def _clear(to_ptr, n, E: tl.constexpr, G: tl.constexpr):
    lane = tl.arange(0, E * G)
    for at in range(0, n * G, E * G):
        tl.store(to_ptr + at + lane, tl.zeros([E * G], tl.float32), mask=at + lane < n * G)


@triton.jit
def _copy(from_ptr, to_ptr, n, E: tl.constexpr, G: tl.constexpr):
    lane = tl.arange(0, E * G)
    for at in range(0, n * G, E * G):
        mask = at + lane < n * G
        tl.store(to_ptr + at + lane, tl.load(from_ptr + at + lane, mask=mask), mask=mask)
