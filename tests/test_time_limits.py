"""Large networks: a small first batch, and no batch that would clearly run over the time set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from biasgpu import engines, mlp
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.sampling import sample, sampler
from biasgpu.sampling.pace import FEWEST_DRAWS, FIRST_DRAWS, Pace
from tests.sampling_cases import make_task


def test_the_first_batch_shrinks_with_the_work_a_draw_takes() -> None:
    firsts = [Pace(granularity=4096, work=work).next() for work in (0.0, 1e6, 4e8, 1e12)]
    assert firsts == [FIRST_DRAWS, FIRST_DRAWS, 25, FEWEST_DRAWS]
    assert Pace(granularity=4, work=1e12).next() == 4
    assert Pace(granularity=4096, fixed=500, work=1e12).next() == 500


def test_the_sampler_tells_the_pace_what_a_draw_takes() -> None:
    assert _first_step(8) == FIRST_DRAWS
    assert _first_step(50_000) == FEWEST_DRAWS


def _first_step(width: int) -> int:
    """How many draws the first step asks of an engine that likes many."""
    asked: list[int] = []

    class Asked(Exception):
        pass

    class Many(ReferenceEngine):
        @property
        def granularity(self) -> int:
            return 4096

        def screen(self, first_draw: int, n_draws: int) -> Any:
            asked.append(n_draws)
            raise Asked

    original = engines.make
    engines.make = lambda name, *parts, **options: Many(*parts)
    try:
        with pytest.raises(Asked):
            sample(make_task(n_test=9), mlp(width, 2), method="direct", candidates=10**6)
    finally:
        engines.make = original
    return asked[0]


def test_a_batch_grows_by_no_more_than_a_factor_even_up_to_what_an_engine_does_at_once() -> None:
    pace = Pace(granularity=1 << 16, minimum=1024)
    pace.measured(16, 1.0)
    assert pace.next() == 64
    pace.measured(300, 1.0)
    assert pace.next() == 1024


def test_what_a_batch_is_expected_to_take() -> None:
    pace = Pace(granularity=4096, minimum=32)
    assert pace.expected_s(1.0) == 0.0
    pace.measured(64, 16.0)
    assert pace.expected_s(100.0) == 8.0


class Clock:
    """Seconds that pass only when a draw is screened."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("draw_s", "time_s", "n_draws"), [(3.0, 10.0, 3), (0.5, 10.0, 20)])
def test_time_is_not_overrun(
    monkeypatch: pytest.MonkeyPatch, draw_s: float, time_s: float, n_draws: int
) -> None:
    from biasgpu.sampling import session

    clock = Clock()

    class Slow(ReferenceEngine):
        def screen(self, first_draw: int, n_draws: int) -> Any:
            clock.now_s += draw_s * n_draws
            return np.zeros(n_draws, np.uint16)

    monkeypatch.setattr(engines, "make", lambda name, *parts, **options: Slow(*parts))
    monkeypatch.setattr(session.time, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(sampler.time, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(sampler, "check", lambda *parts: None)
    run = sample(make_task(), mlp(4, 1), time_s=time_s, curve_fits=0)
    assert (run.n_draws, run.stop_reason, run.complete) == (n_draws, "time", True)
    assert run.elapsed_s <= time_s + 1.0
