"""Compiling in another process: what waits for it and what does not; no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import biasgpu
from biasgpu import answers, experiment, priors
from biasgpu.engines import BORDERLINE
from biasgpu.engines.cpu import ahead, digest, machine_code
from biasgpu.engines.cpu.ahead import Ahead
from biasgpu.engines.cpu.deferred import DeferredCpuEngine
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.ensemble import Ensemble
from biasgpu.sampling.events import Progress

KINDS = ("direct", "deferred")
SAYS = "import sys, time\nfor part in {parts}: print(part, flush=True)\ntime.sleep({left_s})"


class Says(Ahead):
    """In place of the compiler, a program that says of some parts that they are done."""

    program = ""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets what the other process does: says `parts`, then stays for `left_s` or waits to die."""
    monkeypatch.setattr(ahead, "_all", {})
    monkeypatch.delenv(ahead.VARIABLE)

    def set_up(*parts: str, left_s: float = 60.0) -> None:
        program = SAYS.format(parts=parts, left_s=left_s)
        monkeypatch.setattr(ahead, "_PROGRAM", program)

    yield set_up
    for kind in ahead._all:
        ahead.stop(kind)


def make(kind: str) -> CpuEngine | DeferredCpuEngine:
    x, y = machine_code._samples((8,))
    if kind == "direct":
        ensemble = Ensemble(biasgpu.mlp(8, 1), priors.make("uniform"), (8,), 2, seed=1)
        return CpuEngine(ensemble, x, y, threads=1)
    task = biasgpu.task("kink", n_train=4)
    deferred: Any = experiment.make(
        task, biasgpu.mlp(8, 1), "kaiming-normal", seed=1, method="deferred"
    ).ensemble
    return DeferredCpuEngine(deferred, task.x_train, task.y_train, threads=1)


@pytest.mark.parametrize("kind", KINDS)
def test_until_the_screen_is_compiled_it_cannot_tell(kind: str, child: Callable[..., None]) -> None:
    child()
    engine = make(kind)
    engine.begin()
    assert (engine.screen(0, 20) == BORDERLINE).all()
    engine.abandon()  # what is not on disk is compiled here
    by_hand = engine.screen(0, 20)
    assert not (by_hand == BORDERLINE).all()
    engine.close()


def test_a_run_is_the_same_while_the_law_decides(child: Callable[..., None]) -> None:
    task = biasgpu.task("kink", n_train=4)
    whole = biasgpu.sample(
        task, biasgpu.mlp(8, 1), candidates=600, batch_draws=100, engine="reference"
    )
    child()
    seen = []
    early = biasgpu.stream(task, biasgpu.mlp(8, 1), end_draw=300, batch_draws=100)
    for batch in early:
        seen.append(batch)
        if len(seen) == 2:
            ahead.stop("deferred")  # from here on the engine screens
    found = np.concatenate([batch.fits.index for batch in seen])
    assert found.tolist() == whole.fits.index.tolist()
    assert [batch.n_borderline for batch in seen][:2] == [100, 100]
    assert seen[2].n_borderline < 100


def test_classes_come_from_the_law_until_answers_are_compiled(
    child: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    child("screen")
    engine = make("direct")
    engine.begin()
    ahead.wait("direct", "screen")
    assert not (engine.screen(0, 8) == BORDERLINE).all()
    given = (np.arange(3, dtype=np.uint64), np.zeros(3, np.int64), engine.x_train)

    def fail(*_: Any) -> Any:
        raise AssertionError("it is being compiled")

    with monkeypatch.context() as patch:
        patch.setattr(answers, "_units", fail)
        early = answers.classify(engine.ensemble, *given)
    engine.abandon()
    assert answers.classify(engine.ensemble, *given).tolist() == early.tolist()
    engine.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_dies_holds_nothing_up(kind: str, child: Callable[..., None]) -> None:
    child(left_s=0.0)
    engine = make(kind)
    engine.begin()
    engine.close()
    assert not ahead.pending(kind, "screen")
    assert ahead._all[kind]._process.poll() == 0


def test_waiting_for_all_is_waiting_for_its_last_note(child: Callable[..., None]) -> None:
    child(*ahead.PARTS["direct"], left_s=0.5)  # all is said, and not all is done
    ahead.start("direct")
    ahead.wait("direct", "answers")
    assert ahead._all["direct"]._process.poll() is None
    ahead.wait("direct")
    assert ahead._all["direct"]._process.poll() == 0


def test_an_interrupted_run_leaves_no_process(child: Callable[..., None]) -> None:
    child()

    def on_event(event: Any) -> None:
        if isinstance(event, Progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        biasgpu.sample(
            biasgpu.task("kink", n_train=4), biasgpu.mlp(8, 1), fits=1000, on_event=on_event
        )
    assert ahead._all["deferred"]._process.poll() == -signal.SIGKILL


def test_breaking_off_a_stream_leaves_no_process(child: Callable[..., None]) -> None:
    child()
    batches: Any = biasgpu.stream(biasgpu.task("kink", n_train=4), biasgpu.mlp(8, 1))
    next(batches)
    batches.close()
    assert ahead._all["deferred"]._process.poll() == -signal.SIGKILL


def test_none_is_started_in_vain(child: Callable[..., None], monkeypatch: Any) -> None:
    child()
    digest.note_compiled.cache_clear()
    digest.note_compiled("direct")
    ahead.start("direct")
    monkeypatch.setenv(ahead.VARIABLE, "0")
    ahead.start("deferred")
    monkeypatch.delenv(ahead.VARIABLE)
    monkeypatch.setattr(sys, "executable", "")
    ahead.start("deferred")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    ahead.start("deferred")
    assert ahead._all == {}
    assert not ahead.pending("deferred", "screen")
    ahead.wait("deferred")


def test_a_fork_leaves_the_process_to_its_parent(child: Callable[..., None]) -> None:
    child()
    ahead.start("deferred")
    one = ahead._all["deferred"]
    one._parent += 1  # as in a fork
    assert not one.pending("screen")
    one.wait("screen")
    one.stop()
    assert one._process.poll() is None
    one._parent -= 1


def test_other_sources_are_refused() -> None:
    assert machine_code.main("deferred", f"{digest.source_digest() ^ 1:x}") == machine_code.FOREIGN


@pytest.mark.crash
def test_the_other_process_ends_with_the_first_and_ignores_ctrl_c() -> None:
    program = "import time\nfrom biasgpu.engines.cpu import machine_code\n"
    program += "machine_code.main = lambda *_: print('ready', flush=True) or time.sleep(60)\n"
    program += "machine_code.run('deferred', '0')"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=30) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_it_compiles_is_what_the_engine_runs(kind: str, tmp_path: Path) -> None:
    # Every call here is found on disk: the other process compiled for the very same types.
    program = f"""
import sys, numpy as np
from biasgpu.engines.cpu import ahead, deferred_screen, screen, answers
from tests.test_compile_ahead import make
engine = make({kind!r})
assert {kind!r} in ahead._all
engine.prepare()
found = (deferred_screen.compiled_reveal, deferred_screen.compiled_settle)
if {kind!r} == "direct":
    found = (screen.compiled_screen, answers.compiled_answers)
for one in found:
    print(sum(one().stats.cache_hits.values()), sum(one().stats.cache_misses.values()))
engine.close()
"""
    environment = os.environ | {"BIASGPU_CACHE_DIR": str(tmp_path)}
    environment.pop(ahead.VARIABLE)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "0", "1", "0"], done.stderr
