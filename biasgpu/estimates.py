"""Fit probabilities from counts, with exact intervals; means of test accuracies.

Draws are independent trials. Over the first N samples (every class among them) at most one of a
draw's A arrangements fits, so P(a candidate fits) = P(a draw fits) / A.

Two ways to stop. *Inverse*: at the draw that brings the r-th fit at the largest N. *Fixed*: after a
number of draws, or by time or the user, which look at the clock and not at the draws. Both may be
asked for at once, whichever comes first. With n draws and k fits at some N, the estimate is k / n
where draws ran out and (k - 1) / (n - 1) where fits were reached, at the largest N and at smaller
ones alike. It is unbiased for r >= 2: whether the first draw fits is an unbiased estimate of P;
given how the run ended, every order of its draws is equally likely, but for the last one of an
inverse run, which is a fit (at the largest N and so at every smaller one); so, given the end, the
first draw fits with probability k / n, or (k - 1) / (n - 1). (Haldane 1945 for k = r; Girshick,
Mosteller and Savage 1946.) For k = 1 that would say 0; the plain 1 / n is reported instead, and
called biased.

The intervals are exact in the sense of Clopper and Pearson (1934): coverage is at least nominal.
The k-th fit comes by draw n exactly if n draws hold k fits or more, and not before it exactly if
n - 1 hold fewer; so an inverse run has [CP lower of k in n, CP upper of k - 1 in n - 1]. At a
smaller N the same holds: which of its fits are also fits at the largest N is independent of when
they came, and it alone decides how many of them, k, there are at the end.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError, unknown

StoppedBy = Literal["fits", "candidates", "time", "user"]
METHODS: dict[str, str] = {
    "fits": "inverse",
    "candidates": "fixed",
    "time": "fixed (stopped by time)",
    "user": "fixed (stopped by user)",
}
ONE_FIT = "inverse (one fit: biased)"


@dataclass(frozen=True)
class Estimate:
    """A fit probability with its confidence interval.

    Attributes:
        probability: of a candidate; None without any candidate.
        low, high: the confidence interval; `high` is at most 1 / arrangements.
        minus_log2: -log2 of the probability; None where that is 0 or unknown.
        minus_log2_low, minus_log2_high: -log2 of `high` and of `low`; None where that is infinite.
        n_candidates: candidates tested.
        n_fits: fits among them.
        method: "inverse", "fixed", or how they differ from that.
        confidence: of the interval.
    """

    probability: float | None
    low: float
    high: float
    minus_log2: float | None
    minus_log2_low: float | None
    minus_log2_high: float | None
    n_candidates: int
    n_fits: int
    method: str
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the attributes."""
        return asdict(self)


def estimate(
    n_draws: int,
    n_fits: int,
    *,
    stopped_by: StoppedBy,
    n_arrangements: int = 1,
    confidence: float = 0.95,
) -> Estimate:
    """The fit probability of a candidate.

    Args:
        n_draws: draws decided; with `stopped_by="fits"`, up to and with the one of the last fit.
        n_fits: draws among them with a fit at the N in question.
        stopped_by: what ended the run; "fits" counts fits at the largest N.
        n_arrangements: candidates a draw makes.
        confidence: nominal coverage of the interval.

    Raises:
        UsageError: counts that no run can have, or a confidence outside (0, 1).
    """
    if stopped_by not in METHODS:
        raise unknown("stopping rule", str(stopped_by), METHODS)
    inverse = stopped_by == "fits"
    if not 0 <= n_fits <= n_draws or (inverse and n_fits == 0):
        raise UsageError(
            f"{n_fits} fits in {n_draws} draws, stopped by {stopped_by}.",
            why="a run has no more fits than draws, and one that stopped by its fits has a fit.",
            fix="give the totals of one run: all its draws, and the fits among them.",
        )
    method = METHODS[stopped_by]
    if not inverse:
        probability = n_fits / n_draws if n_draws else None
        low, high = clopper_pearson(n_fits, n_draws, confidence)
    else:
        if n_fits == 1:
            probability, method = 1 / n_draws, ONE_FIT
        else:
            probability = (n_fits - 1) / (n_draws - 1)
        low = clopper_pearson(n_fits, n_draws, confidence)[0]
        high = clopper_pearson(n_fits - 1, n_draws - 1, confidence)[1]
    if probability is not None:
        probability /= n_arrangements
    low, high = low / n_arrangements, high / n_arrangements
    return Estimate(
        probability=probability,
        low=low,
        high=high,
        minus_log2=minus_log2(probability),
        minus_log2_low=minus_log2(high),
        minus_log2_high=minus_log2(low),
        n_candidates=n_arrangements * n_draws,
        n_fits=n_fits,
        method=method,
        confidence=confidence,
    )


def minus_log2(probability: float | None) -> float | None:
    """-log2 of a probability; None where it is 0 or unknown."""
    return 0.0 - math.log2(probability) if probability else None


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval for a probability from k successes in n independent trials.

    Raises:
        UsageError: a confidence outside (0, 1).

    Source:
        Clopper and Pearson, Biometrika 26 (1934).
    """
    from scipy.special import betainccinv, betaincinv

    tail = (1.0 - _checked(confidence)) / 2.0
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betainccinv(k + 1, n - k, tail)) if k < n else 1.0
    return low, high


@dataclass(frozen=True)
class Summary:
    """Statistics of the test accuracies of some networks; None where there are too few.

    Attributes:
        n: how many values.
        mean, std, min, max: `std` has n - 1 in its denominator and needs two values.
        low, high: Student's t interval of the mean; needs two values.
    """

    n: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the attributes."""
        return asdict(self)


def summary(values: npt.ArrayLike, confidence: float = 0.95) -> Summary:
    """Mean, spread and extremes of `values` `(n,)`.

    Raises:
        UsageError: a confidence outside (0, 1).
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    _checked(confidence)
    if not len(array):
        return Summary(0, None, None, None, None, None, None)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    low, high = mean_interval(array, confidence) or (None, None)
    return Summary(
        n=len(array),
        mean=float(array.mean()),
        std=std,
        min=float(array.min()),
        max=float(array.max()),
        low=low,
        high=high,
    )


def mean_interval(values: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval for the mean of independent values, or None with fewer than two.

    Raises:
        UsageError: a confidence outside (0, 1).
    """
    from scipy.special import stdtrit

    array = np.asarray(values, dtype=np.float64).ravel()
    quantile = 0.5 + _checked(confidence) / 2.0
    if len(array) < 2:
        return None
    mean = float(array.mean())
    half = float(stdtrit(len(array) - 1, quantile) * array.std(ddof=1) / math.sqrt(len(array)))
    return mean - half, mean + half


def _checked(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise UsageError(
            f"confidence is {confidence}; it must lie between 0 and 1.",
            why="it is the probability with which the interval covers the truth.",
            fix="for example confidence=0.95.",
        )
    return confidence
