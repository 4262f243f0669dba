"""Launching `direct_patches._patches_kernel`: shapes, types and devices are checked here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biasgpu.kernels import direct_launch as launch
from biasgpu.kernels import direct_patches as _patches
from biasgpu.kernels import direct_patches_plan as plan
from biasgpu.kernels.direct_plan import BLOCK, MAX_OFFSET
from biasgpu.kernels.launch import OPTIONS, _expect


@dataclass(frozen=True)
class Patches:
    """The inputs of a first convolution in a stage, on the device; see `_patches_kernel`.

    Attributes:
        values: float16 `(n_tiles, positions, ROWS, depth)`.
        taps: float32 `(2 + samples, depth)`: of each tap what makes its weight whole, what the
            pixel 0 stands for, and its channel's slack on each sample.
        scale: float32 `(3,)`: the digits' base, its inverse, and what a unit of a sum is worth.
    """

    values: Tensor
    taps: Tensor
    scale: Tensor


def patches(
    names: launch.Names, constants: Tensor, weights: Tensor, inputs: Patches,
    outputs: launch.Activations, *, fan_in: int, n_units: int, n_windows: int, biased: bool,
    rectified: bool, pooled: bool, samples: int,
) -> None:  # fmt: skip
    """See `direct_patches._patches_kernel`; `weights` are as `direct_launch.draw` leaves them.

    Args:
        outputs: their slack is left as it is; a channel's is written.
        n_windows: of a sample, with `pooled` of 2 by 2 positions.

    Raises:
        ValueError: a tensor is not as it must be, or there are more samples or taps than a tile
            holds.
    """
    names.check()
    if samples not in (1, 2, 4, 8) or not 0 < fan_in <= plan.MAX_DEPTH or n_windows < 1:
        raise ValueError(f"{samples} samples, {fan_in} taps and {n_windows} windows")
    device, programs = names.name.device, names.programs
    deep, tiles = plan.depth(fan_in), plan.n_tiles(n_windows, samples)
    size = tiles * (plan.POOL if pooled else 1) * plan.ROWS * deep
    _expect("patches", inputs.values, torch.float16, size, device)
    _expect("taps", inputs.taps, torch.float32, (2 + samples) * deep, device)
    _expect("scale", inputs.scale, torch.float32, 3, device)
    _expect("constants", constants, torch.float64, 6, device)
    columns = fan_in + biased
    _expect("weights", weights, torch.float32, programs * BLOCK * n_units * columns, device)
    if outputs.shared or outputs.values.dtype != torch.float32:
        raise ValueError("outputs are each draw's own, and float32")
    outputs.expect(n_units * n_windows, n_units, samples, programs)
    if size > MAX_OFFSET:
        raise ValueError(f"{size} numbers of patches; 32 bits do not number them")
    launch._run(_patches._patches_kernel, names.name, launch._grid(names, n_units))(
        weights, inputs.values, inputs.taps, inputs.scale, outputs.values, outputs.group,
        constants, fan_in, n_units, columns, n_windows, tiles,
        BIASED=biased, RECTIFIED=rectified, POOLED=pooled, DEPTH=deep,
        SAMPLES=samples, ROWS=plan.ROWS, BLOCK=BLOCK, num_warps=plan.WARPS, num_stages=1, **OPTIONS,
    )  # fmt: skip
