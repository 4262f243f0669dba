"""Candidates a second of method "deferred": the cpu engine against plain PyTorch, in one run.

The task is MNIST 7 vs 0, N = 16, the prior kaiming-normal, the network an MLP with two hidden
layers. Plain PyTorch (`plain.py`) draws the matrices; each of its ways is tuned first, then all
take turns with the engine. Both sides test the two arrangements of a draw, so the ratio of
candidates is that of draws.

The floor is what a draw needs at least. Half of all draws have outputs of one sign for the first
two directions, and err at the second sample whatever their hidden layers are
(engines/cpu/signs.py): they need those outputs' normals. Every other draw needs, for each sample up
to its first error, a normal for each hidden unit and each output, and with it the products of
images and of Gram-Schmidt. Both at the ceilings measured in the same run, one after the other,
since they keep the same vector units busy.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import baseline, plain
from benchmarks.ceilings import Ceilings
from benchmarks.screening import Row, draws_for
from biasgpu import architectures, methods, priors, tasks
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.cpu.deferred import DeferredCpuEngine
from biasgpu.sampling.screening import screen
from biasgpu.task import Task

WORKS = {"deferred-512": 512, "deferred-4096": 4096}
DEPTH, PRIOR, N_TRAIN = 2, "kaiming-normal", 16


@dataclass(frozen=True)
class PlainRow:
    """One way of plain PyTorch, in candidates a second: median, slowest and fastest turn."""

    work: str
    candidates_per_s: float
    low: float
    high: float
    batch: int


def task() -> Task:
    """The training set of all works."""
    return tasks.task("mnist", (7, 0), n_train=N_TRAIN, data_seed=200)


def ensemble_of(width: int, training: Task, seed: int = 1) -> DeferredEnsemble:
    """The networks of a width."""
    architecture = architectures.mlp(width, DEPTH)
    found = methods.ensemble("deferred", training, architecture, priors.make(PRIOR), seed)
    assert isinstance(found, DeferredEnsemble)
    return found


def needed(
    counts: npt.NDArray[np.int64], width: int, depth: int, n_outputs: int = 2
) -> tuple[float, float]:
    """Random normals and products that a draw needs on average.

    Args:
        counts: int64 `(n_train + 1,)`: draws by prefix.
        width, depth: of the hidden layers.
        n_outputs: two, since a sign settles.
    """
    n, total = len(counts) - 1, int(counts.sum())
    settled = min(total / 2, float(counts[1]))  # by signs: at the second sample, all of them
    draws = counts.astype(np.float64)
    draws[1] -= settled
    samples = np.minimum(np.arange(n + 1) + 1, n)
    units = width * depth
    normals = 2 * n_outputs * settled + float((draws * samples).sum()) * (units + n_outputs)
    # Sample i, from 1: an image takes i products, and so do the inner products of activations.
    pairs = float((draws * samples * (samples + 1)).sum()) / 2
    return normals / total, pairs * (2 * units + n_outputs) / total


def measure(
    work: str, ceilings: Ceilings, *, threads: int, repeats: int = 5, seconds: float = 2.0
) -> tuple[Row, list[PlainRow]]:
    """Measure one work.

    Args:
        work: its name in `WORKS`.
        ceilings: of this machine, measured in this run.
        threads: for both sides.
        repeats: turns each side takes.
        seconds: how long a turn takes; plain PyTorch's are shorter by a factor of three, having
            three ways.

    Returns:
        the engine against the fastest way, and every way.
    """
    width, training = WORKS[work], task()
    x, y = torch.from_numpy(training.x_train), torch.from_numpy(training.y_train)
    share = seconds / len(plain.WAYS)
    runners = {
        way: plain.tune(way, width, DEPTH, x, y, threads=threads, seconds=share / 2)
        for way in plain.WAYS
    }
    ensemble = ensemble_of(width, training)
    engine = DeferredCpuEngine(ensemble, training.x_train, training.y_train, threads=threads)
    n_draws = draws_for(engine, seconds)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {way: [] for way in plain.WAYS}
    counts, borderline = np.zeros(training.n_train + 1, np.int64), 0
    for turn in range(repeats):
        start = time.perf_counter()
        prefixes, unsure = screen(engine, turn * n_draws, n_draws, threads=threads)
        ours.append(ensemble.n_arrangements * n_draws / (time.perf_counter() - start))
        counts += np.bincount(prefixes, minlength=training.n_train + 1)
        borderline += len(unsure)
        for way, (runner, _) in runners.items():
            with plain.torch_threads(way, threads):
                speed = baseline.rate(runner, share)
            theirs[way].append(ensemble.n_arrangements * speed)
    engine.close()

    ways = [
        PlainRow(
            f"plain-{width}-{way}", statistics.median(rates), min(rates), max(rates),
            runners[way][1],
        )
        for way, rates in theirs.items()
    ]  # fmt: skip
    best = max(ways, key=lambda row: row.candidates_per_s)
    normals, products = needed(counts, width, DEPTH, ensemble.n_outputs)
    floor_s = normals / ceilings.quick_normals_per_s + products / ceilings.products_per_s
    speed = statistics.median(ours)
    row = Row(
        work, speed, min(ours), max(ours), best.candidates_per_s, best.low, best.high, best.batch,
        speed / best.candidates_per_s, normals, products, floor_s,
        floor_s * speed / ensemble.n_arrangements, borderline / float(counts.sum()),
    )  # fmt: skip
    return row, ways
