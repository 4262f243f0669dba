"""How fast things go here: a few short runs of the kinds of work an experiment is made of.

Runs write their results into a temporary folder, since that takes time as well. Each kind is run
once before it is timed: what has to be compiled, is then.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import biasgpu
from biasgpu import engines
from biasgpu import experiment as experiments
from biasgpu.engines.base import Engine
from biasgpu.sampling.pace import Pace as Sizes
from biasgpu.sampling.screening import screened
from biasgpu.study import Study
from biasgpu.study.jobs import Job
from biasgpu.study.work import make_task
from biasgpu.task import Task

NETWORKS = 40  # measured to learn how long one takes
LONGEST_S = 1.5  # of a probe
LEAST_FITS = 6  # that tell a fit probability: to half a bit or so
PATIENCE = 4  # times as long a probe goes on to find so many
GROWING = 0.4  # of a probe, while its batches grow
LINE = 4  # points of the curve that a line is laid through: it bends


@dataclass(frozen=True)
class Screening:
    """Guess and check of one file.

    Attributes:
        candidates_per_s: screened.
        bits: -log2 of the fit probability at n_train.
        measured: fits were found at n_train; else `bits` goes on from smaller N in a line.
    """

    candidates_per_s: float
    bits: float
    measured: bool


@dataclass(frozen=True)
class Pace:
    """Seconds of a file, and of each network.

    Attributes:
        start_s: of a file, whatever it holds.
        network_s: of a network: drawn and measured, or trained (with success or without).
        success: share of trained networks that fit.
    """

    start_s: float
    network_s: float
    success: float = 1.0


class Probe:
    """Measures the kinds of work of one study.

    Args:
        study: to be made.
        run: `engine`, `train_engine`, `device` and `threads`, as for `biasgpu.compare`.
    """

    def __init__(self, study: Study, **run: Any) -> None:
        self._study = study
        self._train_engine = run.pop("train_engine", None)
        self._run = {"engine": "auto", "device": None, "threads": None, **run}
        self._tasks: dict[tuple[int, int], Task] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="biasgpu-probe-")
        self._n_files = 0
        self.task_s = 0.0  # it took to make a task, the last time

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()

    def drawn(self, job: Job) -> Pace:
        """Measuring networks that guess and check found."""
        task = self._task(job.data_seed, self._study.n_classes)
        return self._pace(lambda fits: self._sample(task, job, fits=fits, time_s=LONGEST_S))

    def trained(self, job: Job) -> Pace:
        """Training networks at the job's N."""
        task = self._task(job.data_seed, job.n_train)
        return self._pace(lambda fits: self._train(task, job, fits))

    def screened(self, job: Job, seconds: float) -> Screening:
        """Screening candidates of a job, without measuring the networks that fit.

        Args:
            job: guess and check.
            seconds: how long; up to `PATIENCE` times as long where hardly any network fits.
        """
        task = self._task(job.data_seed, job.n_train)
        experiment = experiments.make(task, job.architecture, job.prior, seed=job.seed)
        engine = engines.make(
            self._run["engine"],
            experiment.ensemble,
            task.x_train,
            task.y_train,
            device=self._run["device"],
            threads=self._run["threads"],
        )
        try:
            return _screen(engine, experiment, seconds, self._study.fits, self._run["threads"])
        finally:
            engine.close()

    def _pace(self, make: Callable[[int], tuple[Any, float]]) -> Pace:
        make(1)
        first, first_s = make(1)
        several, several_s = make(NETWORKS)
        more = _tried(several) - _tried(first)
        each_s = max(0.0, several_s - first_s) / max(more, 1)
        success = several.n_fits / max(_tried(several), 1)
        return Pace(max(0.0, first_s - each_s * _tried(first)), each_s, success)

    def _sample(self, task: Task, job: Job, **rules: Any) -> tuple[Any, float]:
        return self._timed(
            lambda output: biasgpu.sample(
                task,
                job.architecture,
                job.prior,
                seed=job.seed,
                curve_fits=0,
                measures=self._study.measures and not job.architecture.infinite,
                output=output,
                **rules,
                **self._run,
            )
        )

    def _train(self, task: Task, job: Job, fits: int) -> tuple[Any, float]:
        study = self._study
        engine = {"engine": self._train_engine} if self._train_engine else {}
        return self._timed(
            lambda output: biasgpu.train(
                task,
                job.architecture,
                job.prior,
                fits=fits,
                networks=4 * fits,  # where training seldom succeeds
                time_s=LONGEST_S,
                optimizer=study.optimizer,
                learning_rate=study.rate_from(job.prior),
                batch_size=study.batch_size,
                epochs=study.epochs,
                stop_early=study.stop_early,
                seed=job.seed,
                gradient_norms=study.gradient_norms,
                measures=study.measures,
                keep_weights=study.keep_weights,
                output=output,
                **{**self._run, **engine},
            )
        )

    def _timed(self, make: Callable[[Path], Any]) -> tuple[Any, float]:
        self._n_files += 1
        started_s = time.perf_counter()
        found = make(self._output())
        return found, time.perf_counter() - started_s

    def _output(self) -> Path:
        return Path(self._folder.name) / f"{self._n_files}.h5"

    def _task(self, data_seed: int, n_train: int) -> Task:
        if (data_seed, n_train) not in self._tasks:
            started_s = time.perf_counter()
            self._tasks[data_seed, n_train] = make_task(self._study, data_seed, n_train)
            self.task_s = time.perf_counter() - started_s
        return self._tasks[data_seed, n_train]


def extrapolated(known: list[tuple[int, float]], n_train: int) -> float:
    """-log2 P at a larger N, in a line through the last points that are known.

    Args:
        known: N and -log2 P, N increasing.
        n_train: where.

    Returns:
        n_train itself, of a classifier that guesses independently, where nothing is known.
    """
    if not known:
        return float(n_train)
    n, bits = (np.array(values, np.float64) for values in zip(*known[-LINE:], strict=True))
    slope = float(np.polyfit(n, bits, 1)[0]) if len(n) > 1 else float(bits[0] / n[0])
    return float(bits[-1]) + max(slope, 0.0) * (n_train - float(n[-1]))


def _screen(
    engine: Engine, experiment: Any, seconds: float, fits: int, threads: int | None
) -> Screening:
    n_train, draws_each = experiment.task.n_train, experiment.n_counted
    enough = min(LEAST_FITS, fits)
    counts = np.zeros(n_train + 1, dtype=np.int64)
    pace = Sizes(engine.granularity, minimum=engine.minimum, maximum=engine.maximum)
    next_draw, n_measured, measured_s, spent_s = 0, 0, 0.0, 0.0
    while spent_s < seconds or (counts[n_train] < enough and spent_s < PATIENCE * seconds):
        n = pace.next()
        started_s = time.perf_counter()
        found, _ = screened(engine, next_draw, n, threads=threads)
        counts += found.counts()
        took_s = time.perf_counter() - started_s
        if not next_draw:
            took_s = min(took_s, seconds / 4)  # the rest was compiling
        pace.measured(n, took_s)
        next_draw, spent_s = next_draw + n, spent_s + took_s
        if spent_s > GROWING * seconds or not n_measured:  # batches grow: the first tell little
            n_measured, measured_s = n_measured + n, measured_s + took_s
    at_least = np.cumsum(counts[::-1])[::-1]
    known = [
        (n, float(-np.log2(at_least[n] / (next_draw * draws_each))))
        for n in experiment.points
        if at_least[n] >= LEAST_FITS
    ]
    rate = n_measured * draws_each / max(measured_s, 1e-9)
    if known and known[-1][0] == n_train:
        return Screening(rate, known[-1][1], True)
    return Screening(rate, extrapolated(known, n_train), False)


def _tried(found: Any) -> int:
    return getattr(found, "n_networks", found.n_fits)
