"""Sampling, step by step: decide the next draws, keep what is to be kept, measure it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from biasgpu import answers, engines
from biasgpu import experiment as experiments
from biasgpu.architectures import Architecture
from biasgpu.curve import kept_rows, least_kept
from biasgpu.drawn import DrawnNetworks
from biasgpu.engines.base import Engine
from biasgpu.errors import NonFiniteError, UsageError
from biasgpu.evaluate import evaluate
from biasgpu.experiment import Experiment
from biasgpu.measured import measured, prepare_measures
from biasgpu.priors import Prior
from biasgpu.sampling.batch import Batch
from biasgpu.sampling.pace import Pace
from biasgpu.sampling.screening import check, screened
from biasgpu.sampling.stopping import cut_at
from biasgpu.task import Task

PATIENCE_S = 1.0  # by which a batch may run over a time that was set


class Sampler:
    """Goes through the draws of an experiment in order. A step changes nothing unless it succeeds.

    Args:
        experiment: what is sampled.
        engine: made for its ensemble and training set.
        next_draw: the first draw to decide.
        end_draw: stop before this one.
        prefix_counts: int64 `(n_train + 1,)`: the prefixes of the stream's draws before
            `next_draw`, which say how many of the curve's rows are kept already.
        threads: CPU threads for the law; None takes all.
        batch_draws: draws a step; None adapts them to the speed. Changes no result.
    """

    def __init__(
        self,
        experiment: Experiment,
        engine: Engine,
        *,
        next_draw: int,
        end_draw: int,
        prefix_counts: npt.NDArray[np.int64],
        threads: int | None = None,
        batch_draws: int | None = None,
    ) -> None:
        self._experiment = experiment
        self._engine = engine
        self._state = (next_draw, prefix_counts)
        self._end_draw = end_draw
        self._threads = threads
        task = experiment.task
        work = experiment.ensemble.products(task.n_train + task.n_test)
        self._pace = Pace(
            engine.granularity,
            batch_draws,
            minimum=engine.minimum,
            maximum=engine.maximum,
            work=work,
            rows=answers.TOGETHER if answers.quick(experiment.ensemble) else 1,
        )

    def prepare(self) -> None:
        """Have the measures compiled, if any are taken."""
        experiment = self._experiment
        if experiment.measures:
            first = np.zeros(1, np.uint64)
            prepare_measures(DrawnNetworks(experiment.task, experiment.ensemble, first))

    @property
    def next_draw(self) -> int:
        """The first draw that is not decided."""
        return self._state[0]

    @property
    def done(self) -> bool:
        """Whether all draws up to the end are decided."""
        return self.next_draw >= self._end_draw

    def outlasts(self, left_s: float) -> bool:
        """Whether the next draws are expected to take clearly longer than is left."""
        return self._pace.expected_s(left_s) > left_s + PATIENCE_S

    def step(self, *, fits_left: int | None = None, left_s: float | None = None) -> Batch:
        """Decide the next draws.

        Args:
            fits_left: stop right after the draw that brings so many fits.
            left_s: seconds until the run ends by time.

        Raises:
            NonFiniteError: the next draw has a logit that is infinite or not a number.
            EngineError: the engine disagrees with the law.
        """
        n_draws = min(self._pace.next(left_s), self._end_draw - self.next_draw)
        while True:
            try:
                return self._step(n_draws, fits_left)
            except NonFiniteError:
                # All draws before the bad one come first, however large the batch was to be.
                if n_draws == 1:
                    raise
                n_draws //= 2

    def _step(self, n_draws: int, fits_left: int | None) -> Batch:
        start = time.perf_counter()
        experiment, (first, before) = self._experiment, self._state
        task = experiment.task
        found, borderline = screened(self._engine, first, n_draws, threads=self._threads)
        keeping = experiment.points, before, experiment.curve_fits
        survivors, prefixes = found.at_least(least_kept(*keeping))
        n_kept = cut_at(survivors[prefixes == task.n_train], n_draws, fits_left)
        prefixes = prefixes[survivors < n_kept]
        kept = kept_rows(prefixes, *keeping)
        places, prefixes, counts = survivors[kept], prefixes[kept], found.counts(n_kept)
        screened_s = time.perf_counter()
        rows = evaluate(
            experiment.ensemble,
            task,
            np.uint64(first) + places.astype(np.uint64),
            keep_predictions=experiment.keep_predictions,
            threads=self._threads,
        )
        check(rows, prefixes, self._engine)
        if experiment.measures:
            drawn = DrawnNetworks(task, experiment.ensemble, rows.index, rows)
            rows = measured(rows, drawn, threads=self._threads)
        elapsed_s = time.perf_counter() - start
        batch = Batch(
            first_draw=first,
            end_draw=first + n_kept,
            n_arrangements=experiment.ensemble.n_arrangements,
            prefix_counts=counts,
            fits=rows,
            n_borderline=int((borderline < n_kept).sum()),
            elapsed_s=elapsed_s,
        )
        self._pace.measured(n_draws, elapsed_s, screening_s=screened_s - start, n_rows=len(places))
        self._state = (first + n_kept, before + counts)
        return batch


def stream(
    task: Task,
    architecture: Architecture,
    prior: str | Prior = "kaiming-normal",
    *,
    method: str = "auto",
    seed: int = 0,
    engine: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    first_draw: int = 0,
    end_draw: int | None = None,
    curve_fits: int = 100,
    state: npt.NDArray[np.int64] | None = None,
    keep_predictions: bool = False,
    batch_draws: int | None = None,
) -> Iterator[Batch]:
    """Batches of decided draws, one after the other, for stopping rules of your own.

    Args:
        task: what the networks must fit.
        architecture: their layers.
        prior: the distribution of their weights, by name or as a `Prior`.
        method: "direct", "deferred" or "auto", as for `sample`.
        seed: 64-bit seed of the stream.
        engine: "auto", "cpu", "torch" or "reference"; all find the same fits.
        device: "cpu", "cuda", "cuda:1"; None lets the engine choose.
        threads: CPU threads; None takes all.
        first_draw: the draw to begin with.
        end_draw: stop before this one; None goes on as long as there are draws.
        curve_fits: fits kept at each N of the curve below n_train.
        state: int64 `(n_train + 1,)`: to go on with a stream, the sum of the `prefix_counts` of its
            batches so far. Without it a stream begins.
        keep_predictions: keep the predicted class of every test sample with every row.
        batch_draws: draws a batch; None adapts them to the speed. Changes no result.

    Yields:
        contiguous ranges of draws, in order.

    Raises:
        UsageError: arguments that do not fit together. Raised at once, as all errors of arguments.
        ImpossibleTaskError: no such network can fit the task.
        EngineError: the engine disagrees with the law.

    Example:
        Stop at the first network with a test accuracy above 95 %:

            for batch in biasgpu.stream(task, biasgpu.mlp(width=64)):
                if (batch.fits.test_accuracy > 0.95).any():
                    break
    """
    experiment = experiments.make(
        task,
        architecture,
        prior,
        seed=seed,
        curve_fits=curve_fits,
        keep_predictions=keep_predictions,
        method=method,
    )
    end = experiment.last_draw if end_draw is None else end_draw
    if not 0 <= first_draw <= end <= experiment.last_draw:
        raise UsageError(
            f"the range of draws is {first_draw} to {end}.",
            why=f"draws have the numbers 0 to {experiment.last_draw - 1}.",
            fix="give first_draw and end_draw within them, in this order.",
        )
    if batch_draws is not None and batch_draws < 1:
        raise UsageError(
            f"batch_draws is {batch_draws}; it must be 1 or more.",
            why="so many draws are decided at a time.",
            fix="leave it out: it changes no result.",
        )
    counts = np.zeros(task.n_train + 1, np.int64) if state is None else np.asarray(state, np.int64)
    if counts.shape != (task.n_train + 1,):
        raise UsageError(
            f"state has shape {counts.shape}; it must be one count for each prefix from 0 to "
            f"{task.n_train}.",
            why="it says how many of the curve's rows are kept already.",
            fix="use the sum of the prefix_counts of the batches so far.",
        )
    screener = engines.make(
        engine, experiment.ensemble, task.x_train, task.y_train, device=device, threads=threads
    )
    sampler = Sampler(
        experiment,
        screener,
        next_draw=first_draw,
        end_draw=end,
        prefix_counts=counts,
        threads=threads,
        batch_draws=batch_draws,
    )
    return _batches(sampler, screener)


def _batches(sampler: Sampler, engine: Engine) -> Iterator[Batch]:
    try:
        engine.begin()
        while not sampler.done:
            yield sampler.step()
    except BaseException:
        engine.abandon()
        raise
    finally:
        engine.close()
