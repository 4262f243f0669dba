"""The law for many draws at once: compiled where it can be, else the reference; the same bits."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biasgpu import batch_norm_law
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.deferred import exact as deferred
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.layout import n_products, n_words
from biasgpu.priors import NormalPrior, UniformPrior

if TYPE_CHECKING:
    from biasgpu.engines.cpu.program import Program
    from biasgpu.engines.cpu.workspace import Workspace

BUFFER_BYTES = 48 << 20  # activations of one thread
CACHE_BYTES = 4 << 20  # of these that stay near the core
DRAWING_SHARE = 20  # a weight costs some 9 products to draw: for so many samples that is little
WIDE_BYTES = 384 << 20  # of all threads, where that is too little for MANY_SAMPLES at once
MANY_SAMPLES = 64  # weights are drawn again for every so many samples at worst


def logits(
    ensemble: Ensemble,
    draws: npt.NDArray[np.uint64],
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """Logits by the law, outputs as drawn.

    Args:
        ensemble: which networks.
        draws: uint64 `(n,)`.
        x: float32 `(samples, *shape)`; under method "deferred" the ensemble's own.
        threads: how many; None for one a core.

    Returns:
        float64 `(n, samples, outputs)`; the bits of `Ensemble.logits` for each draw.
    """
    if isinstance(ensemble, DeferredEnsemble):
        return deferred.logits(ensemble, draws, x, threads=threads)
    if isinstance(ensemble, BatchNormEnsemble):
        return batch_norm_law.logits(ensemble, draws, x, threads=threads)
    from biasgpu.engines.cpu.program import unsupported

    draws = np.ascontiguousarray(draws, dtype=np.uint64)
    result = np.empty((len(draws), len(x), ensemble.n_outputs))
    if not result.size:
        return result
    if unsupported(ensemble):
        for row, draw in zip(result, draws.tolist(), strict=True):
            row[...] = ensemble.logits(draw, x)
        return result
    _compiled(ensemble, draws, x, result, threads)
    return result


def prepare(ensemble: Ensemble) -> None:
    """Have the law compiled for such ensembles, or load it from disk: the first use would else."""
    if isinstance(ensemble, DeferredEnsemble):
        deferred.prepare(ensemble)
        return
    if isinstance(ensemble, BatchNormEnsemble):
        batch_norm_law.prepare(ensemble)
        return
    from biasgpu.engines.cpu.program import unsupported
    from biasgpu.engines.cpu.workspace import Workspace

    if unsupported(ensemble):
        return
    program = program_of(ensemble)
    inputs = program.inputs(np.zeros((1, *ensemble.shape), np.float32), np.float64)
    space = Workspace.make(program, 1, np.float64)
    names, out = np.empty(0, np.uint64), np.empty((0, 1, ensemble.n_outputs))
    _call(ensemble, program, inputs, program.peaks(inputs), names, out, space)


def _call(
    ensemble: Ensemble,
    program: Program,
    rows: npt.NDArray[np.float64],
    peaks: npt.NDArray[np.float64],
    draws: npt.NDArray[np.uint64],
    out: npt.NDArray[np.float64],
    space: Workspace,
) -> None:
    from biasgpu.engines.cpu.screen import compiled_exact

    compiled_exact()(
        program.ops, program.constants, program.quads, program.family,
        np.uint64(ensemble.seed), rows.reshape(-1), peaks, np.empty(0), len(rows),
        program.n_outputs, draws, out, *space.buffers,
    )  # fmt: skip


def program_of(ensemble: Ensemble) -> Program:
    """What the compiled code runs for an ensemble that it takes."""
    return _program(ensemble, *_about_prior(ensemble))


@lru_cache(maxsize=8)
def _program(ensemble: Ensemble, *_prior: object) -> Program:
    from biasgpu.engines.cpu.program import lower

    return lower(ensemble)


def _about_prior(ensemble: Ensemble) -> tuple[object, ...]:
    """What tells apart two priors of a user's own that bear the same name."""
    prior = ensemble.prior
    assert isinstance(prior, (UniformPrior, NormalPrior))
    scales = [prior.scale(step.fan_in) for step in ensemble.steps if step.linear]
    return type(prior), prior.bits, *scales


def _compiled(
    ensemble: Ensemble,
    draws: npt.NDArray[np.uint64],
    x: npt.NDArray[np.float32],
    result: npt.NDArray[np.float64],
    threads: int | None,
) -> None:
    from biasgpu.engines.cpu.chunked import default_threads
    from biasgpu.engines.cpu.vectors import LANES_F64
    from biasgpu.engines.cpu.workers import Workers
    from biasgpu.engines.cpu.workspace import Workspace

    program = program_of(ensemble)
    inputs = program.inputs(x, np.float64)
    peaks = program.peaks(inputs)
    per_sample = 2 * program.buffer_units * LANES_F64 * 8
    workers = threads or default_threads()
    enough = DRAWING_SHARE * 9 * n_words(ensemble.steps) // n_products(ensemble.steps)
    room = min(BUFFER_BYTES, max(CACHE_BYTES, enough * per_sample))
    room = max(room, min(WIDE_BYTES // workers, MANY_SAMPLES * per_sample))
    block = max(1, min(len(x), room // per_sample))
    # Enough draws for a call to be worth its while, few enough to share among the threads.
    share = -(-len(draws) // (4 * workers * LANES_F64)) * LANES_F64
    share = min(share, max(1, BUFFER_BYTES // (8 * block * ensemble.n_outputs)))
    if len(draws) <= share and len(x) > MANY_SAMPLES:
        # Too few draws for every thread: let them share the samples, and draw the weights each.
        block = min(block, -(-len(x) // workers))

    def make_space() -> Workspace:
        return Workspace.make(program, block, np.float64)

    def one(space: Workspace, place: tuple[int, int]) -> None:
        start, begin = place
        part, rows = draws[start : start + share], inputs[begin : begin + block]
        out = np.empty((len(part), len(rows), ensemble.n_outputs))
        _call(ensemble, program, rows, peaks, part, out, space)
        result[start : start + share, begin : begin + block] = out

    pool = Workers(workers, make_space, "biasgpu-exact")
    try:
        pool.run(one, product(range(0, len(draws), share), range(0, len(x), block)))
    finally:
        pool.close()


def pair_logits(
    ensemble: Ensemble,
    draws: npt.NDArray[np.uint64],
    samples: npt.NDArray[np.int64],
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """Logits by the law of draw i on sample i: for a few samples here and there.

    Args:
        ensemble: one that is compiled (`biasgpu.engines.cpu.program.unsupported`).
        draws: uint64 `(n,)`; the same ones next to each other are quickest.
        samples: int64 `(n,)`, places in `x`.
        x: float32 `(samples, *shape)`.
        threads: how many; None for one a core.

    Returns:
        float64 `(n, outputs)`; the bits of `Ensemble.logits`.
    """
    from biasgpu.engines.cpu import pairs
    from biasgpu.engines.cpu.chunked import default_threads
    from biasgpu.engines.cpu.vectors import LANES_F64
    from biasgpu.engines.cpu.workers import Workers

    program = program_of(ensemble)
    inputs = program.inputs(x, np.float64)
    features = inputs.shape[1]
    result = np.empty((len(draws), ensemble.n_outputs))
    n = LANES_F64 * max(1, CACHE_BYTES // (8 * features * LANES_F64))

    def one(space: Workspace, start: int) -> None:
        rows = inputs[samples[start : start + n]]
        names = draws[start : start + n]
        seed = np.uint64(ensemble.seed)
        result[start : start + n] = pairs.pair_logits(program, seed, names, rows, space)

    def make_space() -> Workspace:
        return pairs.pair_space(program, features)

    pool = Workers(threads or default_threads(), make_space, "biasgpu-pairs")
    try:
        pool.run(one, range(0, len(draws), n))
    finally:
        pool.close()
    return result
