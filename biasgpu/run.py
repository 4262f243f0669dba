"""A run: what was sampled, what was found, and what that says; from memory or from its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biasgpu import curve as curves
from biasgpu import estimates
from biasgpu.architectures import Architecture
from biasgpu.ensemble import Ensemble
from biasgpu.estimates import Estimate, StoppedBy
from biasgpu.experiment import Experiment
from biasgpu.fits import Fits
from biasgpu.network import Network
from biasgpu.priors import Prior
from biasgpu.task import Task

if TYPE_CHECKING:
    from biasgpu.recheck import Recheck

INTERRUPTED = "interrupted"
_STOPPED_BY: dict[str, StoppedBy] = {"fits": "fits", "candidates": "candidates", "time": "time"}


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """The result of sampling. `run[i]` is its i-th fit, `len(run)` how many there are.

    Attributes:
        experiment: task, architecture, prior, seed, and which rows were kept.
        n_draws: draws decided; each is `ensemble.n_arrangements` candidates.
        prefix_counts: int64 `(n_train + 1,)`: how many draws have each exact prefix.
        fits: the rows kept, by index: every fit, and the first few at each smaller N.
        stop_reason: "fits", "candidates", "time"; "interrupted" or "failed" where it was cut short,
            "" where it goes on or was killed.
        complete: whether a stopping rule was reached.
        elapsed_s: seconds of work, over all sessions.
        n_borderline: draws that an engine left to the law.
        provenance: versions, machine, date, engine, stopping rules (JSON-able); sessions that
            resumed the run have the same in the list `resumed`.
        confidence: of the intervals.
        output: the results file, or None.
    """

    experiment: Experiment
    n_draws: int
    prefix_counts: npt.NDArray[np.int64]
    fits: Fits
    stop_reason: str
    complete: bool
    elapsed_s: float
    n_borderline: int
    provenance: Mapping[str, Any]
    confidence: float = 0.95
    output: Path | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The experiment, JSON-able."""
        return self.experiment.to_config()

    @property
    def task(self) -> Task:
        """The training samples and the test set."""
        return self.experiment.task

    @property
    def architecture(self) -> Architecture:
        """The layers."""
        return self.experiment.architecture

    @property
    def prior(self) -> Prior:
        """The distribution of the weights."""
        return self.experiment.prior

    @property
    def seed(self) -> int:
        """The 64-bit seed of the stream."""
        return self.experiment.seed

    @property
    def ensemble(self) -> Ensemble:
        """All networks that the run draws from."""
        return self.experiment.ensemble

    @property
    def engine(self) -> str:
        """What screened, in the last session."""
        return str(self.last_session.get("engine", ""))

    @property
    def device(self) -> str:
        """Where it screened."""
        return str(self.last_session.get("device", ""))

    @property
    def last_session(self) -> Mapping[str, Any]:
        """The provenance of the last session: its engine, device, versions, stopping rules."""
        return (self.provenance.get("resumed") or [self.provenance])[-1]

    @property
    def stopped_by(self) -> StoppedBy:
        """What ended it, as estimates take it: "fits", "candidates", "time", else "user"."""
        return _STOPPED_BY.get(self.stop_reason, "user")

    @property
    def n_candidates(self) -> int:
        """Candidates tested: all arrangements of all draws up to the last one decided."""
        return self.ensemble.n_arrangements * self.n_draws

    @property
    def n_fits(self) -> int:
        """Fits of the whole training set."""
        return int(self.prefix_counts[-1])

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

    def network(self, index: int) -> Network:
        """Any candidate of the run's ensemble by its index; it need not be a fit.

        Raises:
            UsageError: the index is no name of this ensemble.
        """
        return Network(self.ensemble, int(index))

    def __len__(self) -> int:
        return self.n_fits

    def __getitem__(self, place: int) -> Network:
        """The fit in that place, by index; negative places count from the end."""
        return self.network(int(self.fits_at(self.task.n_train).index[place]))

    def __iter__(self) -> Iterator[Network]:
        for index in self.fits_at(self.task.n_train).index.tolist():
            yield self.network(index)

    def __bool__(self) -> bool:
        return True  # a run without fits is a run all the same

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
