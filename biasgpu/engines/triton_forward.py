"""The kernels of a forward pass by method "direct", one after the other, without waiting."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines.triton_cost import patched
from biasgpu.engines.triton_patches import PatchedLayer
from biasgpu.engines.triton_program import Exact, Program
from biasgpu.engines.triton_space import Space
from biasgpu.engines.triton_tensor import layers, shared_digits
from biasgpu.kernels import direct_launch as launch
from biasgpu.kernels import direct_patches_launch as patches_launch
from biasgpu.kernels import tensor_launch
from biasgpu.kernels.direct_launch import Activations, Names
from biasgpu.kernels.direct_patches_launch import Patches
from biasgpu.kernels.direct_plan import Stage
from biasgpu.kernels.tensor_launch import Digits


class Forward:
    """A program on a device. Call it for the logits of some draws.

    Args:
        program: the layers, and the inputs that all draws share.
        device: where.
    """

    def __init__(self, program: Program, device: torch.device) -> None:
        self._program = program
        self._device = device
        self._shared: dict[tuple[int, bool], Activations] = {}
        self._layer = PatchedLayer(program) if program.ops[0].kernel else None
        self._patches: dict[int, tuple[Patches, Tensor]] = {}
        self._layers: dict[int, Exact] = {}
        self._digits: dict[int, Digits] = {}
        self._kept: dict[tuple[int, bool, Exact], Tensor] = {}

    def __call__(self, batch: Names, stage: Stage, wide: bool, space: Space) -> Activations:
        """Start the kernels of a batch on a stage's samples.

        Returns:
            The logits, with their error bounds in place of slack; in `space`, until its next use.
        """
        here, samples = self._first_inputs(stage, wide), stage.padded
        exact = frozenset[int]() if wide else self._exact(samples)
        for number, op in enumerate(self._program.ops):
            drawn, constants = self._program.weights(number), self._constants(number, wide, exact)
            there = space.other(here)
            kinds = {"biased": op.biased, "rectified": op.rectified, "samples": samples}
            if op.kernel:
                launch.draw(batch, drawn, constants, space.weights, columns=op.step.columns)
            if number == 0 and not wide and self.patched(samples):
                patches, constants = self._first_patches(stage, exact)
                patches_launch.patches(
                    batch, constants, space.weights, patches, there, fan_in=op.step.fan_in,
                    n_units=op.units, n_windows=op.features // op.units, pooled=op.pooled,
                    **kinds,
                )  # fmt: skip
            elif op.kernel:
                launch.convolution(
                    batch, constants, space.weights, here, there, in_shape=op.image,
                    n_units=op.units, kernel=op.kernel, pooled=op.pooled, **kinds,
                )  # fmt: skip
            elif number in exact:
                digits = space.digits if number else self._first_digits(stage)
                if number:
                    tensor_launch.digits(
                        batch, drawn, constants, here, digits, n_inputs=op.step.fan_in,
                        biased=op.biased, samples=samples,
                    )  # fmt: skip
                tensor_launch.product(
                    batch, drawn, constants, digits, there, rectified=op.rectified, samples=samples
                )
            else:
                launch.dense(batch, drawn, constants, here, there, n_inputs=op.step.fan_in, **kinds)
            here = there
            for size, shape in op.pools:
                there = space.beside(here)
                launch.pool(batch, here, there, in_shape=shape, size=size, samples=samples)
                here = there
        return here

    def patched(self, samples: int) -> bool:
        """Whether the first layer is computed on tensor cores, in a stage of so many samples."""
        return self._layer is not None and self._layer.usable and patched(self._program, samples)

    def _first_patches(self, stage: Stage, exact: Exact) -> tuple[Patches, Tensor]:
        """A stage's, and the layer's constants for them."""
        if stage.first not in self._patches:
            assert self._layer is not None
            parts = (*self._layer.inputs(stage), self._layer.scale)
            constants = self._layer.constants(self._program.constants(0, False, exact))
            self._patches[stage.first] = (
                Patches(*map(self._to_device, parts)),
                self._to_device(constants),
            )
        return self._patches[stage.first]

    def _first_inputs(self, stage: Stage, wide: bool) -> Activations:
        key = (stage.first, wide)
        if key not in self._shared:
            parts = (self._to_device(part) for part in self._program.shared(stage, wide))
            self._shared[key] = Activations(*parts, shared=True)
        return self._shared[key]

    def _first_digits(self, stage: Stage) -> Digits:
        if stage.first not in self._digits:
            digits, numbers = map(self._to_device, shared_digits(self._program, stage))
            self._digits[stage.first] = Digits(digits, digits, numbers, shared=True)
        return self._digits[stage.first]

    def _exact(self, samples: int) -> Exact:
        if samples not in self._layers:
            self._layers[samples] = layers(self._program, samples)
        return self._layers[samples]

    def _constants(self, number: int, wide: bool, exact: Exact) -> Tensor:
        key = (number, wide, exact)
        if key not in self._kept:
            self._kept[key] = self._to_device(self._program.constants(number, wide, exact))
        return self._kept[key]

    def _to_device(self, values: npt.NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
