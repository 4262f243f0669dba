"""Activations, and what they still are to become, as kernels for batch norms hand them on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels.launch import _expect

Image = tuple[int, int, int]


@dataclass(frozen=True)
class Numbers:
    """Activations of some draws on all samples: float64 tensors on the device.

    Attributes:
        shape: channels, rows, columns.
        n_samples: samples.
        values: `(draws, n_samples, *shape)`; if `shared` one draw's.
        reach, total: `(draws, channels)` and `(draws,)`, what their errors are bounded by, behind
            the following two (see `batch_norm_settle`).
        affine: `(draws, channels, 2)`: what values still are to be multiplied with, and what to
            add; None for nothing.
        rectified: a ReLU is still to follow that.
        shared: the same for all draws.
    """

    shape: Image
    n_samples: int
    values: Tensor
    reach: Tensor
    total: Tensor
    affine: Tensor | None = None
    rectified: bool = False
    shared: bool = False

    @property
    def size(self) -> int:
        """Numbers of a draw."""
        channels, rows, columns = self.shape
        return self.n_samples * channels * rows * columns

    @property
    def strides(self) -> tuple[int, int]:
        """From draw to draw, of reach and of totals."""
        return (0, 0) if self.shared else (self.shape[0], 1)

    @property
    def flags(self) -> dict[str, bool]:
        """As kernels take them."""
        return {
            "SHARED": self.shared, "NORMED": self.affine is not None, "RECTIFIED": self.rectified,
        }  # fmt: skip

    def affine_or(self, other: Tensor) -> Tensor:
        """What a kernel is given that needs an address."""
        return other if self.affine is None else self.affine

    def expect(self, n: int) -> None:
        """Check room for so many draws.

        Raises:
            ValueError: there is not, or types differ.
        """
        device, channels = self.values.device, self.shape[0]
        each = 1 if self.shared else n
        _expect("values", self.values, torch.float64, each * self.size, device)
        _expect("reach", self.reach, torch.float64, each * channels, device)
        _expect("total", self.total, torch.float64, each, device)
        if self.affine is not None:
            _expect("affine", self.affine, torch.float64, n * channels * 2, device)
        if not 0 < self.size <= plan.MAX_OFFSET:
            raise ValueError(f"{self.size} numbers a draw; none, or more than 32 bits number")
