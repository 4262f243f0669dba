"""Histograms, boxes and gradient norms show every network once, or say what they leave out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest

from biasgpu import figures, lenet
from biasgpu.errors import BiasgpuError, UsageError
from biasgpu.study.cells import Cell
from tests.study_cells import (
    THREE,
    by,
    make_cell,
    make_study,
    note,
    rising,
    study,
    without,
)

if TYPE_CHECKING:
    pass


def data(line: Any) -> tuple[list[float], list[float]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in line.get_data())
    return x.tolist(), y.tolist()


def losses(n: int = 50) -> list[Cell]:
    """Three architectures, two ways, one N, with losses; two networks of each cell are outside."""
    rng = np.random.default_rng(4)
    cells = []
    for way in ("guess-and-check", "sgd"):
        for architecture in THREE:
            loss = rng.uniform(0.2, 0.6, n)
            loss[0], accuracy = 0.9, rng.uniform(0.5, 1.0, n)
            accuracy[1] = 0.1
            cells.append(
                make_cell(
                    accuracy,
                    way=way,
                    architecture=architecture,
                    n_train=16,
                    normalized_loss=loss,
                    weight_normalized_loss=0.69 + 0.001 * loss,
                )
            )
    return cells


def test_histograms_count_every_network_once() -> None:
    cells = losses()
    figure = figures.histogram(cells)
    grid = figure.axes[:6]
    for axes, cell in zip(grid, cells, strict=True):
        mesh: Any = axes.collections[0]
        assert mesh.get_array().sum() == 48
        assert (mesh.norm.vmin, mesh.norm.vmax) == (1.0, grid[0].collections[0].norm.vmax)
        assert axes.get_xlim() == (0.0, 0.7) and axes.get_ylim() == (0.4, 1.0)
        mean = cell.test_accuracy.mean()
        assert f"mean {mean:.3f}, n = 50" in axes.get_title()
        assert "2 outside" in [text.get_text() for text in axes.texts]
        assert data(axes.get_lines()[0])[1] == [mean, mean]
    assert [axes.get_title().split("\n")[0] for axes in grid[:3]] == [
        "width 1/6",
        "width 2/6",
        "width 4/6",
    ]
    assert "guess and check" in grid[0].get_ylabel() and "SGD" in grid[3].get_ylabel()
    assert "N = 16" in figure.get_suptitle()


def test_means_by_bin_of_the_loss() -> None:
    loss = np.array([0.21] * 5 + [0.27] * 4 + [0.7] * 6)
    accuracy = np.linspace(0.5, 0.9, 15)
    cell = make_cell(accuracy, normalized_loss=loss)
    x, y = data(figures.histogram([cell]).axes[0].get_lines()[-1])
    assert x == pytest.approx(np.arange(14) * 0.05 + 0.025)
    # Four networks are too few for a mean; a loss at the end of the range is in its last bin.
    assert np.flatnonzero(np.isfinite(y)).tolist() == [4, 13]
    assert (y[4], y[13]) == pytest.approx((accuracy[:5].mean(), accuracy[9:].mean()))


def test_weight_normalised_losses_choose_one_range_for_all() -> None:
    figure = figures.histogram(losses(400), loss="weight-normalized", bins=20)
    limits = {axes.get_xlim() for axes in figure.axes[:6]}
    assert len(limits) == 1
    low, high = limits.pop()
    assert 0.690 < low < 0.6903 and 0.6905 < high < 0.692
    equal = make_cell([0.9, 0.8], weight_normalized_loss=np.full(2, 0.69))
    assert figures.histogram([equal], loss="weight-normalized").axes[0].get_xlim()[0] < 0.69


def test_columns_are_what_differs() -> None:
    cells = [
        make_cell([0.9] * 5, way=way, prior=prior, normalized_loss=np.full(5, 0.5))
        for way in ("guess-and-check", "sgd")
        for prior in ("uniform", "uniform:0.2")
    ]
    figure = figures.histogram(cells, rows=["sgd"])
    assert [a.get_title().split("\n")[0] for a in figure.axes[:2]] == ["uniform", "uniform:0.2"]
    assert len(figure.axes) == 3  # and the colour bar
    epochs = [
        make_cell([0.9] * 5, way="sgd", normalized_loss=np.full(5, 0.5), about={"epochs": n})
        for n in (1, 60)
    ]
    heads = [a.get_title().split("\n")[0] for a in figures.histogram(epochs).axes[:2]]
    assert heads == ["1 epoch", "60 epochs"]


def test_what_was_not_measured_is_said() -> None:
    cells = losses()
    cells[1] = replace(cells[1], normalized_loss=None)
    nan = np.array(cells[4].normalized_loss)
    nan[5:9] = np.nan
    cells[4] = replace(cells[4], normalized_loss=nan, problem="stopped by time")
    figure = figures.histogram(cells)
    assert "Not measured: 50 of guess and check, width 2/6." in note(figure)
    assert "Not measured: 4 of SGD, width 2/6." in note(figure)
    assert "stopped by time" in note(figure)
    assert "no networks" in [text.get_text() for text in figure.axes[1].texts]


def test_boxes_are_quartiles_with_their_numbers_below() -> None:
    cells = without(study(), lambda cell: cell.way == "sgd" and cell.architecture == THREE[2])
    figure = figures.boxes(cells, n_train=8)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["24", "24", "24", "24", "24", "0"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1/6", "2/6", "4/6"]
    medians = sorted(
        float(np.median(np.concatenate([c.test_accuracy for c in by(cells, way, place, 8)])))
        for way, place in (("guess-and-check", 0), ("guess-and-check", 1), ("sgd", 1), ("sgd", 0))
    )
    level = [data(line)[1] for line in axes.get_lines() if line.get_linewidth() == 1.3]
    drawn = sorted(y[0] for y in level)
    assert len(drawn) == 5
    assert all(any(abs(value - found) < 1e-12 for found in drawn) for value in medians)
    assert axes.get_ylim()[0] < min(cell.test_accuracy.min() for cell in cells if cell.n_networks)
    assert "No networks: SGD 4/6" in note(figure)
    legend = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert legend == ["guess and check, uniform", "SGD from kaiming-uniform"]


def test_boxes_of_both_axes() -> None:
    cells = make_study([*THREE, lenet("2/6", "2c-1f")], rising, n=3, n_trains=[4])
    assert len(figures.boxes(cells, n_train=4).axes) == 2
    assert len(figures.boxes(cells, n_train=4, over="depth").axes) == 1


def test_gradient_norms_are_medians_with_quartiles() -> None:
    norms = np.exp(np.random.default_rng(0).normal(size=(9, 4)))
    norms[4:, 3] = np.nan  # stopped before the last epoch
    cells = [
        make_cell(np.full(9, 0.9), way="sgd", prior="uniform", gradient_norms=norms),
        make_cell(np.full(9, 0.9), way="sgd", gradient_norms=np.full((9, 3), 0.5)),
        make_cell(np.full(9, 0.9), way="sgd", prior="normal"),
        make_cell([0.9]),
    ]
    figure = figures.gradient_norms(cells)
    axes = figure.axes[0]
    first, second = (data(line) for line in axes.get_lines())
    assert first[0] == [0, 1, 2, 3]
    assert first[1] == pytest.approx(np.nanmedian(norms, axis=0).tolist())
    assert second == ([0, 1, 2], [0.5] * 3)
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert band[:, 1].max() == pytest.approx(np.nanquantile(norms, 0.75, axis=0).max())
    assert axes.get_yscale() == "log"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["uniform (9)", "kaiming-uniform (9)"]
    assert "1 trained cells have no gradient norms" in note(figure)


DRAW = {
    "curves": figures.curves,
    "histogram": figures.histogram,
    "boxes": figures.boxes,
    "gradient_norms": figures.gradient_norms,
}


@pytest.mark.parametrize("name", DRAW)
def test_refusals_say_why_and_how_to_go_on(name: str) -> None:
    for cells in ([], [make_cell([0.9])], [make_cell([])]):
        with pytest.raises(BiasgpuError) as caught:
            DRAW[name](cells)
        assert caught.value.why and caught.value.fix


def test_more_refusals() -> None:
    with pytest.raises(UsageError, match="2 cells for sgd"):
        figures.histogram([make_cell([0.9], way="sgd")] * 2)
    with pytest.raises(UsageError, match="no cell has n_train 6"):
        figures.boxes(study(), n_train=6)
    with pytest.raises(UsageError, match="unknown loss"):
        figures.histogram(losses(), loss="lipschitz")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="bins is 1"):
        figures.histogram(losses(), bins=1)
    with pytest.raises(UsageError, match="unknown row"):
        figures.histogram(losses(), rows=["adam"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="unknown axis"):
        figures.curves(study(), over="height")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="no comparison over depth"):
        figures.curves(study(), over="depth")


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_all_are_written_in_all_formats(ending: str, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    cells = study(measures=True, n_trains=[4, 8])
    heads = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    for name, draw in DRAW.items():
        path = figures.save(draw(cells), tmp_path / f"{name}.{ending}")
        assert path.read_bytes().startswith(heads[ending])
    assert dict(matplotlib.rcParams) == before
