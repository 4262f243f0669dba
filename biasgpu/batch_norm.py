"""Guess and check with batch norms: their statistics are those of the training set.

What such a network answers to one input depends on all training samples, so one stream of draws
serves one N alone: another training set makes other networks of the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layout import coupled

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchNormEnsemble(Ensemble):
    """All networks of an architecture with batch norms, a prior and a seed, on a training set.

    Args:
        x_train: float32 `(n, *shape)`, all of them: they make the statistics.

    Raises:
        UsageError: an architecture without batch norms, or no training sample.
    """

    x_train: npt.NDArray[np.float32] = field(repr=False)

    def _check(self) -> None:
        super()._check()
        if not coupled(self.steps) or not len(self.x_train):
            raise UsageError(
                f"{self.architecture} has no batch norm, or there is no training sample.",
                why="the training samples give batch norms their statistics.",
                fix="use biasgpu.ensemble.Ensemble, which needs none.",
            )

    def settled(self, draw: int) -> list[reference.Weights | None]:
        """The layers as `biasgpu.reference.forward` takes them, after the training samples went
        through."""
        return reference.settle(self.steps, self._drawn(draw), self.x_train)[0]

    def statistics(self, draw: int) -> dict[int, tuple[Floats, Floats]]:
        """Mean and variance of every batch norm over the training set, by the law.

        Returns:
            float64 `(channels,)` twice, by the step's position.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return reference.settle(self.steps, self._drawn(draw), self.x_train)[1]
