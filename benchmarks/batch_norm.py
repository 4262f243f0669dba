"""Candidates a second with batch norms: the cpu engine against the published way, in one run.

As `screening.py`, but every draw sees all training samples, since they give its batch norms their
statistics, and every product is the law's: in float64, a multiplication and an addition. The floor
is all products of a draw at the ceiling of such products, measured in the same run, and a random
word for each weight. (Some products are with the zeros around an image, and left out: of ResNet4 on
MNIST, 7 % of them. Two additions and a multiplication for each output of a convolution, which its
statistics need, are not counted, either: 6 %.)

    python -m benchmarks batch-norm
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from benchmarks import baseline, ceilings
from benchmarks.screening import PRIOR, Row, draws_for
from biasgpu import engines, methods, priors, tasks
from biasgpu.architectures import Architecture, resnet4
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.layout import n_products, n_weights
from biasgpu.sampling.screening import screen
from biasgpu.task import Task

WORKS: dict[str, Architecture] = {"resnet4-2/6": resnet4("2/6")}
N_TRAIN = 16
TARGET = 20.0  # times the published way


def task_for() -> Task:
    """MNIST 7 vs 0."""
    return tasks.task("mnist", (7, 0), n_train=N_TRAIN, data_seed=200)


def ensemble_for(work: str, task: Task, seed: int) -> BatchNormEnsemble:
    """The networks of a work."""
    found = methods.ensemble("direct", task, WORKS[work], priors.make(PRIOR), seed)
    assert isinstance(found, BatchNormEnsemble)
    return found


def disagreements(work: str, n_draws: int, first_draw: int = 2**40) -> list[int]:
    """Draws on which the engine states another prefix than the reference."""
    task = task_for()
    ensemble = ensemble_for(work, task, 2**40)
    engine = engines.make("cpu", ensemble, task.x_train, task.y_train)
    stated = engine.screen(first_draw, n_draws)
    engine.close()
    right = ReferenceEngine(ensemble, task.x_train, task.y_train).screen(first_draw, n_draws)
    return (first_draw + np.flatnonzero(stated != right)).tolist()


def measure(
    work: str, best: ceilings.Ceilings, *, threads: int, repeats: int = 5, seconds: float = 2.0
) -> Row:
    """Measure one work; arguments as for `screening.measure`."""
    task = task_for()
    x, y = torch.from_numpy(task.x_train), torch.from_numpy(task.y_train)
    architecture = WORKS[work]
    tuned = baseline.measure(architecture, x, y, threads=threads, repeats=1, seconds=seconds / 2)
    published = baseline.Baseline(architecture, x, y, tuned.batch)

    ensemble = ensemble_for(work, task, 1)
    engine = engines.make("cpu", ensemble, task.x_train, task.y_train, threads=threads)
    n_draws = draws_for(engine, seconds)
    ours, theirs, borderline = [], [], 0
    torch.set_num_threads(threads)
    for turn in range(repeats):
        start = time.perf_counter()
        _, unsure = screen(engine, turn * n_draws, n_draws, threads=threads)
        ours.append(ensemble.n_arrangements * n_draws / (time.perf_counter() - start))
        borderline += len(unsure)
        theirs.append(baseline.rate(published, seconds))
    engine.close()

    words, products = n_weights(ensemble.steps), float(n_products(ensemble.steps) * N_TRAIN)
    floor_s = words / best.uniform_words_per_s + products / ceilings.law_products(threads)
    speed, other = statistics.median(ours), statistics.median(theirs)
    return Row(
        work, speed, min(ours), max(ours), other, min(theirs), max(theirs), tuned.batch,
        speed / other, words, products, floor_s,
        floor_s * speed / ensemble.n_arrangements, borderline / (repeats * n_draws),
    )  # fmt: skip
