"""Which words of a draw become which standard normals, by the law."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.deferred.plan import GROUP, LANES, Layer, Plan
from biasgpu.normal import normal

Floats = npt.NDArray[np.float64]


def blocks_for(n: int) -> int:
    """Whole blocks that hold `n` normals, in groups of `GROUP`."""
    return LANES * -(-n // GROUP)


def directions(seed: int, draw: int, plan: Plan, layer: int, n: int) -> Floats:
    """The images of the first `n` directions under a layer of unit scale.

    Args:
        seed, draw: the name.
        plan: says where a layer's normals lie.
        layer: which one; the last is the output layer.
        n: directions.

    Returns:
        float64 `(n, units)`.
    """
    units = plan.layers[layer].units
    if layer == len(plan.layers) - 1:
        blocks = np.arange(-(-n * units // 4))
        words = rng.words(seed, draw, blocks, stream=rng.STREAM_OUTPUTS).reshape(-1)
        return normal(words[: n * units]).reshape(n, units)
    offset = plan.layers[layer].offset
    starts = plan.blocks * np.arange(n)[:, None]
    return _grouped(seed, draw, rng.STREAM_DIRECTIONS, starts, offset, units)


def rest(seed: int, draw: int, layer: Layer, number: int, first: int, n: int) -> Floats:
    """Independent normals for the weights of units `first .. first + n - 1` of a layer.

    Args:
        seed, draw: the name.
        layer: the layer, `number` its place among the dense layers.

    Returns:
        float64 `(n, columns)`.
    """
    starts = blocks_for(layer.columns) * (first + np.arange(n)[:, None])
    return _grouped(seed, draw, rng.STREAM_REST + number, starts, 0, layer.columns)


def _grouped(
    seed: int, draw: int, stream: int, starts: npt.NDArray[np.int64], offset: int, n: int
) -> Floats:
    """Normals `offset .. offset + n - 1` of each run of blocks that begins at `starts`."""
    groups = np.arange(offset // GROUP, -(-(offset + n) // GROUP))
    inside = LANES * groups[:, None] + np.arange(LANES)
    words = rng.words(seed, draw, starts[..., None] + inside, stream=stream)
    # (run, group, lane, word) -> (run, group, word, lane): lanes lie next to each other.
    values = normal(np.ascontiguousarray(words.swapaxes(-1, -2)))
    values = values.reshape(len(starts), GROUP * len(groups))
    begin = offset - GROUP * int(groups[0])
    return np.ascontiguousarray(values[:, begin : begin + n])
