"""Trained networks: what was trained, what came of it, and what that says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu import estimates
from biasgpu.drawn import drawn_parameters
from biasgpu.errors import UsageError
from biasgpu.estimates import Estimate
from biasgpu.networks import GivenNetworks
from biasgpu.outcome import Outcome
from biasgpu.priors import Prior
from biasgpu.training.experiment import Training
from biasgpu.training.network import TrainedNetwork
from biasgpu.training.recipe import Recipe

if TYPE_CHECKING:
    from biasgpu.recheck import Recheck

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Trained(Outcome):
    """The result of training. `trained[i]` is its i-th success, `len(trained)` how many there are.

    Attributes:
        experiment: task, architecture, initialisation, recipe and seed, and what was kept.
        n_draws: networks trained.
        prefix_counts: int64 `(n_train + 1,)`: how many of them have each exact prefix.
        fits: the rows kept, by index: every network without training error after its last epoch.
        stop_reason: "fits", "networks", "time"; "interrupted" or "failed" where it was cut short,
            "" where it goes on or was killed.

    The others are those of `Outcome`.
    """

    experiment: Training
    COUNTERS: ClassVar[tuple[str, ...]] = ("n_diverged",)

    @property
    def init(self) -> Prior:
        """The distribution of the weights before training."""
        return self.experiment.init

    @property
    def prior(self) -> Prior:
        """The same, by the name that it has among priors."""
        return self.experiment.init

    @property
    def recipe(self) -> Recipe:
        """How they were trained."""
        return self.experiment.recipe

    @property
    def n_networks(self) -> int:
        """Networks trained, with success or without."""
        return self.n_draws

    @property
    def n_diverged(self) -> int:
        """Networks that ended with a training logit that is infinite or not a number."""
        return self.counters.get("n_diverged", 0)

    @property
    def networks_per_s(self) -> float | None:
        """Over all of `elapsed_s`; None if that is 0."""
        return self.n_networks / self.elapsed_s if self.elapsed_s > 0 else None

    def estimate(self, n_train: int | None = None, confidence: float | None = None) -> Estimate:
        """How often training ends without training error, with its interval.

        Args:
            n_train: the task's, or None; training says nothing of smaller N.
            confidence: nominal coverage of the interval; None takes the run's.

        Raises:
            UsageError: another N, or a confidence outside (0, 1).
        """
        if n_train not in (None, self.task.n_train):
            raise UsageError(
                f"n_train is {n_train}; these networks were trained on {self.task.n_train}.",
                why="a network trained on more samples says nothing of training on fewer.",
                fix=f"train on a task of that size: biasgpu.task(..., n_train={n_train}) "
                f"(--n-train {n_train}).",
            )
        return estimates.estimate(
            self.n_networks,
            self.n_fits,
            stopped_by=self.stopped_by,
            confidence=self.confidence if confidence is None else confidence,
        )

    @property
    def success_rate(self) -> float | None:
        """P(training ends without training error); None where nothing was trained."""
        return self.estimate().probability

    @property
    def success_rate_interval(self) -> tuple[float, float]:
        """Its exact confidence interval."""
        found = self.estimate()
        return found.low, found.high

    @property
    def test_accuracy(self) -> npt.NDArray[np.float64]:
        """float64 `(n_fits,)`, in [0, 1]."""
        return self.fits.test_accuracy

    @property
    def gradient_norms(self) -> npt.NDArray[np.float64] | None:
        """float64 `(n_fits, epochs + 1)`; NaN after training stopped; None if not recorded."""
        return self.fits.gradient_norm

    def parameters(self, start: int, stop: int) -> Weights:
        """The parameters of the networks `start .. stop - 1`; see `biasgpu.networks.Networks`.

        Raises:
            UsageError: the weights were not kept.
        """
        return np.ascontiguousarray(self._weights()[start:stop, -1])

    def at_epoch(self, epoch: int) -> GivenNetworks:
        """The same networks as they were after that epoch; 0 is the initialisation.

        Raises:
            UsageError: the weights of that epoch were not kept.
        """
        kept = self.recipe.kept
        if epoch in kept and (epoch or self.fits.weights is not None):
            flat = np.ascontiguousarray(self._weights()[:, kept.index(epoch)])
        elif epoch == 0:
            flat = drawn_parameters(self.ensemble, self.fits.index)
        else:
            raise UsageError(
                f"no weights were kept after epoch {epoch}.",
                why=f"they were kept after {', '.join(map(str, kept))}; those of epoch 0 are "
                "drawn again from their names.",
                fix=f"train again with keep_epochs=({epoch},) (--keep-epochs {epoch}).",
            )
        return GivenNetworks(self.task, self.steps, flat)

    def network(self, index: int) -> TrainedNetwork:
        """A kept network by the index of its initialisation.

        Raises:
            UsageError: it is none of those that were kept, or the weights were not kept.
        """
        place = int(np.searchsorted(self.fits.index, np.uint64(index)))
        if place == len(self.fits) or int(self.fits.index[place]) != index:
            raise UsageError(
                f"{index} is none of the {len(self.fits):,} networks that were kept.",
                why="kept are those that ended without training error; no name stands for the "
                "weights of a trained network.",
                fix="use one of trained.fits.index (biasgpu show lists some of them).",
            )
        return self[place]

    def __getitem__(self, place: int) -> TrainedNetwork:
        """The network in that place, by index; negative places count from the end."""
        flat = self._weights()[place, -1]
        return TrainedNetwork(self.ensemble, int(self.fits.index[place]), flat)

    def __iter__(self) -> Iterator[TrainedNetwork]:
        for place in range(len(self.fits)):
            yield self[place]

    def summary(self) -> dict[str, Any]:
        """The whole result but for the rows, JSON-able; what is unknown or infinite is None."""
        from biasgpu.training.summary import summarize

        return summarize(self)

    def verify(
        self, *, threads: int | None = None, on_progress: Callable[[Recheck], None] | None = None
    ) -> Recheck:
        """Decide the stored weights again. See `biasgpu.training.recheck`."""
        from biasgpu.training.recheck import recheck

        return recheck(self, threads=threads, on_progress=on_progress)

    def __repr__(self) -> str:
        rate = self.success_rate
        share = "" if rate is None else f", success_rate={rate:.3g}"
        return (
            f"Trained({self.architecture}, {self.init}, {self.recipe.optimizer}, {self.task!r}: "
            f"n_fits={self.n_fits}, n_networks={self.n_networks}{share})"
        )

    def _weights(self) -> Weights:
        """float32 `(n_fits, kept epochs, n_parameters)`."""
        if self.fits.weights is None:
            raise UsageError(
                "the weights of these networks were not kept.",
                why=f"{self.output or 'the run'} was made with keep_weights=False, and a name "
                "stands for the initialisation alone.",
                fix="train again with the same settings and keep_weights=True (without "
                "--no-weights): by the same engine and version the networks are the same.",
            )
        return self.fits.weights
