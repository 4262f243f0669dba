"""The law of method "deferred" for many draws: compiled sums where there are any; the same bits."""

from __future__ import annotations

from collections.abc import Callable
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
SHARED_VALUES = 100_000  # activations and directions of a draw that are worth a thread
FRONT_BYTES = 32 << 20  # of activations of convolutions, in one thread


@cache
def arithmetic() -> reference.Arithmetic:
    """The fastest there is here."""
    if find_spec("numba") is None:
        return reference.PLAIN
    from biasgpu.engines.cpu.deferred_law import COMPILED

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
    from biasgpu.engines.cpu.chunked import default_threads

    rows = ensemble.rows_of(x)
    if rows is None:
        raise ValueError("the ensemble was not asked about these inputs")
    result = np.empty((len(draws), len(x), ensemble.n_outputs))
    if not result.size:
        return result
    n = rows.stop if rows.stop <= len(ensemble.x_train) else len(ensemble.x)
    shared, plan, sums = ensemble.shared, ensemble.plan, arithmetic()

    features_of = _front(ensemble, n)

    def one(place: int) -> None:
        draw = int(draws[place])
        features = features_of(draw)
        with np.errstate(over="ignore", invalid="ignore"):
            found = reference.logits(plan, ensemble.seed, draw, features, shared, sums)
        result[place] = found[rows]

    widest = max((max(layer.units, layer.columns) for layer in plan.layers), default=1)
    workers = min(threads or default_threads(), max(1, WORKING_BYTES // (16 * n * widest)))
    if n * widest < SHARED_VALUES:
        workers = 1  # threads would wait for the interpreter more than they compute
    if workers == 1 or len(draws) == 1:
        for place in range(len(draws)):
            one(place)
        return result
    pool = ThreadPoolExecutor(workers, thread_name_prefix="biasgpu-exact")
    try:
        for _ in pool.map(one, range(len(draws))):
            pass
    finally:
        # Whoever is interrupted does not wait for draws that have not begun.
        pool.shutdown(wait=True, cancel_futures=True)
    return result


def prepare(ensemble: DeferredEnsemble) -> None:
    """Have the sums compiled, or load them from disk: the first use would else."""
    sums, plan = arithmetic(), ensemble.plan
    x = np.ones((1, 8))
    sums.orthonormalize(x, 1)
    sums.combine(x, sums.dots(x, x), x)
    sums.directions(0, 0, plan, len(plan.layers) - 1, 1)


def _front(ensemble: DeferredEnsemble, n: int) -> Callable[[int], npt.NDArray[np.float64]]:
    """A function that gives a draw's inputs of the first dense layer, `(n, n_in)`."""
    plan = ensemble.plan
    if plan.shared or find_spec("numba") is None:
        return lambda draw: ensemble.features(draw, n)
    from biasgpu.engines.cpu.program import lower_steps, unsupported
    from biasgpu.engines.cpu.screen import compiled_exact
    from biasgpu.engines.cpu.workspace import Workspace

    if unsupported(ensemble):
        return lambda draw: ensemble.features(draw, n)
    program = lower_steps(plan.front, ensemble.prior)
    inputs = program.inputs(ensemble.x[:n], np.float64)
    peaks, exact = program.peaks(inputs), compiled_exact()
    seed, size = np.uint64(ensemble.seed), program.n_outputs
    block = max(1, min(n, FRONT_BYTES // (16 * 64 * program.buffer_units)))

    def features(draw: int) -> npt.NDArray[np.float64]:
        space = Workspace.make(program, block, np.float64)
        name, result = np.array([draw], dtype=np.uint64), np.empty((1, n, size))
        for begin in range(0, n, block):
            rows = inputs[begin : begin + block]
            out = np.empty((1, len(rows), size))
            exact(
                program.ops, program.constants, program.quads, program.family, seed,
                rows.reshape(-1), peaks, np.empty(0), len(rows), size, name, out, *space.buffers,
            )  # fmt: skip
            result[:, begin : begin + block] = out
        return result[0]

    return features
