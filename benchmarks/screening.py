"""Candidates a second: the cpu engine against the published way, work by work, in one run.

Both are given the same training set. The published way is tuned over batch sizes first
(`baseline.py`); then the two take turns. The engine's time includes deciding by the law what is
borderline. The floor of a work is what its candidates need at least: a random word for each weight,
and a product for each connection and sample up to a draw's first error; at the ceilings measured in
the same run (`ceilings.py`), one after the other, since both keep the same vector units busy. (A
first dense layer multiplies inputs that all samples of a stage share only once. That is less than
the floor counts, by 3 % of it for paper-mlp-2/6.)

    python -m benchmarks screening
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks import baseline
from benchmarks.ceilings import Ceilings
from biasgpu import priors, tasks
from biasgpu.engines.base import Engine
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.ensemble import Ensemble
from biasgpu.layout import n_products, n_weights
from biasgpu.sampling.screening import screen
from biasgpu.task import Task

PRIOR = "uniform"
TARGETS = {"lenet-2/6": 100.0, "lenet-1/6": 60.0, "lenet-4/6": 60.0, "paper-mlp-2/6": 60.0}
PLANE_POINTS = 60


@dataclass(frozen=True)
class Row:
    """One work measured.

    Attributes:
        work: its name in `baseline.WORKS`.
        candidates_per_s, low, high: the engine: median, slowest and fastest turn.
        baseline_per_s, baseline_low, baseline_high, batch: the published way, at its best batch.
        ratio: of the medians.
        words, products: what a draw needs: weights, and products up to its first error.
        floor_s: the least time a draw can take with all threads, at the ceilings.
        fraction: of the floor's speed that is reached.
        borderline: share of draws left to the law.
    """

    work: str
    candidates_per_s: float
    low: float
    high: float
    baseline_per_s: float
    baseline_low: float
    baseline_high: float
    batch: int
    ratio: float
    words: float
    products: float
    floor_s: float
    fraction: float
    borderline: float


def task_for(work: str) -> Task:
    """The training set of a work: MNIST 7 vs 0, or 60 points in the plane."""
    n_train = baseline.WORKS[work][1]
    if work == "mlp-2-8-1":
        return tasks.task("slab", n_train=n_train, data_seed=200)
    return tasks.task("mnist", (7, 0), n_train=n_train, data_seed=200)


def measure(
    work: str, ceilings: Ceilings, *, threads: int, repeats: int = 5, seconds: float = 2.0
) -> Row:
    """Measure one work.

    Args:
        work: its name in `baseline.WORKS`.
        ceilings: of this machine, measured in this run.
        threads: for both sides.
        repeats: turns each side takes.
        seconds: how long a turn takes.
    """
    task = task_for(work)
    architecture = baseline.WORKS[work][0]
    x, y = torch.from_numpy(task.x_train), torch.from_numpy(task.y_train)
    tuned = baseline.measure(architecture, x, y, threads=threads, repeats=1, seconds=seconds / 2)
    published = baseline.Baseline(architecture, x, y, tuned.batch)

    ensemble = Ensemble(architecture, priors.make(PRIOR), task.shape, task.n_classes, seed=1)
    engine = CpuEngine(ensemble, task.x_train, task.y_train, threads=threads)
    n_draws = draws_for(engine, seconds)
    ours, theirs, counts = [], [], np.zeros(task.n_train + 1, np.int64)
    borderline = 0
    torch.set_num_threads(threads)
    for turn in range(repeats):
        start = time.perf_counter()
        prefixes, unsure = screen(engine, turn * n_draws, n_draws, threads=threads)
        ours.append(ensemble.n_arrangements * n_draws / (time.perf_counter() - start))
        counts += np.bincount(prefixes, minlength=task.n_train + 1)
        borderline += len(unsure)
        theirs.append(baseline.rate(published, seconds))
    engine.close()

    draws = int(counts.sum())
    samples = float((counts * np.minimum(np.arange(task.n_train + 1) + 1, task.n_train)).sum())
    words, products = n_weights(ensemble.steps), n_products(ensemble.steps) * samples / draws
    floor_s = words / ceilings.uniform_words_per_s + products / ceilings.products_per_s
    speed, other = statistics.median(ours), statistics.median(theirs)
    return Row(
        work, speed, min(ours), max(ours), other, min(theirs), max(theirs), tuned.batch,
        speed / other, words, products, floor_s,
        floor_s * speed / ensemble.n_arrangements, borderline / draws,
    )  # fmt: skip


def draws_for(engine: Engine, seconds: float) -> int:
    """Whole chunks for every thread that take about so long; compiles on the way."""
    n = engine.granularity
    screen(engine, 0, n)
    start = time.perf_counter()
    screen(engine, 0, n)
    return max(1, round(seconds / (time.perf_counter() - start))) * n
