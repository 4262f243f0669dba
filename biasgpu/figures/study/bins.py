"""Test accuracy by bin of weight-normalised loss, each way of finding networks beside the others.

Source: the tables of Chiang et al., ICLR 2023, drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biasgpu.figures.study.common import chosen_n_train, write_notes
from biasgpu.figures.style import COLOURS, FULL_WIDTH_IN, MARKERS, SETTINGS
from biasgpu.study.axes import level_label
from biasgpu.study.bins import LossBin, loss_bins
from biasgpu.study.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_IN, NOTES_IN, COUNT_IN = 2.1, 0.7, 0.11
COLUMNS = 2


def bins(
    cells: Sequence[Cell],
    *,
    bins: str | Sequence[float] | None = None,
    n_train: int | None = None,
    confidence: float = 0.95,
) -> Figure:
    """A panel for each architecture: mean test accuracy in each bin, with its interval.

    Below each bin is how many networks of each way lie in it, in the order of the legend.

    Args:
        cells: of one study or of several.
        bins: as of `biasgpu.study.bins.edges`.
        n_train: the N; None takes the largest.
        confidence: of the intervals.

    Returns:
        a figure; `biasgpu.figures.save` writes it.

    Raises:
        UsageError: no cells, no measured loss, or bins that cannot be.

    Source:
        Chiang et al., ICLR 2023.
    """
    import matplotlib
    from matplotlib.figure import Figure

    n_shown = chosen_n_train(cells, n_train)
    rows = loss_bins(cells, bins, n_train=n_shown, confidence=confidence)
    panels: dict[tuple[str, str], list[LossBin]] = {}
    for row in rows:
        panels.setdefault((row.task, str(row.architecture)), []).append(row)
    sources = list(dict.fromkeys(_source(row) for row in rows))
    columns = min(COLUMNS, len(panels))
    height = -(-len(panels) // columns) * (ROW_IN + COUNT_IN * len(sources)) + NOTES_IN
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(FULL_WIDTH_IN, height), layout="constrained")
        grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False, sharey=True)
        places = list(grid.ravel())
        for axes in places[len(panels) :]:
            axes.remove()
        for axes, mine in zip(places, panels.values(), strict=False):
            _draw(axes, mine, sources)
        means = [row.test_accuracy for row in rows if row.test_accuracy is not None]
        if means:  # the interval of two networks may reach from 0 to 1
            places[0].set_ylim(max(0.0, min(means) - 0.08), 1.01)
        named = {}
        for axes in places[: len(panels)]:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        known = [one for one in sources if one in named]
        figure.legend(
            [named[one] for one in known], known, loc="outside upper center", ncols=2, fontsize=7
        )
        write_notes(
            figure,
            [
                f"Bars: {100 * confidence:g} % intervals of the mean, over data seeds where "
                "several have networks in the bin, else over networks.",
                "Numbers: networks in the bin, in the order of the legend.",
            ],
        )
    return figure


def _draw(axes: Axes, rows: list[LossBin], sources: list[str]) -> None:
    borders = [rows[0].low, *dict.fromkeys(row.high for row in rows)]
    centres = (np.array(borders[:-1]) + np.array(borders[1:])) / 2
    width = np.diff(borders)
    for place, source in enumerate(sources):
        of = [row for row in rows if _source(row) == source]
        if not of:
            continue
        shift = (place - (len(sources) - 1) / 2) * 0.8 / max(len(sources), 1)
        mean, low, high = (
            np.array([np.nan if one is None else one for one in several], np.float64)
            for several in (
                [row.test_accuracy for row in of],
                [row.test_accuracy_low for row in of],
                [row.test_accuracy_high for row in of],
            )
        )
        colour = COLOURS[place % len(COLOURS)]
        drawn = of[0].way == "guess-and-check"
        # Intervals of a few networks reach beyond what an accuracy can be.
        bars = np.array([mean - np.maximum(low, 0.0), np.minimum(high, 1.0) - mean])
        axes.errorbar(
            centres + shift * width,
            mean,
            np.nan_to_num(bars),
            color=colour,
            marker=MARKERS[place % len(MARKERS)],
            markerfacecolor="white" if drawn else colour,
            markersize=3.5,
            linewidth=0.8,
            linestyle=":",
            elinewidth=0.8,
            capsize=1.5,
            label=source,
        )
        for centre, row in zip(centres, of, strict=True):
            axes.annotate(
                f"{row.n_networks:,}",
                (centre, 0.0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, -19 - 72 * COUNT_IN * place),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=6,
                color=colour,
            )
    axes.set_xticks(borders, [f"{border:g}" for border in borders], fontsize=7)
    axes.set_xlim(borders[0], borders[-1])
    axes.set_ylabel("test accuracy")
    axes.set_xlabel("weight-normalised loss", labelpad=4 + 72 * COUNT_IN * len(sources), fontsize=8)
    label = level_label(rows[0].architecture, "width")
    name = f"{rows[0].architecture.name}, width {label}, N = {rows[0].n_train}"
    axes.set_title(f"{name}, {rows[0].task}".rstrip(", "), fontsize=8)


def _source(row: LossBin) -> str:
    if row.way == "guess-and-check":
        return f"guess and check, {row.source}"
    return row.source.replace("sgd from", "SGD from", 1)
