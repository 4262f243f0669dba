"""What a trainer is: a way to train many networks of one ensemble on one training set.

The law of training is in `biasgpu.training.law`: plain float64, one network at a time. A trainer is
fast and computes in float32; it starts from the canonical weights, takes the same batches in the
same order and the same steps, and differs by rounding alone. A network's result depends on its
name, never on which others are trained beside it. Whether it ends without training error is not
the trainer's to say: that is decided in float64 on the weights it returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.ensemble import Ensemble
from biasgpu.training.batch_norm import check_batches
from biasgpu.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Trajectories:
    """What became of some networks.

    Attributes:
        weights: float32 `(n, len(recipe.kept), n_parameters)`, after each of the kept epochs, as
            `biasgpu.packing.Packing` lays them out; a network that stopped early stays as it was.
        epochs: int64 `(n,)`: how many epochs each was trained.
        gradient_norms: float64 `(n, recipe.epochs + 1)`: the Euclidean norm, over all parameters,
            of the gradient of the mean loss over the whole training set, at the initialisation and
            after each epoch (NaN after a network stopped); None where it was not asked for. Batch
            norms take the training set for a batch then, and their running statistics stay.
    """

    weights: npt.NDArray[np.float32]
    epochs: npt.NDArray[np.int64]
    gradient_norms: npt.NDArray[np.float64] | None = None


class Trainer(ABC):
    """Trains draws of one ensemble.

    Args:
        ensemble: architecture, prior (the initialisation) and seed.
        x_train: float32 `(n_train, *shape)`.
        y_train: int64 `(n_train,)`.
        recipe: how.
        gradient_norms: record them; every epoch then takes one more pass over the training set.

    Raises:
        UsageError: a batch leaves a batch norm with one number a channel.

    Attributes:
        name: "reference", "torch", "cpu", "triton".
        device: where it computes: "cpu", "cuda:0".
        same_bits: whether a network comes out with the same bits in whatever company it is trained.
    """

    name: ClassVar[str]
    same_bits: ClassVar[bool] = True
    device: str = "cpu"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        recipe: Recipe,
        *,
        gradient_norms: bool = False,
    ) -> None:
        check_batches(ensemble.steps, recipe, len(y_train))
        self.ensemble = ensemble
        self.x_train = x_train
        self.y_train = y_train
        self.recipe = recipe
        self.gradient_norms = gradient_norms

    @abstractmethod
    def train(self, draws: npt.NDArray[np.uint64]) -> Trajectories:
        """Train some draws, outputs as drawn (arrangement 0), each from its own initialisation.

        Args:
            draws: uint64 `(n,)`, any n.
        """

    @property
    def granularity(self) -> int:
        """The trainer works best on multiples of so many networks."""
        return 1

    @property
    def notice(self) -> str:
        """What a user should know before training starts; empty if nothing."""
        return ""

    def prepare(self) -> None:  # noqa: B027 (most trainers compile nothing)
        """Get ready what takes long once, such as compiling; without it the first networks do."""

    def begin(self) -> None:
        """Get ready for the first networks."""
        self.prepare()

    def close(self) -> None:  # noqa: B027 (most trainers hold nothing)
        """Give back threads and memory."""
