"""Images in memory: rows with a margin of zeros, one sample behind the other, a plane a channel.

Convolution, norm and rectifier then run along a plane as along a line: a tap of a kernel is a
shift, the same for all positions of all samples, and what it finds beyond an edge is a zero. For
that all images between two poolings lie on one grid, with room for the widest of their paddings.
Positions outside of the images are computed along, and set to zero wherever a plane is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.layers import Conv2d, Flatten, Fork, Join, MaxPool2d
from biasgpu.layout import Step

LANES = 16


def whole(n: int) -> int:
    """`n` numbers rounded up to whole vectors."""
    return -(-n // LANES) * LANES


@dataclass(frozen=True)
class Grid:
    """Rows and columns that a sample of a plane takes, the margin included.

    Attributes:
        rows, stride: how many; a row begins `stride` numbers behind the one above.
        reach: how far the taps of the convolutions on it go, in numbers.
    """

    rows: int
    stride: int
    reach: int = 0

    @property
    def sample(self) -> int:
        """Numbers of one sample of a plane."""
        return self.rows * self.stride

    def plane(self, n: int) -> int:
        """Numbers of a plane of `n` samples: whole vectors."""
        return whole(n * self.sample)

    def mask(self, n: int, height: int, width: int) -> npt.NDArray[np.uint16]:
        """Where images lie in a plane of `n` samples: a bit each position."""
        inside = np.zeros(self.plane(n), np.uint8)
        images = inside[: n * self.sample].reshape(n, self.rows, self.stride)
        images[:, :height, :width] = 1
        return np.packbits(inside, bitorder="little").view("<u2").astype(np.uint16)


def flat_mask(features: int) -> npt.NDArray[np.uint16]:
    """The mask of one flat sample."""
    return Grid(1, whole(features)).mask(1, 1, features)


def grids(steps: Sequence[Step]) -> list[Grid | None]:
    """The grid of the input of every step, and of the output; None for flat ones.

    Args:
        steps: the layers in their places.
    """
    runs = _runs(steps)
    needs: dict[int, Grid] = {}
    for place, run in enumerate(runs):
        shape = steps[place].in_shape if place < len(steps) else steps[-1].out_shape
        if len(shape) == 3:
            needs[run] = _larger(needs.get(run), Grid(*shape[1:]))
    for place, step in enumerate(steps):
        if isinstance(step.layer, Conv2d):
            height, width = step.in_shape[1:]
            pad, reach = step.layer.padding, max(step.layer.padding, step.layer.kernel - 1)
            run = runs[place]
            needs[run] = _larger(needs[run], Grid(height + pad, width + pad, reach))
    # A reach of rows and columns, now that it is known how long a row is.
    found = {run: Grid(g.rows, g.stride, g.reach * (g.stride + 1)) for run, g in needs.items()}
    shapes = [*(step.in_shape for step in steps), steps[-1].out_shape]
    return [
        found[run] if len(shape) == 3 else None for run, shape in zip(runs, shapes, strict=True)
    ]


def _runs(steps: Sequence[Step]) -> list[int]:
    """A number for every step's input, and for the output: equal where the grid is to be one."""
    runs, run = [0], 0
    forks: list[int] = []
    for place, step in enumerate(steps):
        if isinstance(step.layer, MaxPool2d | Flatten):
            run = place + 1
        if isinstance(step.layer, Fork):
            forks.append(run)
        elif isinstance(step.layer, Join):  # added number by number: one grid for both
            other = forks.pop()
            runs = [run if one == other else one for one in runs]
            forks = [run if one == other else one for one in forks]
        runs.append(run)
    return runs


def _larger(one: Grid | None, other: Grid) -> Grid:
    if one is None:
        return other
    return Grid(
        max(one.rows, other.rows), max(one.stride, other.stride), max(one.reach, other.reach)
    )
