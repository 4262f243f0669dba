"""A run and its file: commits, Ctrl-C, resuming, reopening, and what the numbers are."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import biasgpu
from biasgpu import mlp, priors
from biasgpu.errors import BiasgpuError, DamagedFileError, RefusedError, ResourceError, UsageError
from biasgpu.evaluate import evaluate
from biasgpu.experiment import Experiment
from biasgpu.fits import Fits
from biasgpu.results import Store, read, read_status
from biasgpu.run import Run
from biasgpu.sampling import resume, resumption, sample
from biasgpu.sampling import session as sessions
from biasgpu.sampling.events import (
    Committed,
    Event,
    Finished,
    Interrupted,
    Note,
    Progress,
    Started,
)
from biasgpu.sampling.interrupts import held_back
from biasgpu.task import Task

COLUMNS = ("index", "prefix", "margin", "test_accuracy", "test_accuracy_per_class")
N_TRAIN = 4


def make_task(n_test: int = 5) -> Task:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(N_TRAIN + n_test, 3)).astype(np.float32)
    y = np.arange(N_TRAIN + n_test) % 2
    return Task("points", x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], ("a", "b"))


def start(output: Path | None = None, **options: Any) -> Run:
    options = {"seed": 11, "engine": "reference", "curve_fits": 3, "fits": 4, **options}
    return sample(make_task(), mlp(3, 1), "uniform", output=output, **options)


def go_on(path: Path, **options: Any) -> Run:
    return resume(path, **{"engine": "reference", **options})


def assert_same(left: Run, right: Run) -> None:
    assert left.n_draws == right.n_draws
    assert left.prefix_counts.tolist() == right.prefix_counts.tolist()
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(left.fits, name), getattr(right.fits, name))
    assert (left.stop_reason, left.complete) == (right.stop_reason, right.complete)
    assert left.config == right.config
    assert left.curve == right.curve


def interrupting(kind: type[Event], number: int) -> Callable[[Event], None]:
    """Ctrl-C at the event of that kind and number."""
    seen = 0

    def on_event(event: Event) -> None:
        nonlocal seen
        if isinstance(event, kind):
            seen += 1
            if seen == number:
                raise KeyboardInterrupt

    return on_event


@pytest.fixture
def commit_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "COMMIT_EVERY_S", 0.0)


def test_a_file_holds_the_whole_run(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = start(path, keep_predictions=True)
    assert run.output == path
    stored = biasgpu.open(path)
    assert_same(stored, run)
    assert stored.elapsed_s == run.elapsed_s > 0
    assert stored.summary() == run.summary()
    assert stored.provenance["engine"] == stored.engine == "reference"
    assert stored.device == "cpu"
    assert stored.provenance["stopping"] == {"fits": 4, "candidates": None, "time_s": None}
    assert stored.fits.test_predictions is not None
    assert run.fits.test_predictions is not None
    assert np.array_equal(stored.fits.test_predictions, run.fits.test_predictions)
    assert_same(start(), biasgpu.run.from_stored(read(start_file(tmp_path))))


def start_file(folder: Path) -> Path:
    path = folder / "other.h5"
    start(path)
    return path


def test_interrupted_at_every_draw_and_resumed(tmp_path: Path) -> None:
    whole = start()
    assert whole.n_draws > 10
    for number in range(1, whole.n_draws + 1):
        path = tmp_path / f"{number}.h5"
        with pytest.raises(KeyboardInterrupt):
            start(path, batch_draws=1, on_event=interrupting(Progress, number))
        stopped = biasgpu.open(path)
        assert (stopped.n_draws, stopped.complete) == (number, False)
        assert (stopped.stop_reason, stopped.stopped_by) == ("interrupted", "user")
        assert stopped.prefix_counts.sum() == number
        resumed = go_on(path, batch_draws=3)
        assert_same(resumed, whole)
        assert_same(biasgpu.open(path), whole)
        assert resumed.elapsed_s >= stopped.elapsed_s
        assert len(resumed.provenance["resumed"]) == 1


@pytest.mark.parametrize(
    ("kind", "number"), [(Started, 1), (Committed, 1), (Committed, 4), (Progress, 1), (Progress, 4)]
)
def test_interrupted_at_any_event(
    tmp_path: Path, kind: type[Event], number: int, commit_always: None
) -> None:
    path = tmp_path / "run.h5"
    with pytest.raises(KeyboardInterrupt):
        start(path, batch_draws=2, on_event=interrupting(kind, number))
    assert_same(go_on(path), start())


def test_interrupted_again_and_again(tmp_path: Path, commit_always: None) -> None:
    path = tmp_path / "run.h5"
    with pytest.raises(KeyboardInterrupt):
        start(path, batch_draws=1, on_event=interrupting(Progress, 2))
    sessions_seen = 1
    while True:
        try:
            run = go_on(path, batch_draws=1, on_event=interrupting(Progress, 3))
            break
        except KeyboardInterrupt:
            sessions_seen += 1
    assert sessions_seen > 3
    assert_same(run, start())
    assert len(biasgpu.open(path).provenance["resumed"]) == sessions_seen


def test_killed_between_the_last_commit_and_the_end(tmp_path: Path, commit_always: None) -> None:
    whole = start()
    path = tmp_path / "run.h5"

    def die(event: Event) -> None:
        if isinstance(event, Committed) and event.n_fits == 4:
            raise SystemExit(9)

    original, Store.finish = Store.finish, lambda *a, **k: None
    try:
        with pytest.raises(SystemExit):
            start(path, batch_draws=1, on_event=die)
    finally:
        Store.finish = original
    killed = biasgpu.open(path)
    assert (killed.stop_reason, killed.complete, killed.n_fits) == ("", False, 4)
    assert_same(go_on(path), whole)


def test_the_interrupted_event_carries_the_run() -> None:
    seen: list[Event] = []
    stop = interrupting(Progress, 5)

    def on_event(event: Event) -> None:
        seen.append(event)
        stop(event)

    with pytest.raises(KeyboardInterrupt):
        start(batch_draws=1, on_event=on_event)
    last = seen[-1]
    assert isinstance(last, Interrupted)
    assert (last.run.n_draws, last.run.stop_reason, last.output) == (5, "interrupted", None)


def test_a_failure_keeps_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    def fail(event: Event) -> None:
        if isinstance(event, Progress) and event.n_candidates >= 8:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        start(path, batch_draws=1, on_event=fail)
    failed = biasgpu.open(path)
    assert (failed.n_draws, failed.stop_reason, failed.complete) == (4, "failed", False)
    assert read_status(path)["state"] == "failed"
    assert_same(go_on(path), start())


def test_a_full_disk_is_the_error_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit_always: None
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise ResourceError("the disk is full")

    path = tmp_path / "run.h5"
    original = Store.append
    monkeypatch.setattr(Store, "append", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        start(path, batch_draws=1)
    monkeypatch.setattr(Store, "append", original)
    assert_same(go_on(path), start())


def test_a_complete_run_is_returned_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run, seen = start(path), []
    before = path.read_bytes()
    assert_same(go_on(path, on_event=seen.append), run)
    assert [type(event) for event in seen] == [Note]
    assert "--fits 8" in seen[0].text
    for rules in ({"fits": 2}, {"candidates": 3}, {"time_s": 1e-9}):
        assert_same(go_on(path, **rules), run)
    assert path.read_bytes() == before


def test_more_may_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    start(path, fits=2)
    run = go_on(path, fits=4)
    assert_same(run, start())
    more = go_on(path, candidates=run.n_candidates + 20)
    assert_same(more, start(fits=None, candidates=run.n_candidates + 20))
    assert more.stopped_by == "candidates"
    # The newest rules are the ones that count from now on.
    assert biasgpu.open(path).provenance["resumed"][-1]["stopping"]["fits"] is None


def test_a_rule_that_comes_too_late_says_nothing(tmp_path: Path) -> None:
    whole = start(fits=6)
    path, seen = tmp_path / "run.h5", []
    with pytest.raises(KeyboardInterrupt):
        start(path, fits=6, batch_draws=1, on_event=interrupting(Progress, whole.n_draws - 1))
    run = go_on(path, fits=3, on_event=seen.append)
    assert (run.n_fits, run.stop_reason, run.complete) == (5, "interrupted", False)
    assert isinstance(seen[0], Note)
    assert_same(go_on(path), whole)


def test_the_first_index_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    whole = start(first_index=2 * 10**12)
    assert int(whole.fits.index.min()) >= 2 * 10**12
    with pytest.raises(KeyboardInterrupt):
        start(path, first_index=2 * 10**12, on_event=interrupting(Started, 1))
    assert biasgpu.open(path).n_draws == 0
    assert_same(go_on(path), whole)


def test_the_status_is_there_from_the_start(tmp_path: Path) -> None:
    path, states = tmp_path / "run.h5", []

    def look(event: Event) -> None:
        if isinstance(event, Started):
            states.append(read_status(path))

    start(path, on_event=look)
    assert [(status["state"], status["n_candidates"]) for status in states] == [("running", 0)]


def test_events_of_a_session(tmp_path: Path, commit_always: None) -> None:
    path, seen = tmp_path / "run.h5", []
    run = start(path, batch_draws=4, on_event=seen.append)
    kinds = [type(event) for event in seen]
    assert kinds[0] is Started
    assert kinds[-1] is Finished
    assert set(kinds[1:-1]) == {Committed, Progress}
    first, last = seen[0], seen[-1]
    assert (first.engine, first.n_arrangements, first.fits, first.output) == (
        "reference",
        2,
        4,
        path,
    )
    assert (last.reason, last.run.n_fits) == ("fits", 4)
    progress = [event for event in seen if isinstance(event, Progress)]
    assert [event.n_candidates for event in progress[:-1]] == [
        8 * (k + 1) for k in range(len(progress) - 1)
    ]
    end = progress[-1]
    assert (end.n_candidates, end.n_fits) == (run.n_candidates, run.n_fits)
    assert end.best_prefix == N_TRAIN
    assert end.fit_probability == 4 / run.n_candidates
    low, high = end.fit_probability_interval
    assert low < 4 / run.n_candidates < high
    assert end.candidates_per_s > 0
    assert end.remaining_s == 0.0
    status = read_status(path)
    assert status["state"] == "finished"
    assert status["n_fits"] == 4
    assert status["pid"] == os.getpid()


def test_few_commits_a_second(tmp_path: Path) -> None:
    seen: list[Event] = []
    start(tmp_path / "run.h5", fits=10, batch_draws=1, on_event=seen.append)
    commits = sum(isinstance(event, Committed) for event in seen)
    assert commits < sum(isinstance(event, Progress) for event in seen) / 2


def test_refusals_come_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    start(path, fits=1)
    with pytest.raises(RefusedError, match="exists"):
        start(path)
    start(path, overwrite=True)
    assert (tmp_path / "run.h5.bak").exists()
    with pytest.raises(BiasgpuError):
        go_on(tmp_path / "none.h5")
    other = tmp_path / "bad.h5"
    with pytest.raises(UsageError):
        start(other, engine="none")
    assert not other.exists()


def test_two_processes_on_one_file(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    def again(event: Event) -> None:
        if isinstance(event, Started):
            with pytest.raises(RefusedError):
                go_on(path, fits=100)
            with pytest.raises(RefusedError):
                start(path, overwrite=True)

    assert_same(start(path, on_event=again), start())


@pytest.mark.parametrize("column", ["margin", "test_accuracy", "prefix", "index"])
def test_a_fit_that_is_not_what_it_is_rebuilt_as(
    tmp_path: Path, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"

    def forged(*args: Any, **options: Any) -> Fits:
        rows = evaluate(*args, **options)
        values = {name: getattr(rows, name) for name in (*COLUMNS, "test_predictions")}
        if column == "index":
            values["index"] = values["index"] ^ np.uint64(1)
        elif column == "prefix":
            values["prefix"] = values["prefix"] - 1
        elif column == "margin":
            values["margin"] = np.nextafter(values["margin"], 1e9)
        else:
            values["test_accuracy"] = 1.0 - values["test_accuracy"]
        return Fits(**values)

    start(path)
    before = path.read_bytes()
    monkeypatch.setattr(resumption, "evaluate", forged)
    with pytest.raises(RefusedError, match=f"{column} is ") as caught:
        go_on(path, fits=6)
    assert caught.value.exit_code == 3
    assert path.read_bytes() == before


def test_a_configuration_that_is_not_of_this_task() -> None:
    task = make_task()
    experiment = Experiment(task, mlp(3, 1), priors.make("uniform"), 11)
    config = json.loads(json.dumps(experiment.to_config()))
    assert Experiment.from_config(config, task).to_config() == config
    for key in ("seed", "architecture", "prior", "first_draw"):
        with pytest.raises(DamagedFileError, match="incomplete"):
            Experiment.from_config({k: v for k, v in config.items() if k != key}, task)
    with pytest.raises(DamagedFileError, match="not the one"):
        Experiment.from_config(config, make_task(n_test=3))
    with pytest.raises(UsageError, match="method 'deferred'"):
        Experiment.from_config({**config, "method": "deferred"}, task)


def test_what_a_run_says() -> None:
    run = start(fits=None, candidates=400)
    assert len(run) == run.n_fits == len(run.test_accuracy) == len(list(run))
    assert [network.index for network in run] == run.fits_at(N_TRAIN).index.tolist()
    assert run[0].index == next(iter(run)).index
    assert run[-1].index == run[len(run) - 1].index
    with pytest.raises(IndexError):
        run[len(run)]
    assert run.network(5).index == 5
    with pytest.raises(UsageError):
        run.network(2**64)
    assert (run[0].predict(run.task.x_train) == run.task.y_train).all()
    assert run.verify().ok
    assert [point["n_train"] for point in run.curve] == [2, 4]
    assert [point["n_fits"] for point in run.curve] == [run.n_fits_at(2), run.n_fits]
    assert run.curve[0]["test_accuracy"]["n"] == 3
    assert run.curve[1]["test_accuracy"]["mean"] == run.test_accuracy.mean()
    low, high = run.fit_probability_interval
    assert run.fit_probability == run.n_fits / run.n_candidates
    assert low < run.n_fits / run.n_candidates < high
    assert run.minus_log2_fit_probability == -math.log2(run.n_fits / run.n_candidates)
    wide = run.estimate(2, confidence=0.999)
    assert wide.low < run.estimate(2).low
    assert "mlp width 3 depth 1" in repr(run)
    with pytest.raises(UsageError, match="n_train is 3; the curve of this run has 2, 4"):
        run.fits_at(3)


def test_a_summary_is_json() -> None:
    for run in (start(), start(fits=None, candidates=2, first_index=4)):
        summary = run.summary()
        text = json.dumps(summary, allow_nan=False)
        assert json.loads(text) == summary
        for key in (
            "n_candidates",
            "n_fits",
            "fit_probability",
            "fit_probability_interval",
            "minus_log2_fit_probability",
            "candidates_per_s",
            "elapsed_s",
            "engine",
            "device",
            "seed",
            "output",
            "versions",
            "n_borderline",
        ):
            assert key in summary
        assert {"mean", "std", "min", "max"} <= set(summary["test_accuracy"])
        for point in summary["curve"]:
            assert {"n_train", "n_fits", "minus_log2_fit_probability", "interval"} <= set(point)
            assert "mean" in point["test_accuracy"]


def test_a_run_without_fits() -> None:
    run = start(fits=None, candidates=2)
    assert (run.n_fits, len(run), bool(run)) == (0, 0, True)
    assert run.fit_probability == 0.0
    assert run.minus_log2_fit_probability is None
    assert run.curve[-1]["interval"][1] is None
    assert run.curve[-1]["test_accuracy"]["mean"] is None
    with pytest.raises(IndexError):
        run[0]


def test_confidence_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = start(path, confidence=0.5)
    assert biasgpu.open(path).fit_probability_interval == run.fit_probability_interval
    assert biasgpu.open(path, confidence=0.9).confidence == 0.9
    with pytest.raises(UsageError, match="confidence is 2"):
        biasgpu.open(path, confidence=2)


def test_ctrl_c_waits_for_the_commit() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        steps.append("written")
    assert steps == ["written"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_midst_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit_always: None
) -> None:
    original = Store.append
    calls = 0

    def append(self: Store, *args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            signal.raise_signal(signal.SIGINT)
        original(self, *args, **options)

    monkeypatch.setattr(Store, "append", append)
    path = tmp_path / "run.h5"
    with pytest.raises(KeyboardInterrupt):
        start(path, batch_draws=2)
    assert biasgpu.open(path).n_draws == 6
    assert_same(go_on(path), start())


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_resuming_with_another_engine(tmp_path: Path, engine: str) -> None:
    pytest.importorskip("torch" if engine == "torch" else "numba")
    path = tmp_path / "run.h5"
    start(path, fits=2)
    run = go_on(path, fits=4, engine=engine)
    assert_same(run, start())
    assert run.engine == biasgpu.open(path).engine == engine
