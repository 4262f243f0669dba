"""Initialisations of sixteen draws at once, from their names: the canonical float32 weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.screen import name_lanes
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.weights import draw_units
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.training.cpu.plan import (
    BIASES,
    BLOCKS,
    DRAWN,
    FAN_IN,
    FIRST_BLOCK,
    LANES,
    UNITS,
    WEIGHTS,
)


@njit
def initialize(
    ops: Any, scales: Any, family: int, seed: Any, draws: Any, first: int, names: Any, unit: Any,
    w: Any,
) -> None:  # fmt: skip
    """Write the parameters of the draws `first .. first + 15` to `w`; the last stand in for more.

    The law's own code makes them, eight lanes of float64 at a time, a unit after the other.

    Args (in numba):
        unit: float64, room for one unit's weights.
    """
    for lane in range(LANES):
        name_lanes(names, lane, draws[min(first + lane, len(draws) - 1)])
    for k in range(len(ops)):
        op = ops[k]
        fan_in, drawn = op[FAN_IN], op[DRAWN]
        for u in range(op[UNITS]):
            if names[STOP]:
                return
            for half in range(2):
                block = op[FIRST_BLOCK] + u * op[BLOCKS]
                draw_units(
                    unit, 0, names[16 * half :], block, op[BLOCKS], 1, family, scales[k], seed
                )
                for i in range(drawn):
                    place = op[WEIGHTS] + u * fan_in + i if i < fan_in else op[BIASES] + u
                    for lane in range(LANES_F64):
                        weight = np.float32(unit[i * LANES_F64 + lane])
                        w[place * LANES + half * LANES_F64 + lane] = weight
                if drawn == fan_in:
                    for lane in range(LANES_F64):
                        place = (op[BIASES] + u) * LANES + half * LANES_F64
                        w[place + lane] = np.float32(0.0)
