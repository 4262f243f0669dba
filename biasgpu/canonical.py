"""The parameters of many draws at once, as `Ensemble.parameters` has them for one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.ensemble import Ensemble
from biasgpu.layout import Step
from biasgpu.packing import Packing

CHUNK_BLOCKS = 1 << 15  # blocks of words at once: temporaries that fit the caches
Weights = npt.NDArray[np.float32]


def initial_parameters(ensemble: Ensemble, draws: npt.NDArray[np.uint64]) -> Weights:
    """The canonical parameters of draws, outputs as drawn; batch norms as training begins with
    them.

    Args:
        ensemble: which networks, of method "direct".
        draws: uint64 `(n,)`.

    Returns:
        float32 `(n, n_parameters)`, as `biasgpu.packing.Packing` lays them out; biases that the
        architecture does not draw are zero.
    """
    packing = Packing(ensemble.steps)
    result = np.zeros((len(draws), packing.n_parameters), np.float32)
    for step, place in zip(ensemble.steps, packing.offsets, strict=True):
        if step.linear:
            _fill_layer(ensemble, step, draws, result, place)
        elif step.units:
            _fill_batch_norm(ensemble, step, draws, result, place)
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
    words = rng.words_of(ensemble.seed, draws, blocks)
    words = words.reshape(len(draws), step.units, step.blocks_per_unit * rng.WORDS_PER_BLOCK)
    weight, bias = ensemble.prior.normalizer(words)
    result[:, place[0] : place[1]], result[:, place[1] : place[2]] = weight, bias
    result[:, place[3] : place[4]] = 1.0
