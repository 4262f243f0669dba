"""Fit probabilities: closed forms, unbiasedness and coverage, all by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.stats import binom, nbinom, t

from biasgpu.errors import UsageError
from biasgpu.estimates import (
    METHODS,
    ONE_FIT,
    Estimate,
    clopper_pearson,
    estimate,
    mean_interval,
    minus_log2,
    summary,
)

CONFIDENCE = 0.9


# --- closed forms ------------------------------------------------------------------------------


def test_no_fit() -> None:
    found = estimate(1000, 0, stopped_by="candidates", n_arrangements=2)
    assert found.probability == 0.0
    assert found.minus_log2 is None
    assert found.low == 0.0
    assert found.high == pytest.approx((1 - 0.025 ** (1 / 1000)) / 2, rel=1e-12)
    assert found.minus_log2_low == pytest.approx(-math.log2(found.high))
    assert found.minus_log2_high is None
    assert (found.n_candidates, found.n_fits, found.method) == (2000, 0, "fixed")


def test_no_draw() -> None:
    found = estimate(0, 0, stopped_by="user", n_arrangements=6)
    assert found.probability is None
    assert found.minus_log2 is None
    assert (found.low, found.high) == (0.0, 1 / 6)
    assert found.method == "fixed (stopped by user)"


def test_all_draws_fit() -> None:
    found = estimate(8, 8, stopped_by="time", n_arrangements=2)
    assert found.probability == 0.5
    assert found.minus_log2 == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 8) / 2, rel=1e-12)
    assert found.high == 0.5
    assert found.minus_log2_low == 1.0
    assert found.method == "fixed (stopped by time)"
    inverse = estimate(8, 8, stopped_by="fits", n_arrangements=2)
    assert (inverse.probability, inverse.high) == (0.5, 0.5)


def test_one_draw() -> None:
    found = estimate(1, 1, stopped_by="fits")
    assert (found.probability, found.minus_log2, found.method) == (1.0, 0.0, ONE_FIT)
    assert math.copysign(1.0, found.minus_log2 or 0.0) == 1.0
    assert found.low == pytest.approx(0.025, rel=1e-12)
    assert found.high == 1.0


def test_one_fit_is_called_biased() -> None:
    found = estimate(100, 1, stopped_by="fits")
    assert (found.probability, found.method) == (0.01, ONE_FIT)
    # P(T <= n) = 1 - (1 - p)^n and P(T >= n) = (1 - p)^(n - 1), each at 0.025.
    assert found.low == pytest.approx(1 - 0.975 ** (1 / 100), rel=1e-12)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 99), rel=1e-12)


def test_inverse_is_haldanes() -> None:
    found = estimate(1000, 11, stopped_by="fits", n_arrangements=2)
    assert found.probability is not None
    assert found.probability == 10 / 999 / 2
    assert found.method == "inverse"
    assert found.low < found.probability < found.high
    assert found.n_candidates == 2000


@pytest.mark.parametrize(("k", "n"), [(1, 10), (5, 10), (9, 10), (3, 10**6), (10**4, 10**12)])
def test_clopper_pearson_solves_its_equations(k: int, n: int) -> None:
    low, high = clopper_pearson(k, n, CONFIDENCE)
    assert binom.sf(k - 1, n, low) == pytest.approx(0.05, rel=1e-6)
    assert binom.cdf(k, n, high) == pytest.approx(0.05, rel=1e-6)
    assert low < k / n < high


def test_minus_log2() -> None:
    assert minus_log2(0.25) == 2.0
    assert minus_log2(0.0) is None
    assert minus_log2(None) is None


def test_estimates_go_to_json() -> None:
    found = estimate(5, 2, stopped_by="candidates")
    assert Estimate(**found.to_dict()) == found


@pytest.mark.parametrize(
    ("n", "k", "rule", "confidence"),
    [(3, 4, "candidates", 0.95), (3, -1, "time", 0.95), (3, 0, "fits", 0.95),
     (0, 0, "fits", 0.95), (3, 1, "hope", 0.95), (3, 1, "time", 1.0), (3, 1, "fits", 0.0)],
)  # fmt: skip
def test_refused(n: int, k: int, rule: str, confidence: float) -> None:
    with pytest.raises(UsageError):
        estimate(n, k, stopped_by=rule, confidence=confidence)  # pyright: ignore[reportArgumentType]


def test_methods_name_every_stopping_rule() -> None:
    assert set(METHODS) == {"fits", "candidates", "time", "user"}


# --- the sampling plans, enumerated ------------------------------------------------------------

# Probability, draws, fits at the largest N, fits at the smaller N, whether stopped by fits.
Ending = tuple[float, int, int, int, bool]
Value = Callable[[int, int, bool], float]


def _endings(p: float, p_small: float, r: int, cap: int | None = None) -> Iterator[Ending]:
    """Every way a run can end: stopped by r fits (probability p each), or at `cap` draws.

    A draw that is no fit at the largest N is one at a smaller N with the chance that makes
    `p_small` in all. What is left out has probability below 1e-12 or so.
    """
    share = (p_small - p) / (1 - p)
    last = int(nbinom.isf(1e-13, r, p)) + r if cap is None else cap
    for n in range(r, last + 1):
        others = np.arange(n - r + 1)
        stop = nbinom.pmf(n - r, r, p)
        for extra, chance in zip(others, stop * binom.pmf(others, n - r, share), strict=True):
            if chance > 1e-17:
                yield float(chance), n, r, r + int(extra), True
    if cap is not None:
        for k in range(r):
            others = np.arange(cap - k + 1)
            stop = binom.pmf(k, cap, p)
            for extra, chance in zip(others, stop * binom.pmf(others, cap - k, share), strict=True):
                yield float(chance), cap, k, k + int(extra), False


def _mean(endings: Iterator[Ending], value: Value, small: bool) -> float:
    return math.fsum(
        chance * value(n, k_small if small else k, inverse)
        for chance, n, k, k_small, inverse in endings
    )


def _probability(n: int, k: int, inverse: bool) -> float:
    found = estimate(n, k, stopped_by="fits" if inverse else "candidates").probability
    assert found is not None
    return found


PLANS = [(0.2, 0.45, 2, None), (0.3, 0.3, 5, None), (0.5, 0.9, 3, None), (0.2, 0.5, 2, 9),
         (0.1, 0.3, 3, 25)]  # fmt: skip


@pytest.mark.parametrize(("p", "p_small", "r", "cap"), PLANS)
def test_unbiased_at_every_n(p: float, p_small: float, r: int, cap: int | None) -> None:
    assert _mean(_endings(p, p_small, r, cap), lambda *_: 1.0, False) == pytest.approx(1, abs=1e-11)
    largest = _mean(_endings(p, p_small, r, cap), _probability, False)
    smaller = _mean(_endings(p, p_small, r, cap), _probability, True)
    assert largest == pytest.approx(p, abs=1e-11)
    assert smaller == pytest.approx(p_small, abs=1e-11)


def test_naive_ratio_would_be_biased() -> None:
    """The enumeration tells estimators apart."""
    naive = _mean(_endings(0.2, 0.45, 2), lambda n, k, _: k / n, False)
    assert naive > 0.25


@pytest.mark.parametrize(
    ("p", "p_small", "r", "cap"), [*PLANS, (0.2, 0.4, 1, None), (0.2, 0.4, 1, 6)]
)
def test_coverage_is_at_least_nominal(p: float, p_small: float, r: int, cap: int | None) -> None:
    for small, truth in ((False, p), (True, p_small)):
        seen: dict[tuple[int, int, bool], bool] = {}

        def covers(n: int, k: int, inverse: bool, seen: dict = seen, truth: float = truth) -> float:
            key = (n, k, inverse)
            if key not in seen:
                rule = "fits" if inverse else "candidates"
                found = estimate(n, k, stopped_by=rule, confidence=CONFIDENCE)
                seen[key] = found.low <= truth <= found.high
            return float(seen[key])

        coverage = _mean(_endings(p, p_small, r, cap), covers, small)
        assert CONFIDENCE - 1e-11 <= coverage < 1.0


@pytest.mark.parametrize("p", [0.003, 0.02, 0.17, 0.6, 0.95])
@pytest.mark.parametrize("r", [1, 2, 10])
def test_coverage_at_the_largest_n(p: float, r: int) -> None:
    last = int(nbinom.isf(1e-12, r, p)) + r
    n = np.arange(r, last + 1)
    covered = [
        found.low <= p <= found.high
        for found in (estimate(int(i), r, stopped_by="fits", confidence=CONFIDENCE) for i in n)
    ]
    coverage = float(nbinom.pmf(n - r, r, p)[covered].sum())
    assert coverage >= CONFIDENCE - 1e-11


@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 0.77, 1.0])
def test_coverage_of_a_fixed_number(n: int, p: float) -> None:
    covered = 0.0
    for k in range(n + 1):
        found = estimate(n, k, stopped_by="candidates", confidence=CONFIDENCE)
        covered += float(binom.pmf(k, n, p)) * (found.low <= p <= found.high)
    assert covered >= CONFIDENCE - 1e-12


# --- test accuracies ---------------------------------------------------------------------------


def test_summary_agrees_with_scipy() -> None:
    values = np.array([0.5, 0.75, 0.9, 0.6, 0.55])
    found = summary(values, 0.9)
    assert (found.n, found.min, found.max) == (5, 0.5, 0.9)
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std(ddof=1))
    low, high = t.interval(0.9, 4, values.mean(), values.std(ddof=1) / math.sqrt(5))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert found.to_dict()["mean"] == found.mean


def test_summary_of_few() -> None:
    assert set(summary([]).to_dict().values()) == {0, None}
    one = summary([0.25])
    assert (one.n, one.mean, one.min, one.max) == (1, 0.25, 0.25, 0.25)
    assert one.std is one.low is one.high is None
    assert mean_interval([0.25]) is None
    same = summary([0.5, 0.5, 0.5])
    assert (same.mean, same.std, same.low, same.high) == (0.5, 0.0, 0.5, 0.5)
    with pytest.raises(UsageError, match="confidence"):
        summary([], 1.5)
