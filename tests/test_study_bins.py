"""Test accuracy by bin of weight-normalised loss, from cells: table, figure, command line."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import biasgpu
from biasgpu import estimates, figures, lenet
from biasgpu.cli.root import root
from biasgpu.errors import UsageError
from biasgpu.study.bins import bins_table, edges, loss_bins
from biasgpu.study.draw import draw
from tests.study_cells import make_cell

ACCURACY = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
LOSS = np.array([0.30, 0.31, 0.35, 0.42, np.nan])


def cell(**rest: Any) -> Any:
    return make_cell(rest.pop("accuracy", ACCURACY), **{"weight_normalized_loss": LOSS, **rest})


def test_bins_have_their_upper_border_and_know_decimals() -> None:
    assert edges().tolist() == [0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65]
    cifar = edges(None, "cifar10 bird vs ship")
    assert cifar.tolist() == [0.55, 0.57, 0.59, 0.61, 0.63, 0.65, 0.67]
    assert edges([0.1, 0.5]).tolist() == [0.1, 0.5]
    rows = loss_bins([cell()], "0.30:0.45:0.05")
    assert [row.n_networks for row in rows] == [2, 0, 1]  # 0.30 lies below the first, 0.35 in it
    assert {row.n_measured for row in rows} == {4}
    first = estimates.summary([0.8, 0.7])
    assert (rows[0].test_accuracy, rows[0].test_accuracy_low) == (first.mean, first.low)
    assert (rows[0].share_low, rows[0].share_high) == estimates.clopper_pearson(2, 4)
    assert rows[2].test_accuracy == 0.6 and rows[2].test_accuracy_low is None


def test_each_data_set_has_its_own_bins() -> None:
    both = loss_bins([cell(task="mnist 7 vs 0"), cell(task="cifar10 bird vs ship")])
    for task in ("mnist 7 vs 0", "cifar10 bird vs ship"):
        mine = [(row.low, row.high) for row in both if row.task == task]
        borders = edges(None, task).tolist()
        assert mine == list(pairwise(borders))


def test_what_was_not_reached_has_a_bound() -> None:
    empty = loss_bins([cell()], "0.30:0.45:0.05", confidence=0.9)[1]
    assert empty.share == 0 and empty.share_low == 0 and empty.test_accuracy is None
    assert (1 - empty.share_high) ** 4 == pytest.approx(0.1, rel=1e-12)
    header, line = bins_table(loss_bins([cell()], "0.30:0.45:0.05"))
    assert header[3:] == ("networks", "0.3 to 0.35", "0.35 to 0.4", "0.4 to 0.45")
    assert line[2:4] == ("guess and check, uniform", "4")
    assert line[5] == "not reached (< 0.53)" and line[6] == "60.0 % (1)"
    json.dumps(empty.to_dict())


def test_several_data_seeds_count_by_their_means() -> None:
    two = [cell(), cell(data_seed=201, accuracy=np.array([0.9, 0.6, 0.6, 0.6, 0.5]))]
    row = loss_bins(two, "0.30:0.45:0.05")[0]
    means = estimates.summary([0.75, 0.6])
    assert (row.n_networks, row.test_accuracy, row.test_accuracy_high) == (
        4,
        means.mean,
        means.high,
    )


def test_ways_and_widths_are_kept_apart() -> None:
    cells = [
        cell(architecture=lenet("4/6")),
        cell(),
        cell(way="sgd", optimizer="pattern-search"),
        cell(way="sgd"),
        cell(way="sgd", weight_normalized_loss=None, prior="uniform"),
    ]
    rows = loss_bins(cells, "0.30:0.45:0.15")
    assert [str(row.architecture.options["width"]) for row in rows] == ["2/6"] * 3 + ["4/6"]
    assert [row.way for row in rows] == ["guess-and-check", "sgd", "sgd", "guess-and-check"]
    assert len({row.source for row in rows}) == 3
    figure = figures.bins(cells, bins="0.30:0.45:0.05")
    panels = figure.get_axes()
    assert [axes.get_title().split(",")[1] for axes in panels] == [" width 2/6", " width 4/6"]
    counts = [text.get_text() for text in panels[0].texts]
    assert counts == ["2", "0", "1"] * 3
    line = panels[1].lines[0]
    assert np.asarray(line.get_ydata())[0] == pytest.approx(0.75)
    assert list(draw(cells, "bins", bins="0.30:0.45:0.05")[0]) == ["bins-n8"]


def test_what_cannot_be_is_refused() -> None:
    for bad in ("0.3:0.65", "0.3:0.65:0.1", "0.6:0.3:0.05", "a:b:c", "0:1:0", [0.3], [0.4, 0.3]):
        with pytest.raises(UsageError, match="bins are"):
            edges(bad)
    with pytest.raises(UsageError, match="no cell"):
        loss_bins([replace(cell(), weight_normalized_loss=None)])


def test_the_command_line_shows_and_draws_them(tmp_path: Path) -> None:
    study = tmp_path / "study"
    biasgpu.compare(
        data="kink", arch="mlp", widths=[4], n_train=4, n=[4], fits=20, trained=5, networks=20,
        engine="reference", optimizer="greedy-random", epochs=1, output=study,
    )  # fmt: skip
    shown = CliRunner().invoke(root, ["show", str(study), "--bins", "0.00:0.70:0.35", "--json"])
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)["bins"]
    assert [row["way"] for row in found] == ["guess-and-check"] * 2 + ["sgd"] * 2
    assert found[2]["source"].startswith("greedy-random from kaiming-uniform")
    table = CliRunner().invoke(root, ["show", str(study), "--bins"])
    assert table.exit_code == 0 and "0.3 to 0.35" in table.stdout
    path = tmp_path / "bins.png"
    options = ["--kind", "bins", "--bins", "0.00:0.70:0.35", "-o", str(path)]
    drawn = CliRunner().invoke(root, ["plot", str(study), *options])
    assert drawn.exit_code == 0 and path.stat().st_size > 0, drawn.stderr
    refused = CliRunner().invoke(root, ["show", str(tmp_path / "run.h5"), "--bins"])
    assert refused.exit_code == 2 and "for studies" in refused.stderr
