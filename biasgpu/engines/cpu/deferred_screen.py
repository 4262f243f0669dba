"""The compiled screens of method "deferred": which draws go to `reveal`, what becomes of them.

First all draws in float32, then, by functions of their own, those that it left open in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.forward import forward_law, forward_quick
from biasgpu.engines.cpu.front import take_exact_features, take_features
from biasgpu.engines.cpu.reveal import reveal
from biasgpu.engines.cpu.screen import name_lanes
from biasgpu.engines.cpu.signs import certain_errors
from biasgpu.engines.cpu.vectors import LANES_F32, LANES_F64
from biasgpu.engines.cpu.workspace import STOP


@cache
def compiled_reveal() -> Callable[..., None]:
    """For dense networks; the machine code is kept until one of its sources changes."""
    digest = source_digest()

    @compiled
    def screen(
        layers: Any, scales: Any, shared: Any, labels: Any, blocks: int, stride: int, seed: Any,
        first_draw: Any, prefixes: Any, names: Any, by_signs: bool, draws: Any, live: Any,
        reached: Any, buffers: Any, features: Any, sums: Any, dots: Any, space: Any, logits: Any,
        answers: Any,
    ) -> None:  # fmt: skip
        """Fill `prefixes` for draws `first_draw ..`."""
        _ = digest
        n, size = len(prefixes), len(draws)
        masks, g, h, a, z = buffers
        waiting = 0
        for tile in range(0, n, LANES_F32):
            if names[STOP]:
                return
            here = min(LANES_F32, n - tile)
            settled = np.uint64(0)
            if by_signs:
                for lane in range(LANES_F32):
                    name_lanes(names, lane, first_draw + np.uint64(tile + min(lane, here - 1)))
                settled = certain_errors(g, names, layers, seed)
            for lane in range(here):
                if settled >> np.uint64(lane) & np.uint64(1):
                    prefixes[tile + lane] = 1
                else:
                    draws[waiting] = first_draw + np.uint64(tile + lane)
                    waiting += 1
                if waiting < size and (tile + lane + 1 < n or waiting == 0):
                    continue
                reveal(
                    layers, scales, shared, features, labels, blocks, stride, masks, seed, draws,
                    live, waiting, reached, g, h, a, z, sums, dots, space, logits, answers,
                )  # fmt: skip
                for slot in range(waiting):
                    prefixes[np.int64(draws[slot] - first_draw)] = reached[slot]
                waiting = 0

    return screen


@cache
def compiled_settle() -> Callable[..., None]:
    """For dense networks in float64: what float32 left open."""
    digest = source_digest()

    @compiled
    def settle(
        layers: Any, scales: Any, shared: Any, labels: Any, blocks: int, stride: int, seed: Any,
        names: Any, which: Any, prefixes: Any, draws: Any, live: Any, reached: Any, buffers: Any,
        features: Any, sums: Any, dots: Any, space: Any, logits: Any, answers: Any,
    ) -> None:  # fmt: skip
        """Fill `prefixes` for the draws `which`."""
        _ = digest
        masks, g, h, a, z = buffers
        for place in range(len(which)):
            if names[STOP]:
                return
            draws[0] = which[place]
            reveal(
                layers, scales, shared, features, labels, blocks, stride, masks, seed, draws, live,
                1, reached, g, h, a, z, sums, dots, space, logits, answers,
            )  # fmt: skip
            prefixes[place] = reached[0]

    return settle


@cache
def compiled_front_screen() -> Callable[..., None]:
    """For networks that begin with convolutions: those in lanes, and in stages, as by "direct"."""
    digest = source_digest()

    @compiled
    def screen(
        layers: Any, scales: Any, shared: Any, labels: Any, blocks: int, stride: int, seed: Any,
        first_draw: Any, prefixes: Any, names: Any, program: Any, work: Any, stages: Any,
        positions: Any, draws: Any, live: Any, reached: Any, buffers: Any, features: Any,
        sums: Any, dots: Any, space: Any, logits: Any, answers: Any,
    ) -> None:  # fmt: skip
        """Fill `prefixes` for draws `first_draw ..`; `positions` is scratch of its size."""
        _ = digest
        ops, constants, quads, family, inputs, wide, peaks, n_features, channels = program
        w, here, there, ranges, bounds, ceilings, alive = work
        masks, g, h, a, z = buffers
        n, width = len(prefixes), len(inputs) // len(labels)
        for i in range(n):
            positions[i] = i
        for end in stages:
            survivors = 0
            for tile in range(0, n, LANES_F32):
                count = min(LANES_F32, n - tile)
                for lane in range(LANES_F32):
                    position = positions[tile + min(lane, count - 1)]
                    draws[lane] = first_draw + np.uint64(position)
                    name_lanes(names, lane, draws[lane])
                outputs = forward_quick(
                    ops, constants, quads, family, seed, names, inputs[: end * width],
                    wide[: end * width], peaks, 0, 0, end, w, here, there, ranges, bounds,
                    ceilings, alive,
                )  # fmt: skip
                if names[STOP]:
                    return
                for lane in range(count):
                    take_features(
                        outputs, ranges, alive, lane, lane, end, n_features, channels, features
                    )
                reveal(
                    layers, scales, shared, features, labels[:end], blocks, stride, masks, seed,
                    draws, live, count, reached, g, h, a, z, sums, dots, space, logits, answers,
                )  # fmt: skip
                for lane in range(count):
                    position = positions[tile + lane]
                    prefixes[position] = reached[lane]
                    if reached[lane] == end:
                        positions[survivors] = position
                        survivors += 1
            n = survivors
            if n == 0:
                break

    return screen


@cache
def compiled_front_settle() -> Callable[..., None]:
    """For networks that begin with convolutions, in float64: what float32 left open."""
    digest = source_digest()

    @compiled
    def settle(
        layers: Any, scales: Any, shared: Any, labels: Any, blocks: int, stride: int, seed: Any,
        names: Any, which: Any, prefixes: Any, program: Any, work: Any, draws: Any, live: Any,
        reached: Any, buffers: Any, features: Any, sums: Any, dots: Any, space: Any, logits: Any,
        answers: Any,
    ) -> None:  # fmt: skip
        """Fill `prefixes` for the draws `which`."""
        _ = digest
        ops, constants, quads, family, _, wide, peaks, n_features, _ = program
        w, here, there, ranges, bounds, ceilings, alive = work
        masks, g, h, a, z = buffers
        n, samples = len(which), len(labels)
        for tile in range(0, n, LANES_F64):
            count = min(LANES_F64, n - tile)
            for lane in range(LANES_F64):
                draws[lane] = which[tile + min(lane, count - 1)]
                name_lanes(names, lane, draws[lane])
            outputs = forward_law(
                ops, constants, quads, family, seed, names, wide, wide, peaks, 0, 0, samples, w,
                here, there, ranges, bounds, ceilings, alive,
            )  # fmt: skip
            if names[STOP]:
                return
            for lane in range(count):
                take_exact_features(outputs, lane, lane, samples, n_features, features)
            reveal(
                layers, scales, shared, features, labels, blocks, stride, masks, seed, draws, live,
                count, reached, g, h, a, z, sums, dots, space, logits, answers,
            )  # fmt: skip
            for lane in range(count):
                prefixes[tile + lane] = reached[lane]

    return settle
