"""Which output unit answers for each sample, where float32 can tell: compiled, for test sets.

The forward pass and its error bound are those of screening. What lies within the bound, a sample in
a few hundred, is left to the law.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from biasgpu.engines.cpu.chunked import default_threads
from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.first import Inputs
from biasgpu.engines.cpu.forward import forward_quick
from biasgpu.engines.cpu.memory import address_of
from biasgpu.engines.cpu.program import Program
from biasgpu.engines.cpu.screen import name_lanes
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.walk import OVERFLOW, UNSURE, top_unit
from biasgpu.engines.cpu.workers import Workers
from biasgpu.engines.cpu.workspace import STOP, Workspace
from biasgpu.margins import DECISION_SLACK

BLOCK_BYTES = 2 << 20  # of activations of one thread: what its cache holds, and then some
TIED, OPEN = np.uint8(254), np.uint8(255)  # in place of a unit: logits of exactly zero; cannot tell


@njit
def _answer_two(
    logits: Any, alive: Any, bounds: Any, n_outputs: int, n_samples: int, lane: int, answers: Any
) -> None:
    """The answers of one lane of a one- or two-logit head; a single logit above zero is unit 1."""
    factor = DECISION_SLACK * (1.0 if n_outputs == 1 else 2.0)
    margin = bounds[lane] * np.float32(factor)
    for sample in range(n_samples):
        at = sample * n_outputs * LANES_F32 + lane
        gap = logits[at]
        if n_outputs == 2:
            gap = logits[at + LANES_F32] - gap
        if alive[sample * LANES_F32 + lane] == 0:
            answers[sample] = TIED
        elif gap > margin:
            answers[sample] = 1
        elif -gap > margin:
            answers[sample] = 0
        else:
            answers[sample] = OPEN


@njit
def _answer_many(
    logits: Any, alive: Any, bounds: Any, n_outputs: int, n_samples: int, lane: int, answers: Any
) -> None:
    """The same for three output units or more."""
    error = np.float64(bounds[lane])
    for sample in range(n_samples):
        unit = top_unit(logits, sample * n_outputs * LANES_F32, lane, n_outputs, error)
        if alive[sample * LANES_F32 + lane] == 0:
            answers[sample] = TIED
        else:
            answers[sample] = OPEN if unit == UNSURE else unit


@cache
def compiled_answers() -> Callable[..., None]:
    """The compiled answers of any draws on any inputs."""
    digest = source_digest()

    @compiled
    def answer(
        ops: Any, constants: Any, quads: Any, family: int, seed: Any, inputs: Any, wide: Any, order:
        Any, magnitudes: Any, peaks: Any, n_samples: int, n_outputs: int, draws: Any, answers: Any,
        names: Any, w: Any, here: Any, there: Any, ranges: Any, bounds: Any, ceilings: Any, alive:
        Any,
    ) -> None:  # fmt: skip
        """Fill `answers`, uint8 `(draws, samples)`; inputs are those of a single stage."""
        _ = digest
        order_at, magnitudes_at = address_of(order), address_of(magnitudes)
        for tile in range(0, len(draws), LANES_F32):
            live = min(LANES_F32, len(draws) - tile)
            for lane in range(LANES_F32):
                name_lanes(names, lane, draws[tile + min(lane, live - 1)])
            logits = forward_quick(
                ops, constants, quads, family, seed, names, inputs, wide, peaks, order_at,
                magnitudes_at, n_samples, w, here, there, ranges, bounds, ceilings, alive,
            )  # fmt: skip
            if names[STOP]:
                return
            for lane in range(live):
                mine = answers[tile + lane]
                if not bounds[LANES_F32 + lane] < OVERFLOW:
                    mine[:] = OPEN
                elif n_outputs <= 2:
                    _answer_two(logits, alive, bounds, n_outputs, n_samples, lane, mine)
                else:
                    _answer_many(logits, alive, bounds, n_outputs, n_samples, lane, mine)

    return answer


def units(
    program: Program,
    tile: Callable[[int], tuple[np.uint64, npt.NDArray[np.uint64], object]],
    n: int,
    x: npt.NDArray[np.float32],
    *,
    largest_weight: float = float("inf"),
    threads: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Which unit answers, for many networks and samples.

    Args:
        program: of the networks.
        tile: gives, for the first of at most sixteen networks, their seed, their draws, and what
            must stay in memory meanwhile; of given weights their address, and as many zeros.
        n: how many networks.
        x: float32 `(samples, *shape)`.
        largest_weight: of the first layer.
        threads: CPU threads; None takes all.

    Returns:
        uint8 `(n, samples)`: the unit, TIED, or OPEN where float32 cannot tell.
    """
    result = np.empty((n, len(x)), np.uint8)
    if not result.size:
        return result
    answer = compiled_answers()
    workers = threads or default_threads()
    block = max(4, BLOCK_BYTES // (2 * program.buffer_units * LANES_F32 * 4))
    if n < workers * LANES_F32:
        block = min(block, -(-len(x) // workers))  # too few networks: threads share the samples
    block = min(block, len(x))

    def make_space() -> Workspace:
        return Workspace.make(program, block, np.float32)

    def one(space: Workspace, place: tuple[int, int]) -> None:
        start, begin = place
        seed, draws, _kept = tile(start)
        part = x[begin : begin + block]
        stage = np.array([len(part)], np.int64)
        inputs = Inputs.make(program, part, stage, largest_weight)
        out = np.empty((len(draws), len(part)), np.uint8)
        answer(
            program.ops, program.constants, program.quads, program.family, seed,
            inputs.rows, inputs.wide, inputs.order, inputs.magnitudes, inputs.peaks,
            len(part), program.n_outputs, draws, out, *space.buffers,
        )  # fmt: skip
        result[start : start + LANES_F32, begin : begin + block] = out

    pool = Workers(workers, make_space, "biasgpu-answers")
    try:
        pool.run(one, product(range(0, n, LANES_F32), range(0, len(x), block)))
    finally:
        pool.close()
    return result
