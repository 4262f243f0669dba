"""The verdict recovers what cells were made with, and drops nothing without a word."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from biasgpu import lenet, mlp, paper_mlp
from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError
from biasgpu.layers import Dense, Flatten, ReLU
from biasgpu.study import claims
from biasgpu.study.axes import comparisons, level_label, position, width_of
from biasgpu.study.cells import Cell, Way
from biasgpu.study.claims import Claim
from biasgpu.study.tables import Verdict
from biasgpu.study.verdict import verdict
from tests.study_cells import (
    DEPTHS,
    NARROWEST,
    THREE,
    WIDTHS,
    make_cell,
    make_study,
    without,
)

ALL = [lenet(width) for width in WIDTHS]
X = np.array([position(architecture, "width") for architecture in ALL])


def known(way: Way, place: int, n_train: int, seed: int) -> float:
    """SGD gains 4 points a doubling, guess and check 1; each N and data seed has its own level."""
    return 0.7 + 0.005 * n_train + 0.02 * seed + (0.04 if way == "sgd" else 0.01) * X[place]


def claim(found: Verdict, text: str) -> Claim:
    (one,) = [each for each in found.claims if each.text == text]
    return one


def test_widths_are_geometric_means_of_factors() -> None:
    assert width_of(lenet("2/6")) == pytest.approx(1 / 3)
    assert width_of(lenet(NARROWEST)) == pytest.approx(1 / 12)
    assert width_of(mlp(512)) == pytest.approx(512)
    assert width_of(mlp("inf")) == math.inf
    assert math.isnan(width_of(Architecture("linear", [Flatten()])))
    own = Architecture("own", [Flatten(), Dense(4), ReLU(), Dense(16), ReLU()])
    assert width_of(own) == pytest.approx(8)
    assert position(mlp(512), "width") == pytest.approx(9)
    assert position(lenet("2/6", "2c-1f"), "depth") == 2
    labels = [level_label(lenet(NARROWEST), "width"), level_label(own, "width")]
    assert labels == ["(1/6, 1/6, 1/24, 1/24)", "8"]


def test_known_slopes_are_found_exactly() -> None:
    cells = make_study(ALL, known, n=5, spread=0.0)
    found = verdict(cells, resamples=200)
    assert [row.n_train for row in found.slopes] == [2, 8, 16, None]
    for row in found.slopes:
        for quantity, slope in ((row.drawn_slope, 0.01), (row.trained_slope, 0.04)):
            assert quantity is not None and quantity.value == pytest.approx(slope, abs=1e-12)
            assert quantity.low == pytest.approx(slope, abs=1e-9)
        assert row.share is not None and row.share.value == pytest.approx(0.75, abs=1e-9)
        assert row.trained_gain is not None and row.trained_gain.value == pytest.approx(
            0.04 * (X[-1] - X[0]), abs=1e-12
        )
    assert found.slopes[-1].n_drawn == 5 * 5 * 3 * 4
    assert found.slopes[-1].data_seeds == (200, 201, 202, 203)


def test_missing_cells_tilt_nothing() -> None:
    # The widest lack the data seeds and N with the highest levels.
    cells = make_study(ALL, known, n=5, spread=0.0)
    kept = [
        cell
        for cell in cells
        if not (cell.architecture in ALL[3:] and (cell.data_seed == 203 or cell.n_train == 16))
    ]
    pooled = verdict(kept, resamples=200).slopes[-1]
    assert pooled.trained_slope is not None and pooled.share is not None
    assert pooled.trained_slope.value == pytest.approx(0.04, abs=1e-12)
    assert pooled.share.value == pytest.approx(0.75, abs=1e-9)
    # A gain needs both ends in one data seed: three of them have both.
    assert pooled.trained_gain is not None and pooled.trained_gain.n_seeds == 3


def test_noisy_slopes_lie_in_their_intervals() -> None:
    # Two independent 95 % intervals: the seed is fixed, and both hold the truth.
    pooled = verdict(make_study(ALL, known, n=40), resamples=400).slopes[-1]
    for found, slope in ((pooled.drawn_slope, 0.01), (pooled.trained_slope, 0.04)):
        assert found is not None and found.low is not None and found.high is not None
        assert found.low < slope < found.high
        # By least squares: 60 means of 40, spread 0.04, over a sum of squares of 5.6 each.
        error = 0.04 / math.sqrt(40) / math.sqrt(12 * float(((X - X.mean()) ** 2).sum()))
        assert 2 * error < found.high - found.low < 12 * error


def test_the_claims_about_width() -> None:
    def published(way: Way, place: int, n_train: int, seed: int) -> float:
        return 0.8 + 0.01 * seed + (0.03 * X[place] if way == "sgd" else 0.0)

    found = verdict(make_study(ALL, published, n=60), resamples=400)
    assert claim(found, claims.WIDER_SGD).decision == "holds"
    assert claim(found, claims.WIDTH_DRAWN).decision == "holds"
    assert claim(found, claims.DEEPER).decision == "not tested"
    assert claim(found, claims.ALIKE).decision == "not tested"
    other = verdict(make_study(ALL, lambda w, p, n, s: 0.8 + 0.03 * X[p], n=60), resamples=400)
    assert claim(other, claims.WIDTH_DRAWN).decision == "does not hold"
    noisy = verdict(make_study(ALL, published, n=3, spread=0.2), resamples=400)
    assert claim(noisy, claims.WIDTH_DRAWN).decision == "not decided"


def test_the_claim_about_depth() -> None:
    depths = [lenet("2/6", depth) for depth in DEPTHS]
    cells = make_study(depths, lambda w, p, n, s: 0.9 - 0.04 * p, n=30, spread=0.02)
    found = verdict(cells, resamples=400)
    assert claim(found, claims.DEEPER).decision == "holds"
    slope = found.slopes[-1].trained_slope
    assert slope is not None and slope.value == pytest.approx(-0.04, abs=0.005)
    alone = [cell for cell in cells if cell.way == "sgd"]
    untested = claim(verdict(alone, resamples=400), claims.DEEPER)
    assert untested.decision == "not tested" and "guess and check has no two" in untested.note


def test_sgd_from_the_prior_beside_guess_and_check() -> None:
    cells = make_study(THREE, lambda w, p, n, s: 0.8 + 0.05 * s + 0.03 * p, n=60)
    moved = [
        make_cell(
            cell.test_accuracy + (0.004 if cell.way == "sgd" else 0.0),
            way=cell.way,
            architecture=cell.architecture,
            prior="uniform",
            data_seed=cell.data_seed,
            n_train=cell.n_train,
        )
        for cell in cells
    ]
    alike = claim(verdict(moved, resamples=400), claims.ALIKE)
    assert alike.decision == "holds"
    found = alike.found["SGD minus guess and check"]
    # 36 means of 60 on either side, spread below 0.04: five standard errors.
    assert found.value == pytest.approx(0.004, abs=5 * 0.04 * math.sqrt(2 / (36 * 60)))
    assert claim(verdict(moved, resamples=400, margin=0.001), claims.ALIKE).decision != "holds"


def test_no_share_where_sgd_may_gain_nothing() -> None:
    found = verdict(make_study(ALL, lambda *_: 0.8, n=20), resamples=400).slopes[-1]
    assert found.share is None
    assert "interval of SGD's slope contains 0" in found.note
    assert (
        verdict(make_study(ALL, lambda *_: 0.8, n=20), resamples=400).table()[1][5] == "undefined"
    )


def test_one_data_seed_is_said() -> None:
    found = verdict(make_study(ALL, known, n=20, data_seeds=[200]), resamples=400)
    note = "one data seed: the interval covers networks alone"
    assert all(note in row.note for row in found.slopes)
    assert note in claim(found, claims.WIDER_SGD).note


def test_what_is_left_out_is_listed() -> None:
    cells = make_study(THREE, lambda *_: 0.8, n=4)
    cells = without(cells, lambda cell: cell.way == "sgd" and cell.architecture == THREE[1])
    accuracy = np.array([0.9, math.nan, 0.8, 0.7])
    cells[0] = make_cell(accuracy, architecture=THREE[0], n_train=2, problem="stopped by time")
    found = verdict(cells, resamples=100)
    assert len(found.left_out) == 13
    assert found.n_cells == len(cells)
    assert "no networks (no fit in time)" in found.left_out[1]
    assert "4 networks; stopped by time; 1 of 4 networks have no test accuracy" in found.left_out[0]
    assert found.markdown().count("no networks (no fit in time)") == 12


def test_infinite_widths_and_linear_classifiers_count_in_no_slope() -> None:
    wide = [mlp(64), mlp(256), mlp("inf")]
    found = verdict(
        make_study(wide, lambda w, p, n, s: 0.7 + 0.02 * min(p, 1), n=5, spread=0.0), resamples=100
    ).slopes[-1]
    assert found.drawn_slope is not None and found.drawn_slope.value == pytest.approx(0.01)
    assert "infinite width counts in no slope" in found.note
    depths = [mlp(64, depth) for depth in (0, 1, 2)]
    steps = verdict(make_study(depths, lambda w, p, n, s: 0.7 + 0.01 * p, n=5), resamples=100)
    assert steps.slopes[-1].axis == "depth" and len(steps.slopes[-1].levels) == 3


def grid() -> list[Cell]:
    architectures = [paper_mlp(width, depth) for width in ("2/6", "4/6") for depth in (1, 2)]
    return make_study(architectures, lambda *_: 0.8, n=3, n_trains=[4])


def test_comparisons_hold_all_else_equal() -> None:
    assert [one.labels for one in comparisons(grid(), "width")] == [["2/6", "4/6"]] * 2
    assert [one.labels for one in comparisons(grid(), "depth")] == [["1", "2"]] * 2
    more = [*grid(), *make_study([lenet("1/6")], lambda *_: 0.8, n=3)]
    assert len(comparisons(more, "width")) == 2
    priors = [
        make_cell([0.8, 0.9], architecture=architecture, prior=prior)
        for architecture in THREE
        for prior in ("uniform", "normal")
    ]
    assert len(comparisons(priors, "width")) == 2
    tasks = [
        make_cell([0.8, 0.9], architecture=architecture, task=task)
        for architecture in THREE
        for task in ("mnist 7 vs 0", "mnist 2 vs 5")
    ]
    assert [len(one.cells) for one in comparisons(tasks, "width")] == [3, 3]


def test_the_order_of_cells_does_not_matter() -> None:
    cells = make_study(THREE, known, n=5)
    forward, backward = (verdict(each, resamples=100) for each in (cells, cells[::-1]))
    assert forward.to_dict() == backward.to_dict()
    assert verdict(cells, resamples=100, seed=1).to_dict() != forward.to_dict()


def test_forms() -> None:
    found = verdict([*make_study(ALL, known, n=5), *grid()], resamples=100)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text) == found.to_dict()
    for rows in (found.table(), found.table(every_n=True), found.claims_table()):
        assert len({len(row) for row in rows}) == 1
        assert all(isinstance(entry, str) for row in rows for entry in row)
    assert len(found.table()) == 1 + 5
    assert len(found.table(every_n=True)) == 1 + 4 + 2 * 4
    page = found.markdown()
    assert page.startswith("## Claims\n\n| claim |")
    assert "95 % intervals from 100 bootstrap resamples" in page
    assert "pp per doubling" in page and "Cells that lack" not in page


def test_refusals() -> None:
    cells = make_study(THREE, lambda *_: 0.8, n=2)
    refused: list[tuple[list[Cell], dict[str, Any], str]] = [
        ([], {}, "no cell to judge"),
        ([*cells, cells[0]], {}, "2 cells for guess-and-check"),
        (cells, {"resamples": 99}, "resamples is 99"),
        (cells, {"confidence": 1.0}, "confidence is 1.0"),
        (cells, {"margin": 0.0}, "margin is 0.0"),
    ]
    for given, options, said in refused:
        with pytest.raises(UsageError, match=said) as caught:
            verdict(given, **options)
        assert caught.value.why and caught.value.fix
