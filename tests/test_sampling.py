"""A stream of candidates is a pure function of its names: brute force, cuts, rows, pace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from biasgpu import mlp
from biasgpu.decision import arrange, margins, predictions
from biasgpu.engines.base import Engine
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.fits import Fits
from biasgpu.network import Network
from biasgpu.sampling import Batch, sample, stream
from biasgpu.sampling.pace import BATCH_S, Pace
from biasgpu.task import Task
from tests.sampling_cases import (
    CASES,
    Case,
    assert_same,
    assert_same_fits,
    brute_force,
    draws_of,
    make_task,
)


@pytest.mark.parametrize("name", CASES)
def test_fits_are_those_of_brute_force(name: str) -> None:
    case = CASES[name]
    run = draws_of(case, 150, keep_predictions=True)
    counts, kept = brute_force(case, 150, curve_fits=5)
    assert run.n_draws == 150
    assert run.n_candidates == 150 * run.ensemble.n_arrangements
    assert run.prefix_counts.tolist() == counts
    assert run.fits.index.tolist() == kept
    assert len(kept) >= 3
    task = case.task
    for row, index in enumerate(kept):
        network = Network(run.ensemble, index)
        prefix = int(run.fits.prefix[row])
        least = margins(network.logits(task.x_train), task.y_train)[:prefix].min()
        assert run.fits.margin[row] == least
        correct = network.predict(task.x_test) == task.y_test
        assert run.fits.test_accuracy[row] == correct.sum() / task.n_test
        for label in range(task.n_classes):
            mine = correct[task.y_test == label]
            assert run.fits.test_accuracy_per_class[row, label] == mine.sum() / len(mine)
        assert run.fits.test_predictions is not None
        assert run.fits.test_predictions[row].tolist() == network.predict(task.x_test).tolist()


@pytest.mark.parametrize("batch_draws", [1, 7, 64, 1000, None])
def test_batch_size_changes_nothing(batch_draws: int | None) -> None:
    case = CASES["two logits"]
    whole = draws_of(case, 200, batch_draws=200)
    assert_same(draws_of(case, 200, batch_draws=batch_draws), whole)


def test_threads_change_nothing() -> None:
    case = CASES["three classes"]
    one, three = (draws_of(case, 5000, engine="auto", threads=n) for n in (1, 3))
    assert_same(one, three)


@pytest.mark.parametrize("name", ["two logits", "deferred"])
@pytest.mark.parametrize("cut", [0, 1, 2, 17, 18, 39, 40])
def test_a_stream_may_be_cut_anywhere(cut: int, name: str) -> None:
    case = CASES[name]
    options: dict[str, Any] = {
        **{"seed": 7, "engine": "reference", "curve_fits": 3, "method": case.method}
    }

    def batches(**more: Any) -> list[Batch]:
        return list(stream(case.task, case.architecture, case.prior, **options, **more))

    first = batches(end_draw=cut, batch_draws=5)
    state = sum((batch.prefix_counts for batch in first), np.zeros(7, np.int64))
    parts = first + batches(first_draw=cut, end_draw=40, state=state, batch_draws=9)
    ends = [0, *(batch.end_draw for batch in parts)]
    assert [batch.first_draw for batch in parts] == ends[:-1]
    assert ends[-1] == 40
    (whole,) = batches(end_draw=40, batch_draws=40)
    assert_same_fits(Fits.concatenate([batch.fits for batch in parts]), whole.fits)
    total = sum(batch.prefix_counts for batch in parts)
    assert np.array_equal(total, whole.prefix_counts)
    assert whole.n_fits == int((whole.fits.prefix == 6).sum())
    assert whole.n_fits > 0 or name == "deferred"
    assert (whole.n_draws, whole.n_candidates) == (40, 80)


def test_a_stream_far_out_has_names_of_64_bits() -> None:
    case = CASES["two logits"]
    first = 2**63 - 60
    (batch,) = stream(
        case.task,
        case.architecture,
        case.prior,
        engine="reference",
        first_draw=first,
        end_draw=2**63 - 10,
        batch_draws=50,
    )
    assert len(batch.fits)
    assert int(batch.fits.index.min()) >= 2 * first
    run = sample(case.task, case.architecture, case.prior, candidates=100, first_index=2 * first)
    assert_same_fits(run.fits, batch.fits)


@pytest.mark.parametrize("name", ["two logits", "deferred"])
@pytest.mark.parametrize("curve_fits", [0, 1, 1000])
def test_rows_kept_for_the_curve(curve_fits: int, name: str) -> None:
    case = CASES[name]
    run = draws_of(case, 150, curve_fits=curve_fits)
    assert run.fits.index.tolist() == brute_force(case, 150, curve_fits)[1]
    for n in (2, 4):
        assert len(run.fits_at(n)) == min(curve_fits, run.n_fits_at(n))
        assert (run.fits_at(n).prefix >= n).all()
    assert len(run.fits_at(6)) == run.n_fits == run.n_fits_at(6)


def test_an_empty_test_set() -> None:
    run = draws_of(Case(make_task(n_test=0), mlp(4, 1), "uniform"), 60)
    assert len(run.fits)
    assert np.isnan(run.fits.test_accuracy).all()
    assert np.isnan(run.fits.test_accuracy_per_class).all()
    assert run.summary()["test_accuracy"]["mean"] is None


def test_curve_points_need_every_class() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    y = np.array([0, 0, 0, 1, 1, 0, 1])
    run = sample(Task("odd", x, y, x, y, ("a", "b")), mlp(4, 1), candidates=100)
    assert run.experiment.points == (4, 6, 7)


def test_arrangements_are_put_into_effect() -> None:
    case = CASES["three classes"]
    run = draws_of(case, 400)
    assert len({int(index) % 6 for index in run.fits.index}) > 2
    for network in run:
        logits = arrange(run.ensemble.logits(network.draw, case.task.x_train), network.arrangement)
        assert (predictions(logits) == case.task.y_train).all()


def test_pace_keeps_to_a_quarter_of_a_second() -> None:
    pace = Pace(granularity=100)
    n = pace.next()
    assert n == 64
    for _ in range(20):
        pace.measured(n, n / 1e6)
        assert pace.next() <= 4 * n
        n = pace.next()
    assert n == int(1e6 * BATCH_S)
    assert pace.next(left_s=0.01) == 10_000
    assert pace.next(left_s=-1.0) == 1
    pace.measured(n, n / 40.0)
    assert pace.next() == 10
    assert Pace(100, fixed=3).next() == 3


def test_engine_is_closed_when_a_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Engine] = []
    monkeypatch.setattr(ReferenceEngine, "close", lambda self: closed.append(self))
    batches = stream(make_task(), mlp(2, 1), engine="reference", batch_draws=1)
    next(batches)
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(closed) == 1


def test_batches_find_as_many_networks_as_are_measured_at_once() -> None:
    """Measuring takes a second for up to sixteen networks; one draw in a thousand is kept."""

    def run(rows: int) -> list[int]:
        pace, sizes = Pace(granularity=100, rows=rows), []
        for _ in range(20):
            n = pace.next()
            kept = n // 1000
            screening_s = n / 100_000
            measuring_s = -(-kept // 16) * 1.0
            pace.measured(n, screening_s + measuring_s, screening_s=screening_s, n_rows=kept)
            sizes.append(n)
        return sizes

    assert min(run(16)[-5:]) >= 16_000
    assert max(run(1)[-5:]) < 5_000
    # Where networks are rarer, screening takes as long as measuring, within bounds.
    for measuring_s, expected in ((0.1, 25_000), (1.0, 100_000), (9.0, 200_000)):
        pace = Pace(granularity=100, rows=16)
        for _ in range(20):
            n = pace.next()
            pace.measured(n, n / 100_000 + measuring_s, screening_s=n / 100_000, n_rows=1)
        assert expected - 200 <= pace.next() <= expected
        assert pace.next(left_s=0.05) <= 5_000  # but not into the end of a run
