"""Interrupted anywhere and resumed, a run ends as an uninterrupted one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import biasgpu
from biasgpu.errors import RefusedError
from biasgpu.evaluate import evaluate
from biasgpu.fits import Fits
from biasgpu.results import Store, read_status
from biasgpu.sampling import resumption
from biasgpu.sampling.events import (
    Committed,
    Event,
    Interrupted,
    Note,
    Progress,
    Started,
)
from tests.runs import COLUMNS, assert_same, go_on, interrupting, start


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
