"""What an experiment will take: the numbers that probes give, put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biasgpu.experiments import plan as plans
from biasgpu.experiments.plan import plan
from biasgpu.experiments.probe import Pace, Probe, Screening, extrapolated
from biasgpu.study import Study, family


class Known:
    """Probes that answer at once."""

    def __init__(self, study: Study, **_: Any) -> None:
        self.task_s = 0.5
        self.asked: list[tuple[str, int]] = []
        ALL.append(self)

    def close(self) -> None:
        pass

    def drawn(self, job: Any) -> Pace:
        self.asked.append(("drawn", job.n_train))
        return Pace(2.0, 0.5)

    def screened(self, job: Any, seconds: float) -> Screening:
        self.asked.append(("screened", job.data_seed))
        return Screening(1024.0, 10.0, True)

    def trained(self, job: Any) -> Pace:
        self.asked.append(("trained", job.n_train))
        return Pace(1.0, 0.1 * job.n_train, 1.0 if job.n_train < 8 else 0.5)


ALL: list[Known] = []
STUDY = Study(
    data="kink", architectures=family("mlp", [4, 6], bias="prior"), n_train=8, fits=10, trained=20,
    time_s=None, data_seeds=(1, 2),
)  # fmt: skip


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[Known]:
    ALL.clear()
    monkeypatch.setattr(plans, "Probe", Known)
    return ALL


def test_seconds_of_every_file(known: list[Known], tmp_path: Path) -> None:
    made = plan({"study": STUDY}, tmp_path, n_figures=3)
    assert made.n_files == len(made.items) == 2 * 2 * 5
    by_n = {item.job.n_train: item.seconds or 0.0 for item in made.items if item.job.way == "sgd"}
    # 1 s, half of a task, and 20 networks of 0.1 N s; N = 2 (all fit) to 8 (half) in a line.
    shares = {2: 1.0, 4: 5 / 6, 6: 4 / 6, 8: 0.5}
    assert by_n == pytest.approx({n: 1.25 + 20 * 0.1 * n / share for n, share in shares.items()})
    drawn = [item.seconds or 0.0 for item in made.items if item.job.way != "sgd"]
    # 2 s, half of a task, 10 x 2^10 candidates at 1,024 a second, and 10 networks at each of 4 N.
    assert drawn == pytest.approx([2.25 + 10 + 40 * 0.5] * 4)
    assert made.seconds == pytest.approx(
        sum(drawn)
        + 4 * sum(by_n.values())
        + plans.VERDICT_S
        + 3 * plans.FIGURE_S
        + 20 * plans.READ_S
    )
    (probe,) = known
    assert probe.asked.count(("drawn", 8)) == 2  # once an architecture
    assert sorted(seed for what, seed in probe.asked if what == "screened") == [1, 1, 2, 2]
    assert sorted(n for what, n in probe.asked if what == "trained") == [2, 2, 8, 8]


def test_limits_end_files(known: list[Known], tmp_path: Path) -> None:
    from dataclasses import replace

    limited = plan({"study": replace(STUDY, time_s=20.0)}, tmp_path)
    assert [item.seconds for item in limited.items if item.job.way != "sgd"] == [20.0] * 4
    assert {item.limited for item in limited.items if item.job.way != "sgd"} == {True}
    few = plan({"study": replace(STUDY, candidates=1024, networks=5, n=(8,))}, tmp_path)
    assert [item.seconds for item in few.items[:2]] == pytest.approx(
        [2.25 + 1 + 10 * 0.5, 1.25 + 5 * 0.8]
    )


def test_nothing_is_measured_where_nothing_is_left(known: list[Known], tmp_path: Path) -> None:
    made = plan({"study": STUDY}, tmp_path, chosen=lambda part, job: False)
    assert (made.items, made.n_left_out, made.seconds) == ((), 20, None)
    assert known == []


def test_fit_probabilities_go_on_in_a_line() -> None:
    assert extrapolated([], 12) == 12.0
    assert extrapolated([(2, 3.0)], 6) == pytest.approx(3.0 + 1.5 * 4)
    # The curve bends: only its last points count.
    bits = [(n, 2.0 * n if n < 8 else 16 + 0.5 * (n - 8)) for n in range(2, 18, 2)]
    assert extrapolated(bits, 30) == pytest.approx(16 + 0.5 * 22)
    assert extrapolated([(2, 5.0), (4, 4.0)], 8) == 4.0


def test_probes_measure_what_is_there() -> None:
    study = Study(
        data="slab", architectures=family("mlp", [6], bias="prior"), n_train=4, n=(4,), fits=5000,
        trained=50, epochs=3, learning_rate=0.2, measures=False,
    )  # fmt: skip
    probe = Probe(study, engine="reference")
    try:
        drawn, trained = plans.jobs(study)
        found = probe.screened(drawn, 0.1)
        # 6 fits or more tell P to a factor of 8: where the mean is 0.75, they come with 1.3e-4,
        # and the stream is the same every time.
        from biasgpu import sample, task

        right = sample(task("slab", n_train=4), study.architectures[0], "uniform", seed=3,
                       candidates=4000, engine="reference", curve_fits=0)  # fmt: skip
        assert right.fit_probability is not None
        assert found.measured
        assert abs(found.bits + np.log2(right.fit_probability)) < 3.0
        assert found.candidates_per_s > 0
        pace = probe.trained(trained)
        assert pace.start_s >= 0 and pace.network_s > 0 and 0 < pace.success <= 1
    finally:
        probe.close()
