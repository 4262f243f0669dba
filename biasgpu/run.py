"""A run: what was sampled, what was found, and what that says; from memory or from its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu import curve as curves
from biasgpu import estimates
from biasgpu.drawn import DrawnNetworks
from biasgpu.estimates import Estimate
from biasgpu.experiment import Experiment
from biasgpu.fits import Fits
from biasgpu.network import Network
from biasgpu.outcome import INTERRUPTED, Outcome
from biasgpu.priors import Prior

if TYPE_CHECKING:
    from biasgpu.recheck import Recheck


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Run(Outcome):
    """The result of sampling. `run[i]` is its i-th fit, `len(run)` how many there are.

    Attributes:
        experiment: task, architecture, prior, seed, and which rows were kept.
        n_draws: draws decided; each is `ensemble.n_arrangements` candidates.
        fits: the rows kept, by index: every fit, and the first few at each smaller N.
        stop_reason: "fits", "candidates", "time"; "interrupted" or "failed" where it was cut short,
            "" where it goes on or was killed.

    The others are those of `Outcome`.
    """

    experiment: Experiment
    COUNTERS: ClassVar[tuple[str, ...]] = ("n_borderline",)

    @property
    def n_borderline(self) -> int:
        """Draws that an engine left to the law."""
        return self.counters.get("n_borderline", 0)

    @property
    def prior(self) -> Prior:
        """The distribution of the weights."""
        return self.experiment.prior

    @property
    def n_candidates(self) -> int:
        """Candidates tested: all arrangements of all draws up to the last one decided."""
        return self.ensemble.n_arrangements * self.n_draws

    @property
    def candidates_per_s(self) -> float | None:
        """Over all of `elapsed_s`; None if that is 0."""
        return self.n_candidates / self.elapsed_s if self.elapsed_s > 0 else None

    def n_fits_at(self, n_train: int) -> int:
        """How many candidates fit the first `n_train` training samples.

        Raises:
            UsageError: not an N of the curve.
        """
        return int(self.prefix_counts[self._point(n_train) :].sum())

    def estimate(self, n_train: int | None = None, confidence: float | None = None) -> Estimate:
        """The fit probability at N, with its interval.

        Args:
            n_train: an N of the curve; None for the whole training set.
            confidence: nominal coverage of the interval; None takes the run's.

        Raises:
            UsageError: not an N of the curve, or a confidence outside (0, 1).
        """
        return estimates.estimate(
            self.n_draws,
            self.n_fits_at(self.task.n_train if n_train is None else n_train),
            stopped_by=self.stopped_by,
            n_arrangements=self.ensemble.n_arrangements,
            confidence=self.confidence if confidence is None else confidence,
        )

    @property
    def fit_probability(self) -> float | None:
        """P(a candidate is a fit); None without candidates."""
        return self.estimate().probability

    @property
    def fit_probability_interval(self) -> tuple[float, float]:
        """Its exact confidence interval."""
        found = self.estimate()
        return found.low, found.high

    @property
    def minus_log2_fit_probability(self) -> float | None:
        """-log2 of the fit probability; None without a fit."""
        return self.estimate().minus_log2

    @property
    def test_accuracy(self) -> npt.NDArray[np.float64]:
        """float64 `(n_fits,)`: the test accuracy, in [0, 1], of each fit of the whole task."""
        return self.fits_at(self.task.n_train).test_accuracy

    def fits_at(self, n_train: int) -> Fits:
        """Fits of the first `n_train` training samples, by index.

        All of them for the whole training set; the first `curve_fits` at a smaller N. A run that
        stopped at a fit leaves that one out there: its last draw fits the whole set by the
        stopping rule, and would not be a fair sample of what fits less.

        Raises:
            UsageError: not an N of the curve.
        """
        rows = np.flatnonzero(self.fits.prefix >= self._point(n_train))
        if n_train != self.task.n_train:
            rows = rows[: self.experiment.curve_fits]
            if self.stopped_by == "fits" and len(rows):
                last_draw = self.experiment.first_draw + self.n_draws - 1
                if int(self.fits.index[rows[-1]]) // self.ensemble.n_arrangements == last_draw:
                    rows = rows[:-1]
        return self.fits.take(rows)

    @property
    def curve(self) -> list[dict[str, Any]]:
        """For every N of the curve, from this one stream of candidates.

        Returns:
            JSON-able dictionaries: `n_train`, `n_fits`, `fit_probability`,
            `fit_probability_interval`, `minus_log2_fit_probability`, `interval` (of the latter;
            its upper end is None where infinite), `test_accuracy` (`n`, `mean`, `std`, `min`,
            `max` over `fits_at(n_train)`; None where there are too few).
        """
        from biasgpu.summarize import curve_point

        return [curve_point(self, n) for n in self.experiment.points]

    def summary(self) -> dict[str, Any]:
        """The whole result but for the rows, JSON-able; what is unknown or infinite is None."""
        from biasgpu.summarize import summarize

        return summarize(self)

    def at(self, n_train: int) -> DrawnNetworks:
        """The fits of the first `n_train` training samples, as a set of networks for measures.

        Returns:
            `fits_at(n_train)`, on a task of the first `n_train` training samples.

        Raises:
            UsageError: not an N of the curve.
        """
        fits = self.fits_at(n_train)
        if fits.train_logits is not None:
            fits = replace(fits, train_logits=fits.train_logits[:, :n_train])
        return DrawnNetworks(self.task.first(n_train), self.ensemble, fits.index, fits)

    def parameters(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """The parameters of the fits `start .. stop - 1`; see `biasgpu.networks.Networks`."""
        return self.at(self.task.n_train).parameters(start, stop)

    def network(self, index: int) -> Network:
        """Any candidate of the run's ensemble by its index; it need not be a fit.

        Raises:
            UsageError: the index is no name of this ensemble.
        """
        return Network(self.ensemble, int(index))

    def __getitem__(self, place: int) -> Network:
        """The fit in that place, by index; negative places count from the end."""
        return self.network(int(self.fits_at(self.task.n_train).index[place]))

    def __iter__(self) -> Iterator[Network]:
        for index in self.fits_at(self.task.n_train).index.tolist():
            yield self.network(index)

    def verify(
        self, *, threads: int | None = None, on_progress: Callable[[Recheck], None] | None = None
    ) -> Recheck:
        """Rebuild every row from its name and decide it again. See `biasgpu.recheck`."""
        from biasgpu.recheck import recheck

        return recheck(self, threads=threads, on_progress=on_progress)

    def __repr__(self) -> str:
        bits = self.minus_log2_fit_probability
        probability = "" if bits is None else f", fit_probability=2**-{bits:.2f}"
        return (
            f"Run({self.architecture}, {self.prior}, {self.task!r}: n_fits={self.n_fits}, "
            f"n_candidates={self.n_candidates}{probability})"
        )

    def _point(self, n_train: int) -> int:
        return curves.check_point(n_train, self.experiment.points)


__all__ = ["INTERRUPTED", "Run"]
