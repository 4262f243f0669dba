"""Steps of the optimisers in SIMD lanes, from gradients to weights: `law.Optimizer` in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.simd import add_to_wide, madd, widen
from biasgpu.training.cpu.lanes import BYTES, get, put, root, spread, where
from biasgpu.training.cpu.plan import LANES, STATES
from biasgpu.training.recipe import BETA_1, BETA_2, EPSILON, MOMENTUM

SGD, MOMENTUM_SGD = STATES["sgd"], STATES["momentum"]
_LESS_1, _LESS_2 = 1.0 - BETA_1, 1.0 - BETA_2


@njit
def step(
    optimizer: int, w: int, g: int, state: int, n_parameters: int, start: int, stop: int,
    rate: float, n_steps: int, active: Any,
) -> None:  # fmt: skip
    """One step for the parameters `start .. stop - 1`.

    Args (in numba):
        optimizer: how many vectors of state it keeps.
        w, g, state: addresses of parameters, gradients and the optimiser's state.
        rate: the learning rate.
        n_steps: which step this is, from 1.
        active: mask of the lanes that are trained.
    """
    if optimizer == SGD:
        down = spread(-rate)
        for i in range(start, stop):
            old = get(w, i)
            put(w, i, where(active, madd(get(g, i), down, old), old))
    elif optimizer == MOMENTUM_SGD:
        down, keep = spread(-rate), spread(MOMENTUM)
        for i in range(start, stop):
            old = get(w, i)
            mean = madd(keep, get(state, i), get(g, i))
            put(state, i, mean)
            put(w, i, where(active, madd(mean, down, old), old))
    else:
        # The corrections of both means go into the rate and into epsilon.
        spread_2 = np.sqrt(1.0 - BETA_2**n_steps)
        down = spread(-rate * spread_2 / (1.0 - BETA_1**n_steps))
        epsilon = spread(EPSILON * spread_2)
        keep_1, keep_2, less_1, less_2 = (
            spread(BETA_1), spread(BETA_2), spread(_LESS_1), spread(_LESS_2),
        )  # fmt: skip
        second = state + BYTES * n_parameters
        for i in range(start, stop):
            old, gradient = get(w, i), get(g, i)
            mean = madd(keep_1, get(state, i), less_1 * gradient)
            square = madd(keep_2, get(second, i), less_2 * gradient * gradient)
            put(state, i, mean)
            put(second, i, square)
            new = madd(down, mean / (root(square) + epsilon), old)
            put(w, i, where(active, new, old))


@njit
def norms(g: int, n_parameters: int, sums: Any) -> None:
    """The Euclidean norm of each lane's gradient, to `sums`: float64 `(16,)`."""
    for lane in range(LANES):
        sums[lane] = 0.0
    for i in range(n_parameters):
        wide = widen(get(g, i))
        add_to_wide(sums, 0, wide * wide)
    for lane in range(LANES):
        sums[lane] = np.sqrt(sums[lane])
