"""Networks that were drawn, as one set: their parameters, many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.decision import permutation
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.fits import Fits
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.task import Task

CHUNK_BLOCKS = 1 << 15  # blocks of words at once: temporaries that fit the caches
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
    if isinstance(ensemble, BatchNormEnsemble) and len(draws):
        result = np.stack([_settled(ensemble, packing, draw) for draw in draws.tolist()])
    elif isinstance(ensemble, DeferredEnsemble) and len(draws):
        # What is too large to be written down is refused before there is a place for it.
        rows = (packing.pack(ensemble.parameters(draw)) for draw in draws.tolist())
        result = np.stack([row.astype(np.float32, copy=False) for row in rows])
    else:
        result = np.zeros((len(index), packing.n_parameters), np.float32)
        for step, place in zip(ensemble.steps, packing.offsets, strict=True):
            if step.linear:
                _fill_layer(ensemble, step, draws, result, place)
            elif step.units:
                _fill_batch_norm(ensemble, step, draws, result, place)
    _arrange(ensemble, packing, arrangements, result)
    return result


def _fill_layer(
    ensemble: Ensemble,
    step: Step,
    draws: npt.NDArray[np.uint64],
    result: Weights,
    place: tuple[int, ...],
) -> None:
    """One layer of all draws, as `Ensemble.step_parameters` has it for one."""
    layer, fan_in = step.linear, step.fan_in
    assert layer is not None
    weight = result[:, place[0] : place[1]].reshape(len(draws), layer.units, fan_in)
    bias = result[:, place[1] : place[-1]]  # empty where there is none
    units = max(1, min(layer.units, CHUNK_BLOCKS // step.blocks_per_unit))
    size = max(1, CHUNK_BLOCKS // (units * step.blocks_per_unit))
    for first in range(0, layer.units, units):
        last = min(first + units, layer.units)
        blocks = step.first_block + np.arange(
            first * step.blocks_per_unit, last * step.blocks_per_unit
        )
        for start in range(0, len(draws), size):
            some = slice(start, start + size)
            words = rng.words_of(ensemble.seed, draws[some], blocks)
            words = words.reshape(len(words), last - first, -1)
            rows = ensemble.prior.weights(words, fan_in)
            weight[some, first:last] = rows[..., :fan_in]
            if step.columns > fan_in:
                bias[some, first:last] = rows[..., fan_in]


def _fill_batch_norm(
    ensemble: Ensemble,
    step: Step,
    draws: npt.NDArray[np.uint64],
    result: Weights,
    place: tuple[int, ...],
) -> None:
    """A batch norm of all draws, as training begins with it: means of 0, variances of 1."""
    blocks = step.first_block + np.arange(step.units * step.blocks_per_unit)
    words = rng.words_of(ensemble.seed, draws, blocks).reshape(len(draws), step.units, -1)
    weight, bias = ensemble.prior.normalizer(words)
    result[:, place[0] : place[1]], result[:, place[1] : place[2]] = weight, bias
    result[:, place[3] : place[4]] = 1.0


def _settled(ensemble: BatchNormEnsemble, packing: Packing, draw: int) -> Weights:
    """A draw with the statistics of the training set."""
    statistics = ensemble.statistics(draw)
    layers = [
        None if pair is None else (*pair, *statistics.get(step.position, ()))
        for step, pair in zip(ensemble.steps, ensemble.parameters(draw), strict=True)
    ]
    return packing.pack(layers).astype(np.float32)


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
