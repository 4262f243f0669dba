"""What the clock counts, and when a speed and a time left are shown."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biasgpu import engines, exact, mlp, priors
from biasgpu.cli.sampling_progress import progress_text
from biasgpu.engines.cpu import digest, screen
from biasgpu.engines.cpu import engine as cpu_engine
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.ensemble import Ensemble
from biasgpu.sampling.events import Event, Note, Progress
from biasgpu.sampling.stopping import Rules
from biasgpu.sampling.totals import MEASURED_S, Speed, Totals
from tests.runs import go_on, start

COMPILE_S = 2.0


class Compiled(ReferenceEngine):
    """Takes long to get ready, once."""

    log: list[str]

    @property
    def notice(self) -> str:
        return "" if "compiled" in self.log else "compiling"

    def prepare(self) -> None:
        super().prepare()
        if "compiled" not in self.log:
            time.sleep(COMPILE_S)
            self.log.append("compiled")

    def screen(self, first_draw: int, n_draws: int) -> Any:
        self.prepare()
        return super().screen(first_draw, n_draws)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(Compiled, "log", [], raising=False)
    monkeypatch.setattr(engines, "make", lambda name, *parts, **options: Compiled(*parts))
    return Compiled.log


def test_the_clock_starts_after_compiling(tmp_path: Path, log: list[str]) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, Note):
            log.append(event.text)

    path = tmp_path / "run.h5"
    first = start(path, fits=2, on_event=on_event)
    assert log == ["compiling", "compiled"]
    assert first.elapsed_s < COMPILE_S / 2
    log.clear()
    again = go_on(path, fits=4, on_event=on_event)
    assert log == ["compiling", "compiled"]
    assert again.elapsed_s < COMPILE_S / 2


def test_time_does_not_run_out_while_it_compiles(log: list[str]) -> None:
    run = start(fits=None, time_s=COMPILE_S / 3)
    assert run.n_draws > 1
    assert COMPILE_S / 3 <= run.elapsed_s < COMPILE_S


def test_preparing_compiles_screen_and_law(monkeypatch: pytest.MonkeyPatch) -> None:
    screening: Any = screen.compiled_screen.__wrapped__()
    law: Any = screen.compiled_exact.__wrapped__()
    monkeypatch.setattr(cpu_engine, "compiled_screen", lambda: screening)
    monkeypatch.setattr(screen, "compiled_exact", lambda: law)
    digest.note_compiled.cache_clear()  # an earlier test may have noted it in its own folder
    x = np.zeros((2, 3), np.float32)
    ensemble = Ensemble(mlp(4, 1), priors.make("uniform"), (3,), 2, seed=1)
    engine = CpuEngine(ensemble, x, np.array([0, 1]), threads=1)
    assert engine.notice
    assert [list(screening.signatures), list(law.signatures)] == [[], []]
    engine.prepare()
    assert engine.notice == ""
    signatures = [list(screening.signatures), list(law.signatures)]
    engine.screen(0, 40)
    exact.logits(ensemble, np.arange(5, dtype=np.uint64), x)
    assert [list(screening.signatures), list(law.signatures)] == signatures
    assert [len(each) for each in signatures] == [1, 1]
    engine.close()


def totals(next_draw: int, elapsed_s: float) -> Totals:
    return Totals(0, next_draw, np.zeros(7, np.int64), 0, elapsed_s)


def test_a_speed_is_told_once_it_is_measured() -> None:
    speed = Speed(5.0, 1000)  # a run that goes on: what came before is no measure
    assert speed(totals(1064, 5.2)) is None
    assert speed(totals(1500, 5.0 + MEASURED_S / 2)) is None
    assert speed(totals(3000, 7.0)) == 1000.0


def test_no_time_left_is_told_before_there_is_a_speed() -> None:
    assert Rules(fits=30, time_s=600).remaining_s(2, 64, 0.1, 2, None) is None
    assert Rules(candidates=200).remaining_s(2, 64, 0.1, 2, None) is None
    assert Rules(time_s=10).remaining_s(2, 64, 4.0, 2, None) == 6.0
    assert Rules(fits=30, time_s=600).remaining_s(30, 64, 0.1, 2, None) == 0.0


def test_the_first_progress_line_has_no_rate() -> None:
    seen: list[Event] = []
    start(on_event=seen.append, batch_draws=2)
    first = next(event for event in seen if isinstance(event, Progress))
    assert (first.candidates_per_s, first.remaining_s) == (None, None)
    line = progress_text(first)
    assert "4 candidates |" in line
    assert "/s" not in line and "left" not in line
