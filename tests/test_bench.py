"""Speeds are reported for engines that agree with the reference, and for no others."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

import biasgpu
from biasgpu import bench, engines
from biasgpu.cli.root import root
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.errors import UsageError
from biasgpu.sampling.screening import EngineError

TASK = biasgpu.task("kink", n_train=4)
NET = biasgpu.mlp(3, 1)


class _Wrong(ReferenceEngine):
    """Errs on one draw."""

    def screen(self, first_draw: int, n_draws: int) -> npt.NDArray[np.uint16]:
        found = super().screen(first_draw, n_draws)
        found[5:6] ^= 1
        return found


def test_what_is_measured() -> None:
    found = bench.measure(TASK, NET, "uniform", engine="reference", time_s=0.05)
    assert (found.engine, found.device, found.method) == ("reference", "cpu", "direct")
    assert found.n_candidates > 0 and found.n_candidates % 2 == 0
    assert found.elapsed_s >= 0.05
    assert found.candidates_per_s == pytest.approx(found.n_candidates / found.elapsed_s)
    low, median, best = (
        found.low_candidates_per_s, found.median_candidates_per_s, found.best_candidates_per_s,
    )  # fmt: skip
    assert low <= median <= best
    assert 0.99 * low <= found.candidates_per_s <= 1.01 * best
    assert (found.words_per_s, found.flops_per_s, found.about) == (0.0, 0.0, {})
    assert found.words_per_draw == 4 * (3 + 2)
    assert (found.borderline_share, found.kernels, found.ceilings) == (0.0, [], {})
    json.dumps(found.to_dict())


def test_no_speed_of_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engines.make

    def wrong(name: str, *parts: object, **options: object) -> object:
        engine = made("reference", *parts)  # type: ignore[arg-type]
        if name == "reference":
            return engine
        return _Wrong(engine.ensemble, engine.x_train, engine.y_train)

    monkeypatch.setattr(engines, "make", wrong)
    with pytest.raises(EngineError, match=f"disagrees with the reference on draw {2**40 + 5}"):
        bench.measure(TASK, NET, "uniform", engine="cpu", time_s=0.05)


@pytest.mark.parametrize("time_s", [0.0, -1.0, float("nan")])
def test_a_time_is_positive(time_s: float) -> None:
    with pytest.raises(UsageError, match="must be more than 0"):
        bench.measure(TASK, NET, time_s=time_s)


def test_the_command() -> None:
    arguments = ["bench", "--data", "kink", "--n-train", "4", "--width", "3", "--depth", "1"]
    arguments += ["--engine", "reference", "--method", "direct", "--time", "0.05s"]
    plain = CliRunner().invoke(root, arguments)
    assert plain.exit_code == 0, plain.output
    assert "a second" in plain.stdout and "agreed with the reference" in plain.stderr
    done = CliRunner().invoke(root, [*arguments, "--json"])
    assert json.loads(done.stdout)["n_checked"] == bench.CHECKED_DRAWS
