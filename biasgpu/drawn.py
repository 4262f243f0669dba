"""Networks that were drawn, as one set: their parameters, many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import batch_norm_law
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.canonical import initial_parameters
from biasgpu.decision import permutation
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.fits import Fits
from biasgpu.layers import BatchNorm2d
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.task import Task

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DrawnNetworks:
    """Candidates of one ensemble on a task.

    Args:
        task: what they are measured on; it may hold fewer training samples than the ensemble knows.
        ensemble: which networks.
        index: uint64 `(n,)`, their names.
        fits: their rows, or None.
    """

    task: Task
    ensemble: Ensemble
    index: npt.NDArray[np.uint64]
    fits: Fits | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The layers in their places."""
        return self.ensemble.steps

    def __len__(self) -> int:
        return len(self.index)

    def parameters(self, start: int, stop: int) -> Weights:
        """As `biasgpu.networks.Networks.parameters`.

        Raises:
            UsageError: infinitely wide networks, or networks too large to be written down.
        """
        return drawn_parameters(self.ensemble, self.index[start:stop])


def drawn_parameters(ensemble: Ensemble, index: npt.NDArray[np.uint64]) -> Weights:
    """The parameters of candidates, outputs in the order of the classes.

    Args:
        ensemble: which networks.
        index: uint64 `(n,)`.

    Returns:
        float32 `(n, n_parameters)`, as `biasgpu.packing.Packing` lays them out; biases that the
        architecture does not draw are zero.

    Raises:
        UsageError: as `Network.weights`.
    """
    packing = Packing(ensemble.steps)
    n = np.uint64(ensemble.n_arrangements)
    draws, arrangements = index // n, (index % n).astype(np.int64)
    if isinstance(ensemble, BatchNormEnsemble):
        result = _settled(ensemble, packing, draws)
    elif isinstance(ensemble, DeferredEnsemble) and len(draws):
        # What is too large to be written down is refused before there is a place for it.
        rows = (packing.pack(ensemble.parameters(draw)) for draw in draws.tolist())
        result = np.stack([row.astype(np.float32, copy=False) for row in rows])
    else:
        result = initial_parameters(ensemble, draws)
    _arrange(ensemble, packing, arrangements, result)
    return result


def _settled(
    ensemble: BatchNormEnsemble, packing: Packing, draws: npt.NDArray[np.uint64]
) -> Weights:
    """Draws with the statistics of the training set."""
    result = initial_parameters(ensemble, draws)
    statistics, start = batch_norm_law.settle(ensemble, draws)[1], 0
    for step, place in zip(ensemble.steps, packing.offsets, strict=True):
        if isinstance(step.layer, BatchNorm2d):
            mine = statistics[:, start : start + step.units]
            result[:, place[2] : place[3]] = mine[..., 0]
            result[:, place[3] : place[4]] = mine[..., 1]
            start += step.units
    return result


def _arrange(
    ensemble: Ensemble, packing: Packing, arrangements: npt.NDArray[np.int64], result: Weights
) -> None:
    """Put the output units of every network in the order of the classes."""
    pair = packing.unpack(result)[-1]
    assert pair is not None  # the last layer has weights
    for one in np.unique(arrangements).tolist():
        if one == 0:
            continue
        rows = arrangements == one
        for part in pair:  # views into `result`
            if ensemble.n_outputs == 1:
                part[rows] = -part[rows]
            else:
                part[rows] = part[rows][:, list(permutation(ensemble.n_outputs, one))]
