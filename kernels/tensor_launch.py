"""Launching the kernels of dense layers on tensor cores: what they are given is checked here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biasgpu.kernels import direct_digits as _digits
from biasgpu.kernels import direct_launch as direct
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels import direct_tensor as _tensor
from biasgpu.kernels import tensor_plan
from biasgpu.kernels.direct_launch import Activations, Names, Weights
from biasgpu.kernels.launch import OPTIONS, _expect, interpreted


@dataclass(frozen=True)
class Digits:
    """Inputs as whole numbers: see `direct_tensor._product_kernel`.

    Attributes:
        digits, slacks: int8; numbers: float32.
        shared: the same for all draws, and without slacks.
    """

    digits: Tensor
    slacks: Tensor
    numbers: Tensor
    shared: bool

    def expect(self, drawn: Weights, samples: int, programs: int) -> None:
        """Check room for a layer's.

        Raises:
            ValueError: there is not, or types differ.
        """
        draws, device = 1 if self.shared else programs * plan.BLOCK, self.digits.device
        each = tensor_plan.padded(drawn.blocks_per_unit, drawn.bits)
        columns = 0 if self.shared else tensor_plan.bounds(samples, maker())
        _expect("digits", self.digits, torch.int8, draws * each * 4 * samples, device)
        _expect("slacks", self.slacks, torch.int8, draws * each * columns, device)
        _expect("numbers", self.numbers, torch.float32, draws * 4 * samples, device)


def maker() -> str:
    """Whose GPUs PyTorch was built for: "cuda" or "hip"."""
    return "hip" if torch.version.hip else "cuda"


def digits(
    names: Names, drawn: Weights, constants: Tensor, inputs: Activations, to: Digits,
    *, n_inputs: int, biased: bool, samples: int,
) -> None:  # fmt: skip
    """See `direct_digits._digits_kernel`; `drawn` and `constants` are the coming layer's."""
    names.check()
    inputs.expect(n_inputs, 0, samples, names.programs)
    to.expect(drawn, samples, names.programs)
    if inputs.shared or to.shared or inputs.values.dtype != torch.float32:
        raise ValueError("inputs are float32, every draw's own")
    _expect("constants", constants, torch.float64, 6, names.name.device)
    direct._run(_digits._digits_kernel, names.name, direct._grid(names, samples))(
        inputs.values, inputs.slack, to.digits, to.slacks, to.numbers, constants,
        names.places.numel(), n_inputs, tensor_plan.steps(drawn.blocks_per_unit),
        BIASED=biased, BITS=drawn.bits, SAMPLES=samples,
        BOUNDS=tensor_plan.bounds(samples, maker()), BLOCK=plan.BLOCK,
        num_warps=tensor_plan.DIGIT_WARPS, **OPTIONS,
    )  # fmt: skip


def product(
    names: Names, drawn: Weights, constants: Tensor, inputs: Digits, outputs: Activations,
    *, rectified: bool, samples: int,
) -> None:  # fmt: skip
    """See `direct_tensor._product_kernel`."""
    names.check()
    inputs.expect(drawn, samples, names.programs)
    outputs.expect(drawn.n_units, 0, samples, names.programs)
    if drawn.normal or outputs.shared or outputs.values.dtype != torch.float32:
        raise ValueError("weights are uniform, outputs float32 and every draw's own")
    _expect("constants", constants, torch.float64, 6, names.name.device)
    rows = tensor_plan.rows(drawn.n_units, inputs.shared)
    if inputs.shared:
        grid = direct._grid(names, -(-drawn.n_units // (rows // plan.BLOCK)))
    else:
        grid = (names.places.numel() * -(-drawn.n_units // rows),)
        if grid[0] > plan.MAX_OFFSET:
            raise ValueError(f"{grid[0]} tiles; 32 bits do not number them")
    # The assembler's permutations are NVIDIA's, and the interpreter knows no assembler.
    packed = not interpreted() and maker() == "cuda"
    # Left to itself, NVIDIA's assembler would rather spill a few registers.
    most = tensor_plan.max_registers(samples, inputs.shared)
    registers = {"maxnreg": most} if maker() == "cuda" else {}
    direct._run(_tensor._product_kernel, names.name, grid)(
        names.name, names.places, inputs.digits, inputs.slacks, inputs.numbers, outputs.values,
        outputs.slack, constants, names.places.numel(), drawn.first_block,
        drawn.blocks_per_unit, drawn.n_units, tensor_plan.steps(drawn.blocks_per_unit),
        SHARED=inputs.shared, RECTIFIED=rectified, BITS=drawn.bits, PACKED=packed,
        SAMPLES=samples, BOUNDS=tensor_plan.bounds(samples, maker()), ROWS=rows,
        BLOCK=plan.BLOCK, num_warps=tensor_plan.WARPS, num_stages=1, **OPTIONS, **registers,
    )  # fmt: skip
