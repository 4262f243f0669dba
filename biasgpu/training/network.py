"""One trained network: its weights, its float64 logits by the law, and what it began as."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.decision import arrange
from biasgpu.ensemble import Ensemble
from biasgpu.layout import Step
from biasgpu.network import Network, Weighted
from biasgpu.packing import Packing


@dataclass(frozen=True)
class TrainedNetwork(Weighted):
    """A network after training.

    Args:
        ensemble: the networks that training began with.
        index: the name of the one that this was, arrangement 0 of its draw.
        flat: float32 `(n_parameters,)`, as `biasgpu.packing.Packing` lays them out.
    """

    ensemble: Ensemble
    index: int
    flat: npt.NDArray[np.float32] = field(repr=False, compare=False)

    @property
    def initial(self) -> Network:
        """The network that it was before training."""
        return Network(self.ensemble, self.index)

    @property
    def draw(self) -> int:
        """The draw number of its initialisation."""
        return self.ensemble.split(self.index)[0]

    @property
    def arrangement(self) -> int:
        """Always 0: its outputs are trained as they were drawn."""
        return 0

    @property
    def steps(self) -> tuple[Step, ...]:
        """The layers in their places."""
        return self.ensemble.steps

    @cached_property
    def _parameters(self) -> dict[str, npt.NDArray[np.float32]]:
        result: dict[str, npt.NDArray[np.float32]] = {}
        for step, pair in zip(self.steps, Packing(self.steps).unpack(self.flat), strict=True):
            if pair is not None:
                for (name, _), part in zip(step.parts, pair, strict=True):
                    array = np.array(part, np.float32)
                    array.setflags(write=False)
                    result[f"{step.position}.{name}"] = array
        return result

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """All parameters, output units in the order of the classes.

        Returns:
            Read-only float32 arrays by the names of `module().state_dict()`: "0.weight", "0.bias".
        """
        return dict(self._parameters)

    def logits(self, x: npt.NDArray) -> npt.NDArray[np.float64]:
        """Logits by class, by the law.

        Args:
            x: `(samples, *shape)`, normalised as the task's inputs.

        Returns:
            float64 `(samples, n_classes)`; for a one-logit head (0, z).
        """
        layers = Packing(self.steps).float64(self.flat)
        with np.errstate(over="ignore", invalid="ignore"):
            return arrange(reference.forward(self.steps, layers, x), 0)
