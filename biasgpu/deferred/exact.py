"""The law of method "deferred" for many draws: compiled sums where there are any; the same bits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biasgpu.deferred import reference

if TYPE_CHECKING:
    from biasgpu.deferred.ensemble import DeferredEnsemble

WORKING_BYTES = 2 << 30  # of activations and directions, over all threads


@cache
def arithmetic() -> reference.Arithmetic:
    """The fastest there is here."""
    if find_spec("numba") is None:
        return reference.PLAIN
    from biasgpu.engines.cpu.rows import COMPILED

    return COMPILED


def logits(
    ensemble: DeferredEnsemble,
    draws: npt.NDArray[np.uint64],
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """Logits by the law, outputs as drawn.

    Args:
        ensemble: which networks.
        draws: uint64 `(n,)`.
        x: float32 `(samples, *shape)`: some of the first inputs of the ensemble, or its test set.
        threads: how many; None for one a core.

    Returns:
        float64 `(n, samples, outputs)`; the bits of `DeferredEnsemble.logits` for each draw.
    """
    from biasgpu.engines.cpu.engine import default_threads

    rows = ensemble.rows_of(x)
    if rows is None:
        raise ValueError("the ensemble was not asked about these inputs")
    result = np.empty((len(draws), len(x), ensemble.n_outputs))
    if not result.size:
        return result
    n = rows.stop if rows.stop <= len(ensemble.x_train) else len(ensemble.x)
    shared, plan, sums = ensemble.shared, ensemble.plan, arithmetic()

    def one(place: int) -> None:
        draw = int(draws[place])
        features = ensemble.features(draw, n)
        with np.errstate(over="ignore", invalid="ignore"):
            found = reference.logits(plan, ensemble.seed, draw, features, shared, sums)
        result[place] = found[rows]

    widest = max((layer.units + 2 * layer.columns for layer in plan.layers), default=1)
    workers = min(threads or default_threads(), max(1, WORKING_BYTES // (16 * n * widest)))
    if workers == 1 or len(draws) == 1:
        for place in range(len(draws)):
            one(place)
        return result
    with ThreadPoolExecutor(workers, thread_name_prefix="biasgpu-exact") as pool:
        for _ in pool.map(one, range(len(draws))):
            pass
    return result
