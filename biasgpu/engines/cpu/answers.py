"""Which output unit answers for each sample, where float32 can tell: compiled, for test sets.

The forward pass and its error bound are those of screening. What lies within the bound, a sample in
a few hundred, is left to the law.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.forward import forward
from biasgpu.engines.cpu.screen import name_lanes
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.walk import OVERFLOW, UNSURE, top_unit
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.margins import DECISION_SLACK

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
        ops: Any, constants: Any, quads: Any, family: int, seed: Any, inputs: Any, wide: Any, peaks:
        Any, n_samples: int, n_outputs: int, draws: Any, answers: Any, names: Any, w: Any, here:
        Any, there: Any, ranges: Any, bounds: Any, ceilings: Any, alive: Any,
    ) -> None:  # fmt: skip
        """Fill `answers`, uint8 `(draws, samples)`."""
        _ = digest
        for tile in range(0, len(draws), LANES_F32):
            live = min(LANES_F32, len(draws) - tile)
            for lane in range(LANES_F32):
                name_lanes(names, lane, draws[tile + min(lane, live - 1)])
            logits = forward(
                ops, constants, quads, family, seed, names, inputs, wide, peaks, n_samples,
                w, here, there, ranges, bounds, ceilings, alive,
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
