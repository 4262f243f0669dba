"""Figures of a study draw what the cells hold, and say what they lack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest

from biasgpu import figures, lenet, mlp, paper_mlp
from biasgpu.errors import UsageError
from biasgpu.figures.style import sequential
from biasgpu.study.cells import Way
from tests.study_cells import (
    DEPTHS,
    NARROWEST,
    THREE,
    WIDTHS,
    by,
    make_study,
    note,
    rising,
    study,
    without,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def data(line: Any) -> tuple[list[float], list[float]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in line.get_data())
    return x.tolist(), y.tolist()


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Lines through points, without bars' caps and without reference lines."""
    return [data(line) for line in drawn_lines(axes)]


def drawn_lines(axes: Axes) -> list[Any]:
    containers: list[Any] = axes.containers
    return [container.lines[0] for container in containers if container.lines[0] is not None]


def bars(axes: Axes, place: int) -> np.ndarray:
    """Half lengths of the bars of one line."""
    container: Any = axes.containers[place]
    segments = container.lines[2][0].get_segments()
    return np.array([np.ptp(segment[:, 1]) / 2 for segment in segments])


def panels(figure: Figure) -> list[Axes]:
    return list(figure.axes)


def test_curves_are_means_over_data_seeds_with_their_standard_errors() -> None:
    cells = study()
    drawn, trained, bits = panels(figures.curves(cells))
    ways: list[tuple[Axes, Way]] = [(drawn, "guess-and-check"), (trained, "sgd")]
    for axes, way in ways:
        assert len(lines(axes)) == 3
        for place, (x, y) in enumerate(lines(axes)):
            assert x == [2, 8, 16]
            for n_train, mean, bar in zip(x, y, bars(axes, place), strict=True):
                means = [c.test_accuracy.mean() for c in by(cells, way, place, int(n_train))]
                assert len(means) == 4
                assert mean == pytest.approx(np.mean(means), rel=1e-12)
                assert bar == pytest.approx(np.std(means, ddof=1) / 2, rel=1e-9)
    for place, (x, y) in enumerate(lines(bits)):
        known = [by(cells, "guess-and-check", place, int(n))[0].estimate.minus_log2 for n in x]
        assert y == pytest.approx(known, rel=1e-12)
    assert drawn.get_ylim() == trained.get_ylim()
    assert "means over 4 data seeds; bars: standard errors over them" in note(figures.curves(cells))
    assert "No networks" not in note(figures.curves(cells))


def test_open_markers_for_guess_and_check_and_filled_for_sgd() -> None:
    drawn, trained, _ = panels(figures.curves(study()))
    for axes, is_open in ((drawn, True), (trained, False)):
        for line in drawn_lines(axes):
            assert (line.get_markerfacecolor() == "white") is is_open
        markers = [line.get_marker() for line in drawn_lines(axes)]
        assert len(set(markers)) == 3


def test_one_data_seed_is_said_and_drawn_otherwise() -> None:
    cells = study(data_seeds=[200])
    figure = figures.curves(cells)
    assert "One data seed: bars are standard errors over networks" in note(figure)
    values = by(cells, "guess-and-check", 1, 8)[0].test_accuracy
    assert bars(figure.axes[0], 1)[1] == pytest.approx(values.std(ddof=1) / np.sqrt(6), rel=1e-9)
    found = by(cells, "guess-and-check", 1, 8)[0].estimate
    assert found.minus_log2_low is not None and found.minus_log2_high is not None
    length = found.minus_log2_high - found.minus_log2_low
    assert bars(figure.axes[2], 1)[1] == pytest.approx(length / 2, rel=1e-9)


def test_a_cell_without_networks_leaves_a_gap_an_arrow_and_a_note() -> None:
    cells = without(
        study(),
        lambda cell: (
            (cell.way, cell.architecture, cell.n_train) == ("guess-and-check", THREE[2], 16)
            or (cell.way, cell.architecture, cell.n_train, cell.data_seed)
            == ("sgd", THREE[0], 8, 201)
        ),
    )
    figure = figures.curves(cells)
    drawn, trained, bits = panels(figure)
    assert np.isnan(lines(drawn)[2][1]).tolist() == [False, False, True]
    assert np.isfinite(lines(trained)[0][1]).all()  # three of four data seeds
    assert np.isnan(lines(bits)[2][1]).tolist() == [False, False, True]
    containers: list[Any] = bits.containers
    arrows = [container for container in containers if container.lines[0] is None]
    assert len(arrows) == 1
    empty = by(cells, "guess-and-check", 2, 16)[0].estimate
    bound = empty.minus_log2_low
    assert bound is not None
    start = arrows[0].lines[2][0].get_segments()[0][:, 1].min()
    assert start == pytest.approx(bound, rel=1e-12)
    said = note(figure)
    assert "No networks: guess and check 4/6 at N = 16." in said
    assert "No networks: SGD 1/6 at N = 8 (data seed 201)." in said
    assert "Arrows: lower bounds." in said


def test_comparisons_without_any_network_are_not_drawn() -> None:
    cells = study()
    lost = [replace(cell, task="cifar10 bird vs ship") for cell in without(study(), lambda _: True)]
    for draw in (figures.curves, figures.boxes):
        figure = draw([*cells, *lost])
        assert len(figure.subfigs) == 1
        assert "Not drawn, without networks: lenet depth 2c-3f, cifar10 bird vs" in note(figure)
        assert "No networks" not in note(figure)
    assert len(figures.curves(lost).subfigs) == 1  # nothing else to draw: its bounds of P


def test_a_way_has_the_n_that_it_was_run_at() -> None:
    cells = [cell for cell in study() if cell.way == "guess-and-check" or cell.n_train == 16]
    drawn, trained, _ = panels(figures.curves(cells))
    assert [x for x, _ in lines(drawn)] == [[2, 8, 16]] * 3
    assert [x for x, _ in lines(trained)] == [[16]] * 3
    alone = figures.curves([cell for cell in cells if cell.way == "guess-and-check"])
    assert "no cells of SGD" in [text.get_text() for text in alone.axes[1].texts]


def test_reference_lines_and_limits() -> None:
    low = make_study(THREE, lambda *_: 0.5, n=6)
    drawn, _, bits = panels(figures.curves(low))
    assert ([0, 16], [0, 16]) in [data(line) for line in bits.get_lines()]
    assert [0.5, 0.5] in [data(line)[1] for line in drawn.get_lines()]  # chance
    assert "Dotted: chance" in note(figures.curves(low))
    assert "Dotted" not in note(figures.curves(study()))
    for axes in (drawn, bits):
        assert axes.get_xlim()[1] > 16


def test_rows_are_comparisons_and_labels_are_in_the_order_of_the_axis() -> None:
    cells = make_study([lenet(width) for width in reversed(WIDTHS)], rising, n=4)
    cells += make_study([mlp(width, 2) for width in (512, 64)], rising, n=4)
    figure = figures.curves(cells)
    assert len(figure.axes) == 6
    legends = [[t.get_text() for t in sub.legends[0].get_texts()] for sub in figure.subfigs]
    assert legends[0] == [
        f"width ({NARROWEST.replace(',', ', ')})",
        *map("width {}".format, WIDTHS[1:]),
    ]
    assert legends[1] == ["width 64", "width 512"]
    depths = make_study([lenet("2/6", depth) for depth in DEPTHS], rising, n=4)
    figure = figures.curves(depths, over="depth", labels=["a", "b", "c", "d"])
    assert [t.get_text() for t in figure.subfigs[0].legends[0].get_texts()] == list("abcd")
    with pytest.raises(UsageError, match="2 labels for 4 depths"):
        figures.curves(depths, over="depth", labels=["a", "b"])


def test_many_notes_are_cut_and_counted() -> None:
    architectures = [paper_mlp(f"{k}/12") for k in range(1, 12)]
    cells = make_study(architectures, rising, n=2, n_trains=[2, 4], data_seeds=[200, 201])
    figure = figures.curves(without(cells, lambda cell: cell.n_train == 4))
    assert "more such notes" in note(figure)


def test_ordered_colours_grow_lighter_evenly() -> None:
    for n in (1, 2, 5, 9):
        rgb = np.array([matplotlib.colors.to_rgb(colour) for colour in sequential(n)])  # pyright: ignore[reportAttributeAccessIssue]
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
        steps = np.diff(lightness)
        assert len(rgb) == n and lightness.max() < 85  # seen on white
        assert (steps > 0.8 * 60 / max(n - 1, 1)).all()


def test_a_long_list_of_missing_cells_is_counted() -> None:
    cells = study(n_trains=(2, 4, 6, 8, 10, 12, 14), data_seeds=(200, 201))
    cells = without(cells, lambda cell: cell.way == "sgd" and cell.data_seed == 201)
    said = note(figures.curves(cells))
    assert "7 cells." in said
    assert "data seed 201" not in said
    assert len(said) < 700
