"""What a draw takes in a stage, and which convolution goes to tensor cores for it: a model."""

from __future__ import annotations

import math
from typing import Any

from biasgpu.engines.triton_program import Program
from biasgpu.kernels import direct_patches_plan as patch_plan
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels.direct_plan import Cost


def cost(program: Program, samples: int) -> Cost:
    """The model of what a draw takes in a stage.

    Args:
        program: the layers.
        samples: of the stage, a power of two.
    """
    total = Cost(0, 0, 0)
    for number, op in enumerate(program.ops):
        drawn, n_blocks = program.weights(number), op.step.blocks_per_unit
        kinds: dict[str, Any] = {"bits": drawn.bits, "normal": drawn.normal}
        if op.kernel:
            total += plan.draw_cost(op.units, n_blocks, op.step.columns, **kinds)
            if number == 0 and patched(program, samples):
                total += patch_plan.patches_cost(**_patches(program, samples))
            else:
                total += _convolution_cost(program, number, samples)
        else:
            total += plan.dense_cost(op.step.fan_in, op.units, n_blocks, samples=samples, **kinds)
    return total


def patched(program: Program, samples: int) -> bool:
    """Whether a first convolution is cheaper as a product of matrices: see `triton_patches`.

    Args:
        program: the layers.
        samples: of a stage, padded.
    """
    if not program.ops[0].kernel or _needs_slack(program):
        return False
    plain = _convolution_cost(program, 0, samples).instructions
    return patch_plan.pays(**_patches(program, samples), plain=plain)


def _needs_slack(program: Program) -> bool:
    """Whether what follows the first convolution asks for the slack of each activation.

    Another convolution only asks for a channel's.
    """
    followed = len(program.ops) > 1 and program.ops[1].kernel
    return bool(program.ops[0].pools) or not followed


def _patches(program: Program, samples: int) -> dict[str, Any]:
    op = program.ops[0]
    return {
        "fan_in": op.step.fan_in, "n_units": op.units, "n_windows": op.features // op.units,
        "pooled": op.pooled, "samples": samples,
    }  # fmt: skip


def _convolution_cost(program: Program, number: int, samples: int) -> Cost:
    op = program.ops[number]
    positions = math.prod(op.step.out_shape[1:])
    return plan.convolution_cost(
        op.step.fan_in, op.units, positions, op.kernel, op.pooled, samples=samples
    )
