"""What the tests of single kernels for batch norms share: numbers on the device, and guards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu.kernels import batch_norm_reference as reference
from biasgpu.kernels.batch_norm_numbers import Numbers
from tests.direct_cases import tensor

N = 2  # draws
GUARD = 2.0**100  # stands behind what a kernel may write, and where it shall
RNG = np.random.default_rng(6)


def room(*shape: int) -> torch.Tensor:
    """Poisoned, with a guard behind."""
    return tensor(np.full(N * int(np.prod(shape)) + 7, GUARD))


def own(values: torch.Tensor, *shape: int) -> npt.NDArray[np.float64]:
    """`(draws, *shape)` of what a kernel wrote: all of it, and nothing behind."""
    found = values.cpu().numpy()
    assert (found[-7:] == GUARD).all()
    assert not (found[:-7] == GUARD).any()
    return found[:-7].reshape(N, *shape)


Bounds = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def bounds(channels: int, draws: int = N) -> Bounds:
    """Reaches, and totals far above rounding."""
    return 1 + RNG.random((draws, channels)), RNG.random(draws) * 1e-6


def numbers(
    shape: tuple[int, int, int], n_samples: int, draws: int = N, **kinds: Any
) -> tuple[Numbers, npt.NDArray[np.float64], Bounds, Any]:
    """Some that are given: as kernels take them, values, bounds, and what is to be applied."""
    normed = kinds.pop("normed", False)
    values = RNG.normal(size=(draws, n_samples, *shape))
    affine = RNG.normal(size=(draws, shape[0], 2)) if normed else None
    bound = bounds(shape[0], draws)
    on_device = [
        None if part is None else tensor(part.ravel()) for part in (values, *bound, affine)
    ]
    made = Numbers(shape, n_samples, *on_device, **kinds)  # type: ignore[arg-type]
    return made, values, bound, affine


def empty(shape: tuple[int, int, int], n_samples: int, normed: bool = False) -> Numbers:
    affine = room(shape[0], 2) if normed else None
    return Numbers(shape, n_samples, room(n_samples, *shape), room(shape[0]), room(1), affine)


def turned(weight: npt.NDArray[np.float64]) -> torch.Tensor:
    """Weights `(draws, units, columns)` with those of all units side by side."""
    return tensor(weight.transpose(0, 2, 1).ravel())


def read(
    values: npt.NDArray[np.float64], affine: Any, rectified: bool
) -> list[npt.NDArray[np.float64]]:
    parts = [None] * len(values) if affine is None else affine
    return [reference.read(x, one, rectified) for x, one in zip(values, parts, strict=True)]
