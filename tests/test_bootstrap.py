"""The intervals cover as often as they say, and the rules decide as they are written."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import bdtr, bdtrc

from biasgpu.study.bootstrap import Bootstrap, Contrast, Quantity
from biasgpu.study.claims import both, decide, rule

WIDTHS = np.array([-1.5, -0.5, 0.5, 1.5])
FALSE_ALARM = 1e-6  # of each test of coverage, at its bound


def coverage(n_seeds: int, between: float, within: float, runs: int) -> int:
    """In how many runs the 95 % interval of a slope holds the true one, which is 0.

    The slopes of data seeds are normal with standard deviation `between`, networks with `within`.
    """
    rng = np.random.default_rng(20)
    covered = 0
    contrast = Contrast(
        {i: float(x) for i, x in enumerate(np.tile(WIDTHS, n_seeds))},
        dict.fromkeys(range(n_seeds), float(WIDTHS @ WIDTHS)),
    )
    for run in range(runs):
        slopes = np.repeat(between * rng.standard_normal(n_seeds), 4) * np.tile(WIDTHS, n_seeds)
        values = 0.8 + slopes[:, None] + within * rng.standard_normal((len(slopes), 20))
        seeds = [place // 4 for place in range(len(slopes))]
        found = Bootstrap(list(values), seeds, seed=run, resamples=300).quantity(contrast)
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.0 <= found.high
    return covered


@pytest.mark.parametrize(
    ("n_seeds", "between", "within", "least", "most"),
    [
        (1, 0.0, 0.05, 0.90, 0.98),  # networks alone
        (2, 0.03, 0.02, 0.88, 1.0),
        (4, 0.03, 0.02, 0.88, 0.99),  # without the scaling: 0.77
        (4, 0.0, 0.05, 0.93, 1.0),  # networks are not counted twice by much
        (8, 0.03, 0.02, 0.90, 0.99),
    ],
)
def test_intervals_cover(
    n_seeds: int, between: float, within: float, least: float, most: float
) -> None:
    """`least` and `most` bound the true coverage; the count may leave them by chance alone."""
    runs = 300
    covered = coverage(n_seeds, between, within, runs)
    assert bdtr(covered, runs, least) > FALSE_ALARM
    assert most == 1.0 or bdtrc(covered - 1, runs, most) > FALSE_ALARM


def test_networks_alone_do_not_cover_other_data_seeds() -> None:
    # One data seed's interval is about its own networks: the claim that notes make.
    assert coverage(1, 0.03, 0.02, 100) < 60


def test_scaling_is_exact_where_seeds_differ_and_networks_do_not() -> None:
    means = np.array([0.70, 0.72, 0.79, 0.75])
    contrast = Contrast(dict.fromkeys(range(4), 1.0), dict.fromkeys(range(4), 1.0))
    made = Bootstrap([np.full(3, mean) for mean in means], range(4), resamples=4000)
    replicates = made.replicates(contrast)
    assert replicates is not None
    # t(3) / z(0.975) times the standard error; drawn four from four with replacement.
    due = 3.18244630528 / 1.95996398454 * means.std(ddof=1) / 2
    # The spread of 4,000 resamples has a relative standard error below 1.1 %; five of them.
    assert replicates.std() == pytest.approx(due, rel=0.055)
    assert made.value(contrast) == pytest.approx(means.mean(), rel=1e-12)


def test_seeds_are_shared_by_all_contrasts() -> None:
    # Where both ways move with the data seed alike, their difference does not move at all.
    rng = np.random.default_rng(0)
    levels = rng.normal(0.8, 0.05, 4)
    values = [np.full(5, level + up) for level in levels for up in (0.0, 0.1)]
    made = Bootstrap(values, [0, 0, 1, 1, 2, 2, 3, 3], resamples=200)
    weights = {i: -1.0 if i % 2 == 0 else 1.0 for i in range(8)}
    found = made.quantity(Contrast(weights, dict.fromkeys(range(4), 1.0)))
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1), abs=1e-12)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [np.random.default_rng(k).uniform(0.5, 1.0, 10) for k in range(4)]
    contrast = Contrast({0: -1.0, 1: 1.0, 2: -1.0, 3: 1.0}, {0: 1.0, 1: 1.0})

    def interval(seed: int) -> Quantity:
        return Bootstrap(values, [0, 0, 1, 1], seed=seed, resamples=200).quantity(contrast)

    assert interval(3) == interval(3)
    assert interval(3) != interval(4)


def test_degenerate_inputs() -> None:
    one = Bootstrap([np.array([0.9]), np.array([0.8])], [0, 0], resamples=100)
    single = one.quantity(Contrast({0: 1.0, 1: -1.0}, {0: 1.0}))
    assert single.value == pytest.approx(0.1) and single.low is single.high is None
    assert single.n_seeds == 1
    assert one.quantity(Contrast({}, {})) == Quantity(None, None, None, 0)
    assert not one.quantity(Contrast({}, {})).known
    equal = Bootstrap([np.full(9, 0.9), np.full(9, 0.8)], [0, 0], resamples=100)
    found = equal.quantity(Contrast({0: 1.0, 1: -1.0}, {0: 1.0}))
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    # Two data seeds with the contrast, and a third without: resamples of the third alone are out.
    three = Bootstrap([np.array([0.9, 0.8])] * 3, [0, 1, 2], resamples=500)
    partly = three.quantity(Contrast({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}))
    assert partly.known and partly.n_seeds == 2


def at(low: float, high: float) -> Quantity:
    return Quantity((low + high) / 2, low, high, 4)


@pytest.mark.parametrize(
    ("kind", "low", "high", "decision"),
    [
        ("no difference", -0.0099, 0.0099, "holds"),
        ("no difference", 0.002, 0.009, "holds"),
        ("no difference", -0.01, 0.005, "not decided"),
        ("no difference", 0.005, 0.01, "not decided"),
        ("no difference", 0.01, 0.02, "does not hold"),
        ("no difference", -0.02, -0.01, "does not hold"),
        ("no difference", -0.5, 0.5, "not decided"),
        ("up", 0.0001, 0.5, "holds"),
        ("up", 0.0, 0.5, "not decided"),
        ("up", -0.005, 0.005, "does not hold"),
        ("up", -0.005, 0.01, "not decided"),
        ("up", -0.5, -0.001, "does not hold"),
        ("up", 0.0, 0.0, "does not hold"),
        ("down", -0.5, -0.0001, "holds"),
        ("down", 0.001, 0.5, "does not hold"),
        ("down", -0.009, 0.001, "does not hold"),
        ("down", -0.05, 0.0, "not decided"),
    ],
)
def test_rules_at_their_edges(kind: str, low: float, high: float, decision: str) -> None:
    assert decide(kind, at(low, high)) == decision  # pyright: ignore[reportArgumentType]


def test_what_has_no_interval_is_not_tested() -> None:
    assert decide("up", None) == "not tested"
    assert decide("up", Quantity(0.1, None, None, 1)) == "not tested"
    assert decide("no difference", at(-0.04, 0.04), margin=0.05) == "holds"
    assert "±5 percentage points per layer" in rule("no difference", "per layer", 0.05)


def test_two_decisions_together() -> None:
    assert both("holds", "holds") == "holds"
    assert both("holds", "not decided") == "not decided"
    assert both("does not hold", "not decided") == "does not hold"
    assert both("does not hold", "not tested") == "does not hold"
    assert both("not tested", "holds") == "not tested"
