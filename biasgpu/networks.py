"""Sets of networks: what measures are taken of, whether the networks were drawn or trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.task import Task


class Networks(Protocol):
    """Any number of networks of one architecture, on one task.

    `Run`, its selections at a smaller N, and `Trained` are such sets.
    """

    @property
    def task(self) -> Task:
        """What they are measured on."""
        ...

    @property
    def steps(self) -> tuple[Step, ...]:
        """Their layers; the last has one unit a class, or one for two classes."""
        ...

    def __len__(self) -> int: ...

    def parameters(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """The parameters of the networks `start .. stop - 1`, outputs in the order of the classes.

        Returns:
            float32 `(stop - start, n_parameters)`, as `biasgpu.packing.Packing` lays them out.
        """
        ...


@dataclass(frozen=True, eq=False)
class GivenNetworks:
    """Networks whose parameters are at hand.

    Args:
        task: what they are measured on.
        steps: their layers.
        flat: float32 `(n, n_parameters)`.

    Raises:
        UsageError: not as many parameters as the layers have.
    """

    task: Task
    steps: tuple[Step, ...]
    flat: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        expected = Packing(self.steps).n_parameters
        if self.flat.ndim != 2 or self.flat.shape[1] != expected:
            raise UsageError(
                f"parameters of shape {self.flat.shape} for networks of {expected} parameters.",
                why="a row holds all weights and biases of one network.",
                fix=f"give an array of shape (n, {expected}), as Packing(steps).pack makes it.",
            )

    def __len__(self) -> int:
        return len(self.flat)

    def parameters(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """As `Networks.parameters`."""
        return self.flat[start:stop]
