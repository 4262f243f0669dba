"""Whatever the engine does: agreement, doubt, lies, networks that overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from biasgpu import engines, mlp
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.errors import NonFiniteError, UsageError
from biasgpu.sampling import EngineError, sample, stream
from biasgpu.task import Task
from tests.sampling_cases import (
    CASES,
    assert_same,
    draws_of,
    make_task,
)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_engines_agree(name: str, engine: str) -> None:
    pytest.importorskip("torch" if engine == "torch" else "numba")
    case = CASES[name]
    if engine == "torch" and case.method == "deferred":
        with pytest.raises(UsageError, match="does not know method 'deferred'"):
            draws_of(case, 1, engine=engine)
        return
    assert_same(draws_of(case, 300, engine=engine), draws_of(case, 300))


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
