"""Stopping rules: exact, whichever comes first, and the same however the draws are batched."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from biasgpu import mlp
from biasgpu.errors import UsageError
from biasgpu.run import Run
from biasgpu.sampling import Rules, sample
from biasgpu.sampling.stopping import cut
from biasgpu.task import Task


def make_task(n_train: int = 6, n_classes: int = 2) -> Task:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n_train, 4)).astype(np.float32)
    y = np.arange(n_train) % n_classes
    return Task("points", x, y, x[:n_classes], y[:n_classes], tuple("abc"[:n_classes]))


def run(**options: Any) -> Run:
    options = {"seed": 3, "engine": "reference", "prior": "kaiming-uniform", **options}
    return sample(make_task(), mlp(5, 1), options.pop("prior"), **options)


def fit_draws(found: Run) -> list[int]:
    return (found.fits_at(6).index // np.uint64(2)).tolist()


def test_one_rule_at_least() -> None:
    with pytest.raises(UsageError, match="no stopping rule") as caught:
        run()
    assert caught.value.exit_code == 2
    assert "--fits" in caught.value.fix


@pytest.mark.parametrize(
    "rules",
    [
        {"fits": 0},
        {"fits": -1},
        {"fits": 1.5},
        {"fits": True},
        {"fits": math.nan},
        {"fits": "10"},
        {"candidates": 0},
        {"candidates": -5},
        {"time_s": 0},
        {"time_s": -1.0},
        {"time_s": math.inf},
        {"time_s": math.nan},
        {"time_s": False},
    ],
)
def test_rules_that_cannot_be(rules: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(rules))):
        run(**rules)


def test_whole_numbers_may_come_as_floats() -> None:
    assert Rules(candidates=1e9).candidates == 10**9  # pyright: ignore[reportArgumentType]
    assert Rules(fits=np.int64(3)).fits == 3  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("n_fits", [1, 2, 5])
def test_fits_stop_right_at_the_draw(n_fits: int) -> None:
    expected = fit_draws(run(candidates=2000))
    assert len(expected) >= 5
    for batch_draws in (1, 3, 10, 400, None):
        found = run(fits=n_fits, batch_draws=batch_draws)
        assert fit_draws(found) == expected[:n_fits]
        assert found.n_draws == expected[n_fits - 1] + 1
        assert found.prefix_counts.sum() == found.n_draws
        assert (found.n_fits, found.stop_reason, found.stopped_by) == (n_fits, "fits", "fits")
        assert found.complete
        estimate = found.estimate()
        if n_fits > 1:
            assert estimate.method == "inverse"
            assert found.fit_probability == (n_fits - 1) / (found.n_draws - 1) / 2
        assert found.summary()["stopped_by"] == "fits"


@pytest.mark.parametrize(("candidates", "n_draws"), [(1, 1), (2, 1), (3, 2), (99, 50), (100, 50)])
def test_candidates_are_whole_draws(candidates: int, n_draws: int) -> None:
    found = run(candidates=candidates)
    assert (found.n_draws, found.n_candidates) == (n_draws, 2 * n_draws)
    assert (found.stop_reason, found.complete) == ("candidates", True)
    assert found.estimate().method == "fixed"


def test_candidates_of_three_classes() -> None:
    found = sample(make_task(6, 3), mlp(5, 1), candidates=13, engine="reference")
    assert (found.n_draws, found.n_candidates) == (3, 18)


def test_whichever_comes_first() -> None:
    second = fit_draws(run(candidates=1000))[1]
    for batch_draws in (1, 7, 1000):
        early = run(fits=2, candidates=2 * second, batch_draws=batch_draws)
        assert (early.stop_reason, early.n_draws, early.n_fits) == ("candidates", second, 1)
        late = run(fits=2, candidates=2 * second + 4, batch_draws=batch_draws)
        assert (late.stop_reason, late.n_draws, late.n_fits) == ("fits", second + 1, 2)
        both = run(fits=2, candidates=2 * second + 2, batch_draws=batch_draws)
        assert (both.stop_reason, both.n_draws, both.n_fits) == ("fits", second + 1, 2)


def test_time() -> None:
    found = run(time_s=0.15, fits=10**9)
    assert (found.stop_reason, found.stopped_by) == ("time", "time")
    assert 0.15 <= found.elapsed_s < 5.0
    assert found.n_draws > 1
    assert found.candidates_per_s == found.n_candidates / found.elapsed_s
    assert found.summary()["estimator"] == "fixed (stopped by time)"


def test_the_first_rule_in_the_list_is_named() -> None:
    rules = Rules(fits=2, candidates=10, time_s=1.0)
    assert rules.reached(1, 4, 0.5, 2) is None
    assert rules.reached(2, 5, 1.0, 2) == "fits"
    assert rules.reached(1, 5, 1.0, 2) == "candidates"
    assert rules.reached(1, 4, 1.0, 2) == "time"


def test_remaining_time_is_of_the_nearest_rule() -> None:
    assert Rules(time_s=10).remaining_s(0, 0, 4.0, 2, 0.0) == 6.0
    assert Rules(candidates=200).remaining_s(0, 50, 1.0, 2, 10.0) == 5.0
    assert Rules(fits=30).remaining_s(10, 100, 1.0, 2, 50.0) == 4.0
    assert Rules(fits=30).remaining_s(0, 100, 1.0, 2, 50.0) is None
    assert Rules(fits=30).remaining_s(10, 100, 1.0, 2, 0.0) is None
    assert Rules(fits=30, time_s=3).remaining_s(10, 100, 1.0, 2, 50.0) == 2.0
    assert Rules(time_s=3).remaining_s(0, 0, 4.0, 2, 0.0) == 0.0


def test_rules_survive_being_stored() -> None:
    rules = Rules(fits=2, time_s=1.5)
    assert Rules.from_dict(rules.to_dict()) == rules
    assert Rules.from_dict({}).empty


def test_cut() -> None:
    prefixes = np.array([0, 6, 2, 6, 6, 1], dtype=np.uint16)
    assert [cut(prefixes, 6, left) for left in (None, 1, 2, 3, 4)] == [6, 2, 4, 5, 6]
