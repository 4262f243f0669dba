"""Staged screening, compiled: draws in, prefixes out.

A stage runs sixteen draws at a time over the next few samples. What fails is done; survivors move
up and the next stage makes their weights again from their names. Only positions and, for each
survivor, which unit answers to which class (four bits a class) are kept between stages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.forward import forward
from biasgpu.engines.cpu.vectors import LANES_F32, LANES_F64
from biasgpu.engines.cpu.walk import walk_many, walk_two
from biasgpu.engines.cpu.workspace import STOP

_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit
def name_lanes(names: Any, lane: int, draw: Any) -> None:
    """Put a draw's number into its lane: groups of 8 low halves, then their 8 high halves."""
    place = 16 * (lane // 8) + lane % 8
    names[place] = draw & _LOW_HALF
    names[place + 8] = draw >> _HALF


@cache
def compiled_screen() -> Callable[..., None]:
    """The compiled screen; its machine code is kept until one of its sources changes."""
    digest = source_digest()

    @compiled
    def screen(
        ops: Any, constants: Any, quads: Any, family: int, seed: Any, inputs: Any, wide: Any, peaks:
        Any, labels: Any, stages: Any, n_outputs: int, initial: Any, first_draw: Any, prefixes: Any,
        positions: Any, states: Any, names: Any, w: Any, here: Any, there: Any, ranges: Any, bounds:
        Any, ceilings: Any, alive: Any,
    ) -> None:  # fmt: skip
        """Fill `prefixes` for draws `first_draw ..`; `positions` and `states` are scratch of its
        size.
        """
        _ = digest
        n = len(prefixes)
        for i in range(n):
            positions[i], states[i] = i, initial
        features = len(inputs) // len(labels)
        reached = np.empty(LANES_F32, np.int64)
        begin = 0
        for end in stages:
            survivors = 0
            part = inputs[begin * features : end * features]
            wide_part = wide[begin * features : end * features]
            for tile in range(0, n, LANES_F32):
                live = min(LANES_F32, n - tile)
                for lane in range(LANES_F32):
                    position = positions[tile + min(lane, live - 1)]
                    name_lanes(names, lane, first_draw + np.uint64(position))
                logits = forward(
                    ops, constants, quads, family, seed, names, part, wide_part, peaks,
                    end - begin, w, here, there, ranges, bounds, ceilings, alive,
                )  # fmt: skip
                if names[STOP]:
                    return
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
                    prefixes[position] = prefix
                    if prefix == end:
                        positions[survivors], states[survivors] = position, mine[lane]
                        survivors += 1
            n, begin = survivors, end
            if n == 0:
                break

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
            out = forward(
                ops, constants, quads, family, seed, names, inputs, inputs, peaks, n_samples,
                w, here, there, ranges, bounds, ceilings, alive,
            )  # fmt: skip
            if names[STOP]:
                return
            for lane in range(live):
                for i in range(n_samples * n_outputs):
                    sample, output = i // n_outputs, i % n_outputs
                    logits[tile + lane, sample, output] = out[i * LANES_F64 + lane]

    return exact
