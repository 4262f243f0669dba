"""What kernels hand to each other, in the device's memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biasgpu.kernels import plan


@dataclass(frozen=True)
class Coefficients:
    """What a hidden layer's pre-activations are made from; every draw its own, or all the same.

    Attributes:
        values: float32 or float64, entry `i * n_samples + j` for direction j of sample i.
        error: float64, by sample: the error of a pre-activation per norm of all normals.
        limit: float64, by sample: the largest error of a unit.
        unit: float64: what the activations have been multiplied by.
        capacity: draws there is room for; 0 where all share one.
    """

    values: Tensor
    error: Tensor
    limit: Tensor
    unit: Tensor
    capacity: int

    @property
    def strides(self) -> tuple[int, int]:
        """From entry to entry, from draw to draw."""
        return (self.capacity, 1) if self.capacity else (1, 0)


@dataclass(frozen=True)
class Workspace:
    """Memory for a stage of `n_samples` samples and up to `capacity` draws.

    `wide`: activations, their inner products and the output normals are float64, not float32.
    """

    n_samples: int
    capacity: int
    wide: bool
    own: Coefficients
    gram: Tensor
    square: Tensor
    top: Tensor
    length: Tensor
    delta: Tensor
    turn: Tensor
    sums: Tensor
    column: Tensor
    root: Tensor
    sum_error: Tensor
    root_error: Tensor
    inverse: Tensor
    normals: Tensor

    @classmethod
    def make(
        cls, n_samples: int, n_outputs: int, capacity: int, wide: bool, device: torch.device
    ) -> Workspace:
        """Allocate it: `plan.bytes_per_draw` for each draw, `plan.max_capacity` draws at most."""
        if not 0 < capacity <= plan.max_capacity(n_samples, n_outputs):
            raise ValueError(f"no workspace has room for {capacity} draws on {n_samples} samples")

        def empty(entries: int, dtype: torch.dtype) -> Tensor:
            return torch.empty(entries * capacity, dtype=dtype, device=device)

        double, s = torch.float64, n_samples
        kind = double if wide else torch.float32
        own = Coefficients(
            empty(s * s, kind), empty(s, double), empty(s, double), empty(1, double), capacity
        )
        return cls(
            n_samples,
            capacity,
            wide,
            own,
            gram=empty(s * s, kind),
            square=empty(1, kind),
            top=empty(s, kind),
            length=empty(s, double),
            delta=empty(s, double),
            turn=empty(s, double),
            sums=empty(s, double),
            column=empty(s, double),
            root=empty(s * s, double),
            sum_error=empty(s * s, double),
            root_error=empty(s * s, double),
            inverse=empty(s * s, double),
            normals=empty(s * n_outputs, kind),
        )
