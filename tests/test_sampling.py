"""A stream of candidates is a pure function of its names: brute force, cuts, engines, lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from biasgpu import engines, layers, mlp, paper_mlp
from biasgpu.architectures import Architecture
from biasgpu.decision import all_prefixes, arrange, margins, predictions
from biasgpu.engines.base import BORDERLINE, Engine
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.errors import ImpossibleTaskError, NonFiniteError, UsageError
from biasgpu.fits import Fits
from biasgpu.network import Network
from biasgpu.run import Run
from biasgpu.sampling import Batch, EngineError, sample, stream
from biasgpu.sampling.pace import BATCH_S, Pace
from biasgpu.task import Task

COLUMNS = (
    "index",
    "prefix",
    "margin",
    "test_accuracy",
    "test_accuracy_per_class",
    "test_predictions",
)


def make_task(
    n_train: int = 6, features: int = 3, n_classes: int = 2, n_test: int = 9, seed: int = 1
) -> Task:
    rng = np.random.default_rng(seed)
    return Task(
        name="points",
        x_train=rng.normal(size=(n_train, features)).astype(np.float32),
        y_train=np.arange(n_train) % n_classes,
        x_test=rng.normal(size=(n_test, features)).astype(np.float32),
        y_test=np.arange(n_test) % n_classes,
        class_names=tuple("abc"[:n_classes]),
    )


@dataclass(frozen=True)
class Case:
    task: Task
    architecture: Architecture
    prior: str


CASES = {
    "two logits": Case(make_task(), mlp(4, 1), "kaiming-normal"),
    "one logit": Case(make_task(), mlp(4, 1, head="one-logit", bias="prior"), "uniform"),
    "three classes": Case(make_task(n_train=6, n_classes=3), mlp(5, 1), "kaiming-uniform"),
    "n_train 2": Case(make_task(n_train=2), mlp(3, 1), "uniform:0.2"),
    "one feature": Case(make_task(n_train=4, features=1), mlp(4, 1, bias="prior"), "uniform"),
    "dead networks": Case(make_task(n_train=4), mlp(1, 3), "uniform8"),
    "linear": Case(make_task(), mlp(depth=0), "normal"),
}


def brute_force(case: Case, n_draws: int, curve_fits: int) -> tuple[list[int], list[int]]:
    """Exact prefix counts, and the indices kept, by trying every arrangement of every draw."""
    task = case.task
    k, n_train = task.n_classes, task.n_train
    ensemble = sample_ensemble(case)
    counts, kept = [0] * (n_train + 1), []
    seen = {n: 0 for n in range(k, n_train, k)}
    for draw in range(n_draws):
        prefixes = all_prefixes(
            ensemble.logits(draw, task.x_train), task.y_train, ensemble.n_arrangements
        )
        best = int(prefixes.max())
        counts[best] += 1
        keep = best == n_train
        for n in seen:
            if best >= n:
                keep = keep or seen[n] < curve_fits
                seen[n] += 1
        if keep:
            assert (prefixes == best).sum() == 1
            kept.append(ensemble.n_arrangements * draw + int(prefixes.argmax()))
    return counts, kept


def sample_ensemble(case: Case) -> Any:
    from biasgpu import priors
    from biasgpu.ensemble import Ensemble

    task = case.task
    return Ensemble(case.architecture, priors.make(case.prior), task.shape, task.n_classes, seed=7)


def draws_of(case: Case, n_draws: int, **options: Any) -> Run:
    options = {"engine": "reference", "seed": 7, "curve_fits": 5, **options}
    n = sample_ensemble(case).n_arrangements
    return sample(case.task, case.architecture, case.prior, candidates=n * n_draws, **options)


def assert_same_fits(left: Fits, right: Fits) -> None:
    for name in COLUMNS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)


def assert_same(left: Run, right: Run) -> None:
    """Equal in everything but how long it took, and by what."""
    assert left.n_draws == right.n_draws
    assert left.prefix_counts.tolist() == right.prefix_counts.tolist()
    assert_same_fits(left.fits, right.fits)
    assert (left.stop_reason, left.complete) == (right.stop_reason, right.complete)
    assert left.config == right.config


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


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_engines_agree(name: str, engine: str) -> None:
    pytest.importorskip("torch" if engine == "torch" else "numba")
    case = CASES[name]
    assert_same(draws_of(case, 300, engine=engine), draws_of(case, 300))


def test_threads_change_nothing() -> None:
    case = CASES["three classes"]
    one, three = (draws_of(case, 5000, engine="auto", threads=n) for n in (1, 3))
    assert_same(one, three)


@pytest.mark.parametrize("cut", [0, 1, 2, 17, 18, 39, 40])
def test_a_stream_may_be_cut_anywhere(cut: int) -> None:
    case = CASES["two logits"]
    options: dict[str, Any] = {"seed": 7, "engine": "reference", "curve_fits": 3}

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
    assert whole.n_fits == int((whole.fits.prefix == 6).sum()) > 0
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


class Doubtful(ReferenceEngine):
    """Leaves every draw, or every third, to the law."""

    every = 1

    def screen(self, first_draw: int, n_draws: int) -> Any:
        prefixes = super().screen(first_draw, n_draws)
        prefixes[(first_draw + np.arange(n_draws)) % self.every == 0] = BORDERLINE
        return prefixes


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_borderline_draws_are_decided_by_the_law(
    name: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = draws_of(CASES[name], 90)
    monkeypatch.setattr(Doubtful, "every", every)
    monkeypatch.setattr(engines, "make", lambda name, *parts, **options: Doubtful(*parts))
    found = draws_of(CASES[name], 90)
    assert_same(found, expected)
    assert found.n_borderline == 90 // every
    assert expected.n_borderline == 0


class Liar(ReferenceEngine):
    """States one sample too many for one draw that fits the first two."""

    draw = -1

    def screen(self, first_draw: int, n_draws: int) -> Any:
        prefixes = super().screen(first_draw, n_draws)
        if first_draw <= self.draw < first_draw + n_draws:
            prefixes[self.draw - first_draw] += 1
        return prefixes


def test_a_wrong_engine_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["two logits"]
    honest = draws_of(case, 30)
    row = int(np.flatnonzero(honest.fits.prefix < 6)[0])
    draw, prefix = int(honest.fits.index[row]) // 2, int(honest.fits.prefix[row])
    monkeypatch.setattr(Liar, "draw", draw)
    monkeypatch.setattr(engines, "make", lambda name, *parts, **options: Liar(*parts))
    with pytest.raises(
        EngineError, match=f"disagrees with the law on draw {draw} .*{prefix + 1}.*law {prefix}"
    ):
        draws_of(case, 30)


class Overflowing(ReferenceEngine):
    """Meets a network that overflows at draw 13."""

    def screen(self, first_draw: int, n_draws: int) -> Any:
        if first_draw <= 13 < first_draw + n_draws:
            raise NonFiniteError("draw 13")
        return super().screen(first_draw, n_draws)


@pytest.mark.parametrize("batch_draws", [1, 4, 13, 14, 100])
def test_all_draws_before_one_that_overflows_are_given(
    batch_draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "make", lambda name, *parts, **options: Overflowing(*parts))
    case, counted = CASES["two logits"], 0
    with pytest.raises(NonFiniteError):
        for batch in stream(case.task, case.architecture, case.prior, batch_draws=batch_draws):
            counted += batch.n_draws
    assert counted == 13


def test_networks_that_overflow_are_an_error() -> None:
    huge = make_task()
    huge = Task("huge", huge.x_train * 1e37, huge.y_train, huge.x_test, huge.y_test, ("a", "b"))
    with pytest.raises(NonFiniteError, match="infinite or not a number"):
        sample(huge, mlp(16, 24), "uniform:1e12", candidates=50)


def test_a_test_set_that_overflows_is_an_error() -> None:
    task = make_task()
    far = Task("far", task.x_train, task.y_train, task.x_test * 3e37, task.y_test, ("a", "b"))
    with pytest.raises(NonFiniteError, match="on the test set"):
        sample(far, mlp(16, 22), "uniform:1e12", candidates=400, engine="reference")


@pytest.mark.parametrize("curve_fits", [0, 1, 1000])
def test_rows_kept_for_the_curve(curve_fits: int) -> None:
    case = CASES["two logits"]
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


def images(values: list[list[list[float]]], labels: list[int]) -> Task:
    x = np.array(values, dtype=np.float32)[:, None]
    y = np.array(labels)
    return Task("images", x, y, x, y, ("a", "b"))


def points(values: list[list[float]], labels: list[int]) -> Task:
    x = np.array(values, dtype=np.float32)
    return Task("points", x, np.array(labels), x, np.array(labels), ("a", "b"))


def test_inputs_that_pooling_makes_equal() -> None:
    task = images(
        [[[1, 2], [3, 4]], [[4, 3], [2, 0]], [[0, 0], [0, 9]], [[1, 1], [1, 5]]], [0, 1, 0, 1]
    )
    with pytest.raises(ImpossibleTaskError, match=r"samples 0 and 1 .*before they reach"):
        sample(task, paper_mlp(1, 1, bias="prior"), fits=1)
    sample(task, mlp(4, 1, bias="prior"), candidates=2)


def test_inputs_that_a_leading_rectifier_makes_equal() -> None:
    task = points([[-1, 2], [-3, 2]], [0, 1])
    net = Architecture("cut", [layers.ReLU(), layers.Dense(3, "prior"), layers.ReLU()])
    with pytest.raises(ImpossibleTaskError, match="samples 0 and 1"):
        sample(task, net, fits=1)


def test_multiples_cannot_be_told_apart_without_biases() -> None:
    task = points([[1, -3], [7, 7], [1, 2], [3, -9]], [0, 1, 0, 1])
    with pytest.raises(ImpossibleTaskError, match=r"samples 0 and 3 .*multiples"):
        sample(task, mlp(4, 1), fits=1)
    sample(task, mlp(4, 1, bias="prior"), candidates=2)
    sample(points([[1, -3], [-1, 3]], [0, 1]), mlp(4, 1), candidates=2)


def test_an_input_of_zeros_needs_biases() -> None:
    task = points([[1, 2], [0, -0.0]], [0, 1])
    with pytest.raises(ImpossibleTaskError, match="sample 1 is all zeros"):
        sample(task, mlp(4, 1), fits=1)
    sample(points([[0, 0], [1, 2]], [0, 1]), mlp(4, 1), candidates=2)


def test_arguments_are_checked_before_any_work() -> None:
    task, net = make_task(), mlp(2, 1)
    for options, message in (
        ({"first_index": 3}, "first_index is 3.*\n.*\n.*first_index=2 or 4"),
        ({"first_index": -2}, "index is -2"),
        ({"first_index": 2**64}, "index is"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"curve_fits": -1}, "curve_fits is -1"),
        ({"engine": "cup"}, "unknown engine 'cup'. Did you mean 'cpu'"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"batch_draws": 0}, "batch_draws is 0"),
        ({"candidates": 2**65}, "64-bit"),
        ({"prior": "unifrom"}, "Did you mean 'uniform"),
        ({"threads": 0}, "threads is 0"),
    ):
        arguments = {"prior": "uniform", "candidates": 1, **options}
        with pytest.raises(UsageError, match=message):
            sample(task, net, **arguments)
    with pytest.raises(UsageError, match=r"biasgpu\.task"):
        sample("mnist", net, fits=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"biasgpu\.mlp"):
        sample(task, "mlp", fits=1)  # pyright: ignore[reportArgumentType]
    for first_draw, end_draw in ((5, 4), (-1, None), (0, 2**64)):
        with pytest.raises(UsageError, match="range of draws"):
            stream(task, net, first_draw=first_draw, end_draw=end_draw)
    with pytest.raises(UsageError, match="state has shape"):
        stream(task, net, state=np.zeros(3, np.int64))


def test_a_class_without_training_samples() -> None:
    task = points([[1, 2], [3, 4]], [0, 0])
    with pytest.raises(UsageError, match="no training sample has label 1"):
        sample(task, mlp(4, 1), fits=1)


def test_more_training_samples_than_a_prefix_counts() -> None:
    n = 0xFFFF
    x = np.arange(1, n + 1, dtype=np.float32)[:, None]
    task = Task("long", x, np.arange(n) % 2, x[:2], np.arange(2), ("a", "b"))
    with pytest.raises(UsageError, match="n_train is 65535"):
        sample(task, mlp(4, 1, bias="prior"), fits=1)


def test_curve_points_need_every_class() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    y = np.array([0, 0, 0, 1, 1, 0, 1])
    run = sample(Task("odd", x, y, x, y, ("a", "b")), mlp(4, 1), candidates=100)
    assert run.experiment.points == (4, 6, 7)


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


def test_arrangements_are_put_into_effect() -> None:
    case = CASES["three classes"]
    run = draws_of(case, 400)
    assert len({int(index) % 6 for index in run.fits.index}) > 2
    for network in run:
        logits = arrange(run.ensemble.logits(network.draw, case.task.x_train), network.arrangement)
        assert (predictions(logits) == case.task.y_train).all()
