"""Input-gradient norms of many networks: tiles of sixteen, shared among threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu.chunked import default_threads
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workers import Workers
from biasgpu.engines.cpu.workspace import STOP, aligned
from biasgpu.layout import Step
from biasgpu.measures.cpu.kernel import compiled_squares
from biasgpu.measures.cpu.lowering import Lowered, lower
from biasgpu.measures.cpu.scaling import scale
from biasgpu.measures.input_gradient import norms_by_law, pairs_of

BLOCK_BYTES = 512 << 10  # what a thread keeps of a block of samples: a share of the second cache
MOST_SAMPLES = 8  # of a block: more are no faster
LONGEST = 4096  # samples of one call: how often a thread comes back to Python


@dataclass(frozen=True)
class Space:
    """The memory one thread works in; `names` has the flag of `Workspace` and nothing else."""

    names: npt.NDArray[np.uint64]
    outputs: npt.NDArray[np.float32]
    winners: npt.NDArray[np.float32]
    here: npt.NDArray[np.float32]
    there: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]

    @classmethod
    def make(cls, plan: Lowered, block: int) -> Space:
        """Memory for `block` samples at a time."""

        def vectors(n: int) -> npt.NDArray[np.float32]:
            return aligned(max(n, 1) * LANES_F32, np.float32)

        return cls(
            names=aligned(STOP + 1, np.uint64),
            outputs=vectors(block * plan.outputs),
            winners=vectors(block * plan.winners),
            here=vectors(block * plan.gradients),
            there=vectors(block * plan.gradients),
            spread=vectors(plan.spread),
        )


def norms(
    steps: Sequence[Step],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """The norms of `biasgpu.measures.input_gradient_norms`.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`.
        x: float32 `(samples, *shape)`.
        threads: CPU threads; None for one a core.

    Returns:
        float64 `(n, samples)`; not a number for parameters that are not finite.
    """
    steps = tuple(steps)
    result = np.zeros((len(flat), len(x)))
    if not result.size:
        return result
    scaled = scale(steps, flat, float(np.abs(x).max()))
    _fill(steps, scaled.flat, x, result, threads or default_threads())
    result = np.ldexp(result, scaled.exponents[:, None])
    left = np.flatnonzero(~scaled.certain)
    if len(left):
        result[left] = np.nan
        finite = left[np.isfinite(flat[left]).all(axis=1)]
        result[finite] = norms_by_law(steps, flat[finite], x)
    return result


def _fill(
    steps: tuple[Step, ...],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    result: npt.NDArray[np.float64],
    workers: int,
) -> None:
    plan = lower(steps)
    program = plan.program
    inputs, passes = plan.inputs(x)
    pairs = np.array(pairs_of(program.n_outputs), dtype=np.int64).reshape(-1, 2)
    squares_of = compiled_squares()
    each = (plan.outputs + plan.winners + 2 * plan.gradients) * LANES_F32 * 4
    block = max(2, min(MOST_SAMPLES, BLOCK_BYTES // each // 2 * 2, len(x)))
    tiles = -(-len(flat) // LANES_F32)
    share = len(x) if tiles >= 2 * workers else -(-len(x) // (2 * workers))
    share = max(1, min(share, LONGEST))

    def one(space: Space, place: tuple[int, int]) -> None:
        start, begin = place
        mine = flat[start : start + LANES_F32]
        lanes = aligned(len(plan.order) * LANES_F32, np.float32).reshape(-1, LANES_F32)
        lanes[:, : len(mine)] = mine.T[plan.order]
        part = slice(begin, begin + share)
        n = len(inputs[part])
        squares = aligned(len(pairs) * n * LANES_F32, np.float64)
        squares_of(
            program.ops, plan.places, program.quads, inputs[part].reshape(-1),
            passes[part].reshape(-1), pairs, n, block, lanes.reshape(-1), space.names,
            space.outputs, space.winners, space.here, space.there, space.spread, squares,
        )  # fmt: skip
        largest = squares.reshape(len(pairs), n, LANES_F32).max(axis=0, initial=0.0)
        result[start : start + LANES_F32, part] = np.sqrt(largest.T[: len(mine)])

    pool = Workers(workers, lambda: Space.make(plan, block), "biasgpu-gradients")
    try:
        pool.run(one, product(range(0, len(flat), LANES_F32), range(0, len(x), share)))
    finally:
        pool.close()
