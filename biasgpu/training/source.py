"""Training, batch by batch: train the next draws, decide them by the law, keep those that fit."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from biasgpu.curve import count_prefixes
from biasgpu.drawn import drawn_parameters
from biasgpu.measured import prepare_measures
from biasgpu.networks import GivenNetworks
from biasgpu.sampling.batch import Batch
from biasgpu.sampling.stopping import cut
from biasgpu.training.experiment import Training
from biasgpu.training.judge import Judged, judge, rows_of
from biasgpu.training.pace import TrainingPace
from biasgpu.training.trainers.base import Trainer, Trajectories

PATIENCE_S = 1.0  # by which a batch may run over a time that was set


class TrainingSource:
    """Goes through the draws of a training stream in order; a source for a session.

    Args:
        training: what is trained.
        trainer: made for its ensemble, training set and recipe.
        next_draw: the first draw to train.
        end_draw: stop before this one.
        weights: whether rows are to have their weights.
        threads: CPU threads for the law; None takes all.
        batch_networks: networks a step; None adapts them to the speed. Changes no result.
    """

    def __init__(
        self,
        training: Training,
        trainer: Trainer,
        *,
        next_draw: int,
        end_draw: int,
        weights: bool,
        threads: int | None = None,
        batch_networks: int | None = None,
    ) -> None:
        self._training = training
        self._trainer = trainer
        self._next_draw = next_draw
        self._end_draw = end_draw
        self._weights = weights
        self._threads = threads
        row_bytes = 4 * training.n_parameters * len(training.recipe.kept)
        self._pace = TrainingPace(trainer.granularity, row_bytes, batch_networks)

    def prepare(self) -> None:
        """Have the law compiled for given weights, and the measures, if any are taken."""
        training = self._training
        flat = drawn_parameters(training.ensemble, np.zeros(1, np.uint64))
        judge(training, flat, threads=self._threads)
        if training.measures:
            prepare_measures(GivenNetworks(training.task, training.ensemble.steps, flat))

    @property
    def done(self) -> bool:
        """Whether all draws up to the end are trained."""
        return self._next_draw >= self._end_draw

    def outlasts(self, left_s: float) -> bool:
        """Whether the next networks are expected to take clearly longer than is left."""
        return self._pace.expected_s(self._size(None, left_s)) > left_s + PATIENCE_S

    def step(self, *, fits_left: int | None = None, left_s: float | None = None) -> Batch:
        """Train the next draws.

        Args:
            fits_left: stop right after the network that brings so many fits.
            left_s: seconds until training ends by time.

        Raises:
            NonFiniteError: a network that fits has a test logit that is infinite or not a number.
        """
        start = time.perf_counter()
        training, first = self._training, self._next_draw
        n_train = training.task.n_train
        draws = np.uint64(first) + np.arange(self._size(fits_left, left_s), dtype=np.uint64)
        trained = self._trainer.train(draws)
        judged = judge(training, trained.weights[:, -1], threads=self._threads)
        n_kept = cut(judged.prefix, n_train, fits_left)
        places = np.flatnonzero(judged.prefix[:n_kept] == n_train)
        rows = rows_of(
            training,
            draws[places],
            _take(trained, places),
            Judged(judged.prefix[places], judged.diverged[places], judged.margin[places]),
            weights=self._weights,
            threads=self._threads,
        )
        elapsed_s = time.perf_counter() - start
        batch = Batch(
            first_draw=first,
            end_draw=first + n_kept,
            n_arrangements=1,
            prefix_counts=count_prefixes(judged.prefix[:n_kept], n_train),
            fits=rows,
            n_borderline=0,
            elapsed_s=elapsed_s,
            n_diverged=int(judged.diverged[:n_kept].sum()),
        )
        self._pace.measured(len(draws), elapsed_s, int((judged.prefix == n_train).sum()))
        self._next_draw = first + n_kept
        return batch

    def _size(self, fits_left: int | None, left_s: float | None) -> int:
        wanted = self._pace.next(fits_left=fits_left, left_s=left_s)
        return max(0, min(wanted, self._end_draw - self._next_draw))


def _take(trained: Trajectories, places: np.ndarray) -> Trajectories:
    norms = trained.gradient_norms
    return replace(
        trained,
        weights=trained.weights[places],
        epochs=trained.epochs[places],
        gradient_norms=None if norms is None else norms[places],
    )
