"""Where a network's parameters lie while it is trained: rows of whole vectors.

An optimiser passes over them as one array. Every row of weights begins on a vector, and is followed
by numbers nobody looks at; running statistics lie behind all parameters proper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.layers import BatchNorm2d
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.training.planes.grid import whole


@dataclass(frozen=True)
class Places:
    """Where everything is, in numbers.

    Attributes:
        weight, bias, running, slot: for each step where its weights, biases and running means (then
            variances) begin, and the number of its first channel among those of all batch norms; -1
            for what is not there.
        order: int64 `(n_parameters,)`: where each of the numbers lies that `Packing` lays out.
        trained: int64, of those that an optimiser moves.
        n_trained: length of what an optimiser passes over.
        n_numbers: the same and running statistics.
        n_slots: channels of all batch norms.
    """

    weight: list[int]
    bias: list[int]
    running: list[int]
    slot: list[int]
    order: npt.NDArray[np.int64]
    trained: npt.NDArray[np.int64]
    n_trained: int
    n_numbers: int
    n_slots: int


def row_length(step: Step) -> int:
    """Numbers from one unit's weights to the next one's."""
    return whole(step.fan_in)


def place(steps: Sequence[Step]) -> Places:
    """Places for the parameters of some layers."""
    n = len(steps)
    weight, bias, running, slot = ([-1] * n for _ in range(4))
    order = np.zeros(Packing(tuple(steps)).n_parameters, np.int64)
    tracked = np.zeros(len(order), bool)
    offsets = Packing(tuple(steps)).offsets
    end = n_slots = 0
    for k, (step, starts) in enumerate(zip(steps, offsets, strict=True)):
        if step.linear:
            weight[k] = end
            rows = np.arange(step.units)[:, None] * row_length(step) + np.arange(step.fan_in)
            order[starts[0] : starts[1]] = end + rows.reshape(-1)
            end += step.units * row_length(step)
            if len(step.parts) > 1:
                bias[k] = end
                order[starts[1] : starts[2]] = end + np.arange(step.units)
                end += whole(step.units)
        elif isinstance(step.layer, BatchNorm2d):
            weight[k], bias[k], slot[k] = end, end + whole(step.units), n_slots
            for part, begin in enumerate((weight[k], bias[k])):
                order[starts[part] : starts[part + 1]] = begin + np.arange(step.units)
            end += 2 * whole(step.units)
            n_slots += step.units
    n_trained = end
    for k, (step, starts) in enumerate(zip(steps, offsets, strict=True)):
        if slot[k] >= 0:
            running[k] = end
            order[starts[2] : starts[4]] = end + np.arange(2 * step.units)
            tracked[starts[2] : starts[4]] = True
            end += whole(2 * step.units)
    return Places(
        weight, bias, running, slot, order, order[~tracked].copy(), n_trained, end, n_slots
    )
