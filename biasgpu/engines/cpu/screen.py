"""Staged screening, compiled: draws in, prefixes out.

A stage runs sixteen draws at a time over the next few samples. What fails is done; survivors move
up and the next stage makes their weights again from their names. Only positions and, for each
survivor, which unit answers to which class (four bits a class) are kept between stages.

Of two units, what is known of a draw is also noted where a sample is not certain, so that the law
need not begin at the first one (settle.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.forward import forward_law, forward_quick
from biasgpu.engines.cpu.memory import address_of
from biasgpu.engines.cpu.program import DENSE, KIND
from biasgpu.engines.cpu.vectors import LANES_F32, LANES_F64
from biasgpu.engines.cpu.walk import walk_many, walk_two
from biasgpu.engines.cpu.workspace import STOP

_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# A doubt in 64 bits: a draw's state before the sample (two classes), the sample, the position.
DOUBT_SAMPLE, DOUBT_POSITION = 8, 24


@njit
def name_lanes(names: Any, lane: int, draw: Any) -> None:
    """Put a draw's number into its lane: groups of 8 low halves, then their 8 high halves."""
    place = 16 * (lane // 8) + lane % 8
    names[place] = draw & _LOW_HALF
    names[place + 8] = draw >> _HALF


@cache
def compiled_screen() -> Callable[..., int]:
    """The compiled screen; its machine code is kept until one of its sources changes."""
    digest = source_digest()

    @compiled
    def screen(
        ops: Any, constants: Any, quads: Any, family: int, seed: Any, inputs: Any, wide: Any,
        order: Any, magnitudes: Any, peaks: Any, labels: Any, first_stage: int, stages: Any,
        n_outputs: int, initial: Any, first_draw: Any, prefixes: Any, positions: Any, states: Any,
        doubts: Any, names: Any, w: Any, here: Any, there: Any, ranges: Any, bounds: Any,
        ceilings: Any, alive: Any,
    ) -> int:  # fmt: skip
        """Fill `prefixes` at some positions, for the draws `first_draw + position`.

        Args (in numba):
            inputs, wide, order, magnitudes: see `first.Inputs`.
            first_stage: the stage to begin with. If it is 0, all positions are screened from state
                `initial`, else `positions` from `states`.
            positions, states: overwritten.
            doubts: as many; receives a doubt for each borderline draw of two units.

        Returns:
            how many doubts there are.
        """
        _ = digest
        n, n_doubts, begin = len(positions), 0, 0
        if first_stage > 0:
            begin = stages[first_stage - 1]
        else:
            for i in range(n):
                positions[i], states[i] = i, initial
        extra = 1 if ops[0, KIND] == DENSE else 0  # rows of a stage besides its samples
        features = len(inputs) // (len(labels) + extra * len(stages))
        reached = np.empty(LANES_F32, np.int64)
        for stage in range(first_stage, len(stages)):
            survivors, end = 0, stages[stage]
            start, stop = begin + extra * stage, end + extra * (stage + 1)
            part = inputs[start * features : stop * features]
            wide_part = wide[start * features : stop * features]
            order_at = address_of(order) + 8 * stage * order.shape[1]
            magnitudes_at = address_of(magnitudes) + 4 * stage * order.shape[1]
            for tile in range(0, n, LANES_F32):
                live = min(LANES_F32, n - tile)
                for lane in range(LANES_F32):
                    position = positions[tile + min(lane, live - 1)]
                    name_lanes(names, lane, first_draw + np.uint64(position))
                logits = forward_quick(
                    ops, constants, quads, family, seed, names, part, wide_part, peaks,
                    order_at, magnitudes_at, end - begin, w, here, there, ranges, bounds, ceilings,
                    alive,
                )  # fmt: skip
                if names[STOP]:
                    return 0
                mine = states[tile : tile + live]
                if n_outputs <= 2:
                    walk_two(
                        logits, alive, bounds, n_outputs, labels, begin, end, mine, live, reached
                    )
                else:
                    walk_many(
                        logits, alive, bounds, n_outputs, labels, begin, end, mine, live, reached
                    )
                for lane in range(live):
                    position, prefix = positions[tile + lane], reached[lane]
                    if prefix < 0:
                        prefixes[position] = BORDERLINE
                        sample = np.uint64(-1 - prefix) << np.uint64(DOUBT_SAMPLE)
                        place = np.uint64(position) << np.uint64(DOUBT_POSITION)
                        doubts[n_doubts] = place | sample | mine[lane]
                        n_doubts += 1
                        continue
                    prefixes[position] = prefix
                    if prefix == end:
                        positions[survivors], states[survivors] = position, mine[lane]
                        survivors += 1
            n, begin = survivors, end
            if n == 0:
                break
        return n_doubts

    return screen


@cache
def compiled_exact() -> Callable[..., None]:
    """The compiled law: float64 logits of any draws on any inputs."""
    digest = source_digest()

    @compiled
    def exact(
        ops: Any, constants: Any, quads: Any, family: int, seed: Any, inputs: Any, peaks: Any,
        lane_inputs: Any, n_samples: int, n_outputs: int, draws: Any, logits: Any, names: Any, w:
        Any, here: Any, there: Any, ranges: Any, bounds: Any, ceilings: Any, alive: Any,
    ) -> None:  # fmt: skip
        """Fill `logits`, `(draws, samples, outputs)`.

        Without `inputs` each draw has one of its own, in `lane_inputs`, `[tile, feature, lane]`.
        """
        _ = digest
        features = 0 if len(inputs) else len(lane_inputs) // len(draws)
        for tile in range(0, len(draws), LANES_F64):
            live = min(LANES_F64, len(draws) - tile)
            for lane in range(LANES_F64):
                name_lanes(names, lane, draws[tile + min(lane, live - 1)])
            for i in range(features * LANES_F64):
                here[i] = lane_inputs[tile * features + i]
            out = forward_law(
                ops, constants, quads, family, seed, names, inputs, inputs, peaks,
                0, 0, n_samples, w, here, there, ranges, bounds, ceilings, alive,
            )  # fmt: skip
            if names[STOP]:
                return
            for lane in range(live):
                for i in range(n_samples * n_outputs):
                    sample, output = i // n_outputs, i % n_outputs
                    logits[tile + lane, sample, output] = out[i * LANES_F64 + lane]

    return exact
