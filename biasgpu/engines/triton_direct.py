"""The GPU engine for method "direct": Triton kernels that make, use and forget every weight.

Draws are screened stage by stage: all on the first two samples (four, where tensor cores make them
cheap), those without an error so far on the next four, then eight, their weights made anew from
their names each time. Between stages a draw
is its place and its state, 16 bytes. Within a stage batches follow each other on the device without
waiting; the host only learns how many draws are left after a stage. What float32 leaves unsure is
tried again in float64; what that leaves unsure is borderline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines import triton_tensor
from biasgpu.engines.base import Engine, Prefixes
from biasgpu.engines.triton_device import budget_bytes, find_device, on_device, out_of_memory
from biasgpu.engines.triton_forward import Forward
from biasgpu.engines.triton_program import Program, unsupported
from biasgpu.engines.triton_space import DrawList, Space
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.kernels import direct_launch as launch
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels.direct_launch import Names

MAX_CALL = 1 << 23  # draws whose prefixes lie on the device at a time
FREE = -1  # a state in which no class has a unit


@dataclass
class Tally:
    """Draws that a stage's kernels were given in float32 and in float64, and left undecided."""

    float32: int = 0
    float64: int = 0
    borderline: int = 0


class TritonDirectEngine(Engine):
    """Screens draws of an `Ensemble` on a GPU. See `Engine`.

    Args:
        ensemble: which networks.
        x_train: float32 `(n_train, *shape)`.
        y_train: int64 `(n_train,)`.
        device: "cuda", "cuda:1"; None takes the first GPU.
        memory_bytes: about how much memory a batch may take; None for a share of what is free.

    Attributes:
        stages: of samples.
        forward: the kernels of a forward pass.
        tally: how many draws went through each precision so far, stages counted apart.

    Raises:
        UsageError: an ensemble the kernels do not take.
        ResourceError: there is no GPU.
    """

    name: ClassVar[str] = "triton"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        *,
        device: str | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train)
        reason = unsupported(ensemble)
        if reason:
            raise UsageError(
                f"the triton engine does not take this ensemble: {reason}.",
                why="its kernels know the layers and priors that biasgpu brings along.",
                fix="engine='torch' (--engine torch), which takes any.",
            )
        self._device = find_device(device)
        self.device = str(self._device)
        self.tally = Tally()
        self._program = Program(ensemble, x_train)
        self.forward = Forward(self._program, self._device)
        self.stages = triton_tensor.stages(self._program, len(y_train))
        self._memory = memory_bytes
        self._batch = MAX_CALL
        self._note = ""
        # Where the outputs may not be arranged, each class has its own unit from the start.
        n_classes = max(2, ensemble.n_outputs)
        fixed = sum(c << 4 * c for c in range(n_classes)) | (FREE << 4 * n_classes)
        self._state = FREE if ensemble.n_arrangements > 1 else fixed
        self._labels = self._to_device(y_train)
        self._lanes = torch.arange(plan.BLOCK, dtype=torch.int32, device=self._device)

    @property
    def granularity(self) -> int:
        """Draws that keep a GPU busy for long enough."""
        return 1 << 16

    @property
    def minimum(self) -> int:
        """Fewer draws leave a part of the GPU idle."""
        return 1 << 14

    @property
    def notice(self) -> str:
        """How large batches are, where memory ran out."""
        return self._note

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`.

        Raises:
            ResourceError: not even one draw fits the device's memory.
        """
        result = np.empty(n_draws, dtype=np.uint16)
        with on_device(self._device):
            for start in range(0, n_draws, MAX_CALL):
                n = min(MAX_CALL, n_draws - start)
                result[start : start + n] = self._screen(first_draw + start, n)
        return result

    def _screen(self, first_draw: int, n: int) -> Prefixes:
        # Borderline until decided.
        prefix = torch.full((n,), -1, dtype=torch.int16, device=self._device)
        names = self.names(first_draw, n)
        for stage in self.stages:
            if not names.places.numel():
                break
            names = self._stage(names, stage, prefix)
        found = prefix.cpu().numpy().view(np.uint16)
        self.tally.borderline += int((found == 0xFFFF).sum())
        return found

    def names(self, first_draw: int, n: int) -> Names:
        """The draws `first_draw .. first_draw + n - 1` on the device, of which nothing is known."""
        name = np.array([self.ensemble.seed, first_draw], dtype=np.uint64).view(np.int64)
        return Names(
            self._to_device(name),
            torch.arange(n, dtype=torch.int64, device=self._device),
            torch.full((n,), self._state, dtype=torch.int64, device=self._device),
            self._lanes,
        )

    def _stage(self, names: Names, stage: plan.Stage, prefix: Tensor) -> Names:
        """State what a stage's samples decide.

        Returns:
            The draws without an error so far; none after the last stage.
        """
        n, last = names.places.numel(), stage.end == len(self.y_train)
        going = DrawList.empty(0 if last else n, self._device)
        unsure = DrawList.empty(n, self._device)
        self._try(names, stage, False, prefix, going, unsure)
        self.tally.float32 += n
        left = unsure.names(names)
        if left.places.numel():
            self._try(left, stage, True, prefix, going, DrawList.empty(0, self._device))
            self.tally.float64 += left.places.numel()
        return going.names(names)

    def _try(
        self,
        names: Names,
        stage: plan.Stage,
        wide: bool,
        prefix: Tensor,
        going: DrawList,
        unsure: DrawList,
    ) -> None:
        n = names.places.numel()
        space = self.space(stage.padded, n, wide)
        for start in range(0, n, space.capacity):
            batch = names.slice(start, start + space.capacity)
            logits = self.forward(batch, stage, wide, space)
            launch.decide(
                batch, self._labels, logits, prefix, going.parts, unsure.parts, stage,
                n_outputs=self.ensemble.n_outputs, last=stage.end == len(self.y_train),
            )  # fmt: skip

    def space(self, samples: int, n_draws: int, wide: bool) -> Space:
        """Memory for as many draws as there is room for; batches are halved where there is not."""
        each = self._program.bytes_per_draw(samples, wide)
        budget = budget_bytes(self._device) if self._memory is None else self._memory
        most = max(plan.BLOCK, min(self._batch, budget // each) // plan.BLOCK * plan.BLOCK)
        capacity = min(most, -(-n_draws // plan.BLOCK) * plan.BLOCK)
        while True:
            try:
                return Space.make(self._program, samples, capacity, wide, self._device)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            if capacity == plan.BLOCK:
                raise ResourceError(
                    f"{capacity} networks do not fit the memory of {self.device}.",
                    why=f"screening one on {samples} samples takes {each:,} bytes.",
                    fix="use a smaller width (--width), or engine='torch' (--engine torch).",
                )
            capacity = max(plan.BLOCK, capacity // 2 // plan.BLOCK * plan.BLOCK)
            self._batch = capacity
            self._note = f"memory of {self.device} ran out: batches of {capacity:,} draws"

    def _to_device(self, values: npt.NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
