"""Launching the training kernel: shapes, types and devices are checked here."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from biasgpu import rng
from biasgpu.kernels import train
from biasgpu.kernels.launch import OPTIONS, _expect, _run, limited
from biasgpu.kernels.train_plan import ELEMENTS, GROUP, WARPS, Plan, max_registers


class Inputs(NamedTuple):
    """What all programs read.

    Attributes:
        name: int64 `(1,)`: bits of the seed.
        operations: int32 `(operations, fields)`: the plan's rows.
        scales: float64 `(operations,)`: for a linear map the prior's scale at its fan-in (normal),
            or the distance of a grid point from 0 (uniform).
        x: float32 `(n_train, *shape)`.
        labels: int32 `(n_train,)`.
        orders: int32 `(epochs + 1, n_train)`; the first row is 0, 1, 2, ...
        marks: int32: the epochs to keep, increasing; the last is the number of epochs.
    """

    name: Tensor
    operations: Tensor
    scales: Tensor
    x: Tensor
    labels: Tensor
    orders: Tensor
    marks: Tensor


def train_groups(
    inputs: Inputs,
    draws: Tensor,
    work: Tensor,
    kept: Tensor,
    ended: Tensor,
    norms: Tensor,
    *,
    plan: Plan,
    batch_size: int,
    rate: float,
    bits: int,
    normal: bool,
    stop_early: bool = False,
) -> None:
    """See `train._train_kernel`: trains the networks of `draws`, a multiple of `GROUP` of them.

    Args:
        draws: int64, bits of the draws.
        work: float32, `plan.values_per_program` for each group.
        kept: float32 `(groups, marks, n_parameters, GROUP)`: gets the weights.
        ended: int32 `(groups, GROUP)`: gets the epochs that each was trained.
        norms: float64 `(groups, epochs + 1, GROUP)`, one number if the plan has no sums: gets the
            squares of gradient norms; where a network has stopped before, nothing is written.
        plan: for `batch_size`.
        rate: the learning rate.
        bits, normal: of the prior.
        stop_early: a network stops after the first epoch that it ends without training error.

    Raises:
        ValueError: something does not have the shape, type or device that the kernel reads.
    """
    name, operations, scales, x, labels, orders, marks = inputs
    n_ops, n_train, device = len(plan.operations), labels.numel(), name.device
    programs, rest = divmod(draws.numel(), GROUP)
    if rest or not programs:
        raise ValueError(f"{draws.numel()} draws; they go in groups of {GROUP}")
    if not 0 < batch_size <= n_train:
        raise ValueError(f"batches of {batch_size} of {n_train} samples")
    if (bits, normal) not in ((32, False), (16, False), (8, False), (32, True)):
        raise ValueError(f"{bits} bits a weight")
    first, last = plan.operations[0], plan.operations[-1]
    size, epochs = first.channels * first.in_height * first.in_width, len(orders) - 1
    if (
        orders.shape != (epochs + 1, n_train)
        or epochs < 0
        or len(x) != n_train
        or not 0 < marks.numel() <= epochs + 1
    ):
        raise ValueError(
            f"{len(x)} samples, {n_train} labels, orders of shape {tuple(orders.shape)}, "
            f"{marks.numel()} epochs to keep"
        )
    _expect("name", name, torch.int64, 1, device)
    _expect("draws", draws, torch.int64, programs * GROUP, device)
    _expect("operations", operations, torch.int32, n_ops * len(first.row), device)
    _expect("scales", scales, torch.float64, n_ops, device)
    _expect("x", x, torch.float32, n_train * size, device)
    _expect("labels", labels, torch.int32, n_train, device)
    _expect("orders", orders, torch.int32, (epochs + 1) * n_train, device)
    _expect("marks", marks, torch.int32, 1, device)
    _expect("work", work, torch.float32, programs * plan.values_per_program, device)
    size = programs * marks.numel() * plan.n_parameters * GROUP
    _expect("kept", kept, torch.float32, size, device)
    _expect("ended", ended, torch.int32, programs * GROUP, device)
    size = programs * (epochs + 1) * GROUP if plan.n_sums else 1
    _expect("norms", norms, torch.float64, size, device)
    _run(train._train_kernel, name, (programs,))(
        name, draws, operations, scales, x, labels, orders, marks, work, kept, ended, norms,
        n_ops, n_train, batch_size, epochs, marks.numel(), rate, plan.n_parameters,
        plan.n_values, last.units, OPTIMIZER=plan.n_states, STOP=stop_early,
        NORMS=plan.n_sums, BITS=bits, NORMAL=normal, STREAM=rng.STREAM_WEIGHTS,
        WINDOW=plan.window, PADDED=plan.padded, E=ELEMENTS, G=GROUP, num_warps=WARPS,
        **limited(max_registers(plan.n_states, plan.n_sums)), **OPTIONS,
    )  # fmt: skip
