"""Ctrl-C, twice, and SIGTERM: all is kept, and the line that says how to go on is printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import biasgpu
from biasgpu.cli import sampling_progress, signals
from biasgpu.cli.root import root
from biasgpu.results import StatusFile, Store
from biasgpu.sampling import session
from biasgpu.sampling.sampler import Sampler
from biasgpu.sampling.session import Session

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--data", "kink", "--bias", "prior", "--n-train", "4", "--width", "6", "--depth", "1"),
    *("--engine", "reference", "--time", "60s", "-o", "a.h5"),
]
HOW = "To go on: biasgpu sample --resume a.h5"
# Says when it samples, and when it ends, which it does not go on with before it is told to.
ASKING = """
import sys
from biasgpu.cli import main
from biasgpu.sampling.sampler import Sampler
from biasgpu.sampling.session import Session
step, end = Sampler.step, Session._end
def sampling(self, **options):
    print("sampling", flush=True)
    return step(self, **options)
def ending(self, *parts, **options):
    print("ending", flush=True)
    sys.stdin.readline()
    return end(self, *parts, **options)
Sampler.step, Session._end = sampling, ending
main()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def signalled_in_the_second_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    step = Sampler.step
    calls: list[None] = []

    def signalling(self: Sampler, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            signal.raise_signal(number)
        return step(self, **options)

    monkeypatch.setattr(Sampler, "step", signalling)


def sample(*more: str) -> Result:
    return CliRunner().invoke(root, ["sample", *SMALL, *more])


def check_kept(result: Result, code: int) -> None:
    assert result.exit_code == code, result.stderr
    assert result.stderr.count(HOW) == 1
    run = biasgpu.open("a.h5")
    assert (run.n_draws > 0, run.stop_reason) == (True, "interrupted")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Store, "append"),
        (Store, "finish"),
        (StatusFile, "write"),
        (Session, "_end"),
        (Session, "_result"),
        (sampling_progress.SamplingProgress, "_say_how_to_go_on"),
    ],
)
@pytest.mark.parametrize("patience_s", [0.0, signals.SAME_STOP_S])
def test_a_second_ctrl_c_at_any_moment(
    monkeypatch: pytest.MonkeyPatch, place: type, name: str, patience_s: float
) -> None:
    """With no patience at all, only what holds signals back keeps the line."""
    monkeypatch.setattr(signals, "SAME_STOP_S", patience_s)
    monkeypatch.setattr(session, "COMMIT_EVERY_S", 1e9)
    signalled_in_the_second_step(monkeypatch, signal.SIGINT)
    original, first = getattr(place, name), []
    end = Session._end

    def signalling(self: Any, *parts: Any, **options: Any) -> Any:
        if first:
            first.clear()
            signal.raise_signal(signal.SIGINT)
        return original(self, *parts, **options)

    def ending(self: Session, *parts: Any, **options: Any) -> None:
        first.append(None)
        (signalling if name == "_end" else end)(self, *parts, **options)

    monkeypatch.setattr(place, name, signalling)
    monkeypatch.setattr(Session, "_end", ending)
    check_kept(sample(), 130)
    assert not first


def test_a_second_ctrl_c_right_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    signalled_in_the_second_step(monkeypatch, signal.SIGINT)
    run = Session.run

    def interrupted(self: Session) -> Any:
        try:
            return run(self)
        finally:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Session, "run", interrupted)
    result = sample("--json")
    check_kept(result, 130)
    assert json.loads(result.stdout)["stop_reason"] == "interrupted"


def test_later_ones_are_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = 0
    monkeypatch.setattr(signals, "SAME_STOP_S", 0.05)
    with signals.one_stop():
        for pause_s in (0.0, 0.0, 0.1, 0.0, 0.1):
            time.sleep(pause_s)
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                heard += 1
    assert heard == 3


def test_sigterm_is_treated_like_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    signalled_in_the_second_step(monkeypatch, signal.SIGTERM)
    check_kept(sample(), 143)


def test_sigterm_waits_while_results_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "COMMIT_EVERY_S", 0.0)
    append, written = Store.append, []

    def signalling(self: Store, *parts: Any, **options: Any) -> None:
        if len(written) == 1:
            signal.raise_signal(signal.SIGTERM)
        append(self, *parts, **options)
        written.append(None)

    monkeypatch.setattr(Store, "append", signalling)
    check_kept(sample(), 143)
    assert len(written) == 2


def test_a_stop_before_the_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with monkeypatch.context() as patch:
            patch.setattr(biasgpu, "sample", lambda *_, n=number, **__: signal.raise_signal(n))
            result = sample()
        assert (result.exit_code, result.stderr.strip()) == (code, "Interrupted.")


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGTERM, signal.SIGTERM], 143),
    ],
)
def test_signals_to_a_process(numbers: list[signal.Signals], code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ASKING, "sample", *SMALL],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    for number, moment in zip(numbers, ("sampling", "ending"), strict=False):
        while (line := process.stdout.readline().strip()) != moment:
            assert line or process.poll() is None
        process.send_signal(number)
    _, stderr = process.communicate("go on\n", timeout=60)
    assert process.returncode == code, stderr
    assert HOW in stderr
    assert biasgpu.open("a.h5").stop_reason == "interrupted"


@pytest.mark.parametrize("handled", [False, True])
def test_a_stop_within_code_from_a_string_leaves_with_the_same_code(
    handled: bool, tmp_path: Path
) -> None:
    """As where it strikes while a dataclass is made: CPython would die by the signal."""
    code = f"""
import click
from biasgpu.cli import cite
from biasgpu.cli.root import root
def struck(**_):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        if not {handled}:
            raise
    click.get_current_context().exit(130)
cite.command.callback = struck
root(["cite"])
"""
    (tmp_path / "struck.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "struck"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
