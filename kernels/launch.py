"""Launching the kernels: shapes, types and devices are checked here, not in the kernels."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from biasgpu import rng
from biasgpu.deferred.plan import Layer
from biasgpu.kernels import check as _check
from biasgpu.kernels import factor as _factor
from biasgpu.kernels import gram as _gram
from biasgpu.kernels import plan
from biasgpu.kernels import reject as _reject
from biasgpu.kernels.workspace import Coefficients, Workspace

BLOCK = 128  # draws of a program that gives each a thread
WARPS = BLOCK // plan.WARP
MAX_GRID, MAX_GRID_Y = 2**31 - 1, 2**16 - 1
# Bounds hold with and without fused products; fused ones are faster.
OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, which needs no GPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def limited(registers: int | None) -> dict[str, Any]:
    """The compiler's option for at most so many registers; None leaves it to the compiler."""
    # Other makers' compilers know no such option.
    return {} if registers is None or torch.version.hip else {"maxnreg": registers}


def reject(
    name: Tensor,
    layers: Tensor,
    prefix: Tensor,
    counter: Tensor,
    places: Tensor,
    *,
    n: int,
    n_outputs: int,
) -> None:
    """See `reject._reject_kernel`: the draws `0 .. n - 1` after the first."""
    _expect("name", name, torch.int64, 2, name.device)
    _expect("layers", layers, torch.int64, 1, name.device)
    _expect("prefix", prefix, torch.int16, n, name.device)
    _expect("counter", counter, torch.int64, 1, name.device)
    _expect("places", places, torch.int64, n, name.device)
    if n_outputs not in (1, 2) or layers.numel() % 3:
        raise ValueError("one or two outputs, and three numbers a layer")
    if n:
        _run(_reject._reject_kernel, name, (-(-n // BLOCK),))(
            name, layers, prefix, counter, places, n,
            N_LAYERS=layers.numel() // 3, N_OUTPUTS=n_outputs, PROBES=_reject.PROBES,
            HIDDEN_STREAM=rng.STREAM_DIRECTIONS, OUTPUT_STREAM=rng.STREAM_OUTPUTS,
            BLOCK=BLOCK, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip


def gram(
    name: Tensor,
    draws: Tensor,
    layer: Layer,
    direction_blocks: int,
    coefficients: Coefficients,
    work: Workspace,
) -> None:
    """See `gram._gram_kernel`: the inner products of a layer's activations, for all samples."""
    s, n, cut = work.n_samples, draws.numel(), plan.tiles(layer)
    _expect("name", name, torch.int64, 2, name.device)
    _expect("draws", draws, torch.int64, 1, name.device)
    _expect_coefficients(coefficients, work, n)
    _expect_room(work, n, name.device)
    blocks, entry_stride = plan.n_blocks(s, work.wide), coefficients.strides[0]
    rows = plan.rows(s, work.wide)
    for diagonal, groups in ((True, blocks), (False, plan.n_pairs(s, work.wide))):
        if groups:
            _run(_gram._gram_kernel, name, (n, groups))(
                name, draws, coefficients.values, entry_stride, coefficients.strides[1],
                work.gram, work.square, work.top, work.capacity, layer.units, layer.offset,
                direction_blocks, cut.first_block, cut.n_chunks, cut.n_tiles,
                N_SAMPLES=s, ROWS=rows, COLUMNS=rows if diagonal else plan.columns(s, work.wide),
                LANES=cut.lanes, DIAGONAL=diagonal,
                EVEN=cut.even, RECTIFIED=layer.rectified, CAN_DIE=cut.can_die,
                WIDE=work.wide, CHUNKED=cut.chunked(blocks), STREAM=rng.STREAM_DIRECTIONS,
                num_warps=1, **OPTIONS,
            )  # fmt: skip


def factor(
    parameters: Tensor,
    n: int,
    coefficients: Coefficients,
    work: Workspace,
    *,
    can_die: bool,
    hidden: bool,
) -> None:
    """See `factor._factor_kernel`: from `work.gram` to `work.root`, and to `work.own` if `hidden`.

    Args:
        parameters: float64 `(6,)`.
        n: draws.
        coefficients: those that the activations were made from.
        can_die: whether `work.top` was filled.
        hidden: whether the inputs are those of a hidden layer, which goes on from `work.own`.
    """
    s = work.n_samples
    _expect("parameters", parameters, torch.float64, 6, work.gram.device)
    _expect_coefficients(coefficients, work, n)
    _expect_room(work, n, work.gram.device)
    own = work.own
    # One warp a program: with more, registers get scarce.
    _run(_factor._factor_kernel, work.gram, (-(-n // plan.WARP),))(
        parameters, work.gram, work.square, work.top, coefficients.error, coefficients.limit,
        *coefficients.strides, coefficients.unit, work.length, work.delta, work.turn,
        work.sums, work.column, work.root, work.sum_error, work.root_error, work.inverse,
        own.values, own.error, own.limit, own.unit,
        n, work.capacity,
        N_SAMPLES=s, CAN_DIE=can_die, HIDDEN=hidden, BLOCK=plan.WARP, num_warps=1, **OPTIONS,
    )  # fmt: skip


def outputs(name: Tensor, draws: Tensor, n_outputs: int, work: Workspace) -> None:
    """See `check._outputs_kernel`: fills `work.normals`."""
    n, n_words = draws.numel(), work.n_samples * n_outputs
    _expect("name", name, torch.int64, 2, name.device)
    _expect("draws", draws, torch.int64, 1, name.device)
    _expect_room(work, n, name.device)
    _expect("normals", work.normals, work.gram.dtype, n_words * work.capacity, name.device)
    _run(_check._outputs_kernel, name, (-(-n // BLOCK), -(-n_words // 4)))(
        name, draws, work.normals, n, work.capacity, n_words,
        WIDE=work.wide, STREAM=rng.STREAM_OUTPUTS, BLOCK=BLOCK, num_warps=WARPS, **OPTIONS,
    )  # fmt: skip


def check(
    draws: Tensor,
    labels: Tensor,
    root: tuple[Tensor, Tensor] | None,
    epsilon: Tensor,
    prefix: Tensor,
    counter: Tensor,
    places: Tensor,
    unsure_counter: Tensor,
    unsure: Tensor,
    work: Workspace,
    *,
    n_outputs: int,
    units_at_first: int,
    last: bool,
) -> None:
    """See `check._check_kernel`.

    Args:
        root: the factor and its bound where all draws share them; None for those of `work`.
    """
    n, s, device = draws.numel(), work.n_samples, work.root.device
    _expect("draws", draws, torch.int64, 1, device)
    _expect("labels", labels, torch.int64, s, device)
    _expect("epsilon", epsilon, torch.float64, 1, device)
    _expect("prefix", prefix, torch.int16, 1, device)
    _expect("counter", counter, torch.int64, 1, device)
    _expect("places", places, torch.int64, 0 if last else 1, device)
    _expect("unsure_counter", unsure_counter, torch.int64, 1, device)
    _expect("unsure", unsure, torch.int64, 0 if work.wide else 1, device)
    _expect_room(work, n, device)
    values, errors = root or (work.root, work.root_error)
    strides = (1, 0) if root else (work.capacity, 1)
    for part in (values, errors):
        _expect("root", part, torch.float64, s * s * (1 if root else work.capacity), device)
    _run(_check._check_kernel, work.root, (-(-n // BLOCK),))(
        draws, labels, work.normals, values, errors, *strides, epsilon, prefix, counter, places,
        unsure_counter, unsure, n, work.capacity, units_at_first,
        N_SAMPLES=s, N_OUTPUTS=n_outputs, LAST=last, WIDE=work.wide,
        BLOCK=BLOCK, num_warps=WARPS, **OPTIONS,
    )  # fmt: skip


def _expect(what: str, tensor: Tensor, dtype: torch.dtype, size: int, device: torch.device) -> None:
    if tensor.dtype != dtype or tensor.device != device or not tensor.is_contiguous():
        raise ValueError(
            f"{what} is {tensor.dtype} on {tensor.device}, strides {tensor.stride()}; "
            f"it must be contiguous {dtype} on {device}"
        )
    if tensor.numel() < size:
        raise ValueError(f"{what} holds {tensor.numel()} values; {size} or more are needed")


def _expect_coefficients(coefficients: Coefficients, work: Workspace, n: int) -> None:
    if coefficients.capacity and coefficients.capacity < n:
        raise ValueError(f"{n} draws; there are coefficients of {coefficients.capacity}")
    each, s, device = coefficients.capacity or 1, work.n_samples, work.gram.device
    _expect("values", coefficients.values, work.gram.dtype, s * s * each, device)
    _expect("error", coefficients.error, torch.float64, s * each, device)
    _expect("limit", coefficients.limit, torch.float64, s * each, device)
    _expect("unit", coefficients.unit, torch.float64, each, device)


def _expect_room(work: Workspace, n: int, device: torch.device) -> None:
    if not 0 < n <= work.capacity or work.gram.device != device:
        raise ValueError(f"{n} draws on {device}; there is room for {work.capacity}, and for some")


def _run(kernel: Any, on: Tensor, grid: tuple[int, ...]) -> Any:
    if not (on.is_cuda or interpreted()):
        raise ValueError(f"kernels run on a GPU, or in Triton's interpreter; not on {on.device}")
    if grid[0] > MAX_GRID or any(size > MAX_GRID_Y for size in grid[1:]):
        raise ValueError(f"a grid of {grid}; {MAX_GRID} by {MAX_GRID_Y} is the largest there is")
    return kernel[grid]
