"""The memory in which the kernels of method "direct" work, and the lists that they fill."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biasgpu.engines.triton_program import Program
from biasgpu.kernels import tensor_plan
from biasgpu.kernels.direct_launch import Activations, Names
from biasgpu.kernels.tensor_launch import Digits, maker


@dataclass(frozen=True)
class Space:
    """Activations of two layers, weights of a convolution and digits of a layer's inputs.

    All of them of up to `capacity` draws.
    """

    capacity: int
    first: Activations
    second: Activations
    weights: Tensor
    digits: Digits

    @classmethod
    def make(
        cls, program: Program, samples: int, capacity: int, wide: bool, device: torch.device
    ) -> Space:
        """Allocate it: `Program.bytes_per_draw` for each draw.

        Args:
            program: whose layers are to fit.
            samples: of a stage, padded.
            capacity: draws, a multiple of a kernel's block.
            wide: float64, not float32.
            device: where.
        """
        kind = torch.float64 if wide else torch.float32

        def empty(entries: int) -> Tensor:
            return torch.empty(entries * capacity, dtype=kind, device=device)

        def activations() -> Activations:
            features = samples * program.features
            groups = samples * max(op.units for op in program.ops)
            return Activations(empty(features), empty(features), empty(groups), shared=False)

        each = 0 if wide else capacity * program.padded_inputs
        columns = tensor_plan.bounds(samples, maker())
        digits = Digits(
            torch.empty(4 * samples * each, dtype=torch.int8, device=device),
            torch.empty(columns * each, dtype=torch.int8, device=device),
            torch.empty(4 * samples * capacity if each else 0, dtype=torch.float32, device=device),
            shared=False,
        )
        weights = empty(program.conv_weights)
        return cls(capacity, activations(), activations(), weights, digits)

    def other(self, here: Activations) -> Activations:
        """Where a layer with these inputs writes to."""
        return self.second if here.values is self.first.values else self.first

    def beside(self, here: Activations) -> Activations:
        """The same for a pool, which leaves the channels' slack where it is."""
        to = self.other(here)
        return Activations(to.values, to.slack, here.group, shared=False)


@dataclass(frozen=True)
class DrawList:
    """Places and states of draws, and on the device their number."""

    places: Tensor
    states: Tensor
    counter: Tensor

    @classmethod
    def empty(cls, n: int, device: torch.device) -> DrawList:
        """Room for n."""
        return cls(
            torch.empty(n, dtype=torch.int64, device=device),
            torch.empty(n, dtype=torch.int64, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
        )

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """As the kernels take them."""
        return self.counter, self.places, self.states

    def names(self, like: Names) -> Names:
        """The draws listed; waits for the device."""
        n = int(self.counter.item()) if self.places.numel() else 0
        return Names(like.name, self.places[:n], self.states[:n], like.lanes)
