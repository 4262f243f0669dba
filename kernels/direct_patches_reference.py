"""Twins in NumPy of what `direct_patches.py` asks of tensor cores, and of its digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BITS = 24  # of float32, and no guard bit


def digits(value: npt.NDArray[np.float32], base: float) -> tuple[Floats, Floats]:
    """The twin of `direct_patches.digits`."""
    exact = value.astype(np.float64)
    upper = np.rint(exact / base)
    return upper, np.rint(exact - upper * base)


def product(x: Floats, w: Floats, group: int, cut: bool) -> Floats:
    """Sums of products as coarse as any tensor core is known to make them.

    Products and the sum so far are taken `group` at a time, lined up with the largest of them in
    24 bits, cut off or rounded, and so is their sum.

    Args:
        x, w: `(rows, taps)`.
        group: products of a step.
        cut: towards zero; else to the nearest.

    Returns:
        `(rows,)`.
    """
    total = np.zeros(len(x))
    for start in range(0, x.shape[1], group):
        addends = x[:, start : start + group] * w[:, start : start + group]
        addends = np.concatenate([addends, total[:, None]], axis=1)
        unit = _unit(np.abs(addends).max(axis=1))[:, None]
        kept = _kept(addends, unit, cut).sum(axis=1)
        total = _kept(kept, _unit(np.abs(kept)), cut)
    return total


def _unit(largest: Floats) -> Floats:
    """Of the last of the bits of numbers that are lined up with the largest."""
    return np.ldexp(1.0, np.frexp(largest)[1] - BITS)


def _kept(values: Floats, unit: Floats, cut: bool) -> Floats:
    return (np.trunc if cut else np.rint)(values / unit) * unit
