"""Box plots of test accuracy by width or depth, guess and check beside SGD.

Source: the box plots in the appendix of Peleg and Hein, ICML 2024.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biasgpu.errors import UsageError
from biasgpu.figures.study.common import (
    chosen_n_train,
    finite_accuracy,
    found_comparisons,
    missing,
    way_title,
    with_networks,
    write_notes,
)
from biasgpu.figures.style import COLOURS, FULL_WIDTH_IN, SETTINGS
from biasgpu.study.axes import AXES, Axis, Comparison, at_the_end, comparisons
from biasgpu.study.cells import WAYS, Cell, Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ROW_IN, NOTES_IN = 2.75, 0.35
BOX, APART = 0.32, 0.19
FILLS = {"guess-and-check": "white", "sgd": "#F2B48C"}
EDGES = {"guess-and-check": COLOURS[0], "sgd": COLOURS[1]}


def boxes(cells: Sequence[Cell], *, n_train: int | None = None, over: Axis | None = None) -> Figure:
    """A pair of boxes for each width or depth: guess and check (white) and SGD (filled).

    Boxes are quartiles with the median, whiskers reach the last network within 1.5 times the
    box's height, points are the others; data seeds are taken together. Below each box is its
    number of networks.

    Args:
        cells: of one study or of several.
        n_train: the N; None takes the largest.
        over: "width" or "depth"; None draws every comparison there is.

    Returns:
        a figure; `biasgpu.figures.save` writes it.

    Raises:
        UsageError: no cells, or nothing to compare.

    Source:
        Peleg and Hein, ICML 2024, appendix.
    """
    import matplotlib
    from matplotlib.figure import Figure

    n_shown = chosen_n_train(cells, n_train)
    at = [cell for cell in at_the_end(cells) if cell.n_train == n_shown]
    if over is None:
        found = [one for axis in AXES for one in comparisons(at, axis)]
        found = found or found_comparisons(at, "width")
    else:
        found = found_comparisons(at, over)
    found, gone = with_networks(found)
    with matplotlib.rc_context(SETTINGS):
        size = (FULL_WIDTH_IN, ROW_IN * len(found) + NOTES_IN)
        figure = Figure(figsize=size, layout="constrained")
        rows = list(figure.subfigures(len(found), 1, squeeze=False)[:, 0])
        least = min(
            (float(values.min()) for cell in at if len(values := finite_accuracy(cell))),
            default=None,
        )
        if least is None:
            raise UsageError(
                f"no cell at N = {n_shown} has networks.",
                why="a box is drawn from their test accuracies.",
                fix="draw another N (n_train=, --n-train).",
            )
        # Room for the counts below the lowest point.
        bottom = least - 0.14 * (1.0 - least) - 0.01
        for row, comparison in zip(rows, found, strict=True):
            _draw(row, comparison, n_shown).set_ylim(bottom, 1.01)
            row.suptitle(f"{comparison.title}, N = {n_shown}", fontsize=9)
        notes = ["Boxes: quartiles and median; whiskers: 1.5 box heights. Below: networks."]
        notes += gone
        write_notes(figure, notes, [note for comparison in found for note in missing(comparison)])
    return figure


def _draw(row: SubFigure, comparison: Comparison, n_train: int) -> Axes:
    axes = row.subplots()
    handles: dict[str, Any] = {}
    ways: list[Way] = [way for way in WAYS if way in comparison.sources]
    for k, way in enumerate(ways):
        shift = APART * (2 * k - len(ways) + 1)
        for place, level in enumerate(comparison.levels):
            arrays = [finite_accuracy(cell) for cell in comparison.at(way, level, n_train)]
            values = np.concatenate([np.zeros(0), *arrays])
            axes.text(
                place + shift,
                0.015,
                f"{len(values):,}",
                ha="center",
                va="bottom",
                fontsize=6.5,
                transform=axes.get_xaxis_transform(),
            )
            if not len(values):
                continue
            edge = {"color": EDGES[way], "linewidth": 1.0}
            drawn = axes.boxplot(
                values,
                positions=[place + shift],
                widths=BOX,
                manage_ticks=False,
                patch_artist=True,
                boxprops={"facecolor": FILLS[way], "edgecolor": EDGES[way], "linewidth": 1.0},
                medianprops={**edge, "color": "black", "linewidth": 1.3},
                whiskerprops=edge,
                capprops=edge,
                flierprops={
                    "marker": "o" if way == "guess-and-check" else "s",
                    "markersize": 2.0,
                    "markerfacecolor": FILLS[way],
                    "markeredgecolor": EDGES[way],
                    "markeredgewidth": 0.5,
                },
            )
            handles.setdefault(way_title(comparison, way), drawn["boxes"][0])
    names = [textwrap.fill(label, 14) for label in comparison.labels]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(comparison.axis)
    axes.set_ylabel("test accuracy")
    row.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=2, fontsize=7
    )
    return axes
