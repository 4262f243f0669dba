"""A run under way: events, commits, status, refusals."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from biasgpu.errors import BiasgpuError, RefusedError, ResourceError, UsageError
from biasgpu.results import Store, read_status
from biasgpu.sampling.events import (
    Committed,
    Event,
    Finished,
    Progress,
    Started,
)
from biasgpu.sampling.interrupts import held_back
from tests.runs import N_TRAIN, assert_same, go_on, start


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
    assert end.candidates_per_s is None  # within milliseconds
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


def test_ctrl_c_waits_for_the_commit() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        steps.append("written")
    assert steps == ["written"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
