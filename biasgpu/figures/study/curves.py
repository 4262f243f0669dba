"""Width and depth curves: test accuracy and -log2 P against N, for guess and check and for SGD.

Source: figures 3 and 4 of Peleg and Hein, ICML 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biasgpu.errors import UsageError
from biasgpu.figures.study.common import (
    NAMES,
    finite_accuracy,
    found_comparisons,
    missing,
    way_title,
    with_networks,
    write_notes,
)
from biasgpu.figures.style import FULL_WIDTH_IN, MARKERS, SETTINGS, sequential
from biasgpu.study.axes import Axis, Comparison
from biasgpu.study.cells import WAYS, Cell, Floats, Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ROW_IN, NOTES_IN = 2.75, 0.35
ARROW = 0.035  # of the panel's height


def curves(
    cells: Sequence[Cell], *, over: Axis = "width", labels: Sequence[str] | None = None
) -> Figure:
    """Three panels a comparison: test accuracy of guess and check, of SGD, and -log2 P.

    A point is the mean over data seeds of the mean in each, its bar the standard error over data
    seeds; with one data seed the bar is the standard error over networks, and for -log2 P its
    confidence interval. Where there are no networks the line has a gap, and a note says so; where
    only a bound of P is known, an arrow starts at it. The dashed line is -log2 P = N: a classifier
    that guesses independently.

    Args:
        cells: of one study or of several.
        over: what the lines differ in, "width" or "depth".
        labels: one a line, in the order of widths or depths; None names them by the option.

    Returns:
        a figure; `biasgpu.figures.save` writes it.

    Raises:
        UsageError: no two widths (depths), or not one label for each.

    Source:
        Peleg and Hein, ICML 2024, figures 3 and 4.
    """
    import matplotlib
    from matplotlib.figure import Figure

    found, gone = with_networks(found_comparisons(cells, over))
    for comparison in found:
        if labels is not None and len(labels) != len(comparison.levels):
            raise UsageError(
                f"{len(labels)} labels for {len(comparison.levels)} {over}s.",
                why="each line has one label.",
                fix=f"give one label a line, in this order: {', '.join(comparison.labels)}.",
            )
    with matplotlib.rc_context(SETTINGS):
        size = (FULL_WIDTH_IN, ROW_IN * len(found) + NOTES_IN)
        figure = Figure(figsize=size, layout="constrained")
        rows = figure.subfigures(len(found), 1, squeeze=False)[:, 0]
        drawn = [
            _draw(row, comparison, labels or comparison.labels)
            for row, comparison in zip(rows, found, strict=True)
        ]
        notes = [_meaning(found), *_finish(drawn, found), *gone]
        write_notes(figure, notes, [note for comparison in found for note in missing(comparison)])
    return figure


def _draw(row: SubFigure, comparison: Comparison, labels: Sequence[str]) -> list[Axes]:
    panels = list(row.subplots(1, 3))
    shades = sequential(len(labels))
    for place, (level, label) in enumerate(zip(comparison.levels, labels, strict=True)):
        for way, axes in zip(WAYS, panels, strict=False):
            style: dict[str, Any] = {
                "color": shades[place],
                "marker": MARKERS[place % len(MARKERS)],
                "markersize": 3.5,
                "linewidth": 1.1,
                "elinewidth": 0.8,
                "capsize": 1.5,
                "label": label,
            }
            if way == "guess-and-check":
                style["markerfacecolor"] = "white"
            n, mean, bar = _accuracies(comparison, way, place)
            if len(n):
                axes.errorbar(n, mean, bar, **style)
            if way == "guess-and-check" and len(n):
                n, bits, ends, bound = _bits(comparison.at(way, level), n)
                panels[2].errorbar(n, bits, ends, **style)
                if bound.any():
                    span = ARROW * max(comparison.n_trains)
                    colour = {"ecolor": shades[place], "elinewidth": 0.8, "capsize": 1.5}
                    low = np.where(bound, ends[0], np.nan)[bound]
                    panels[2].errorbar(n[bound], low, span, fmt="none", lolims=True, **colour)
    for way, axes in zip(WAYS, panels, strict=False):
        axes.set_title(way_title(comparison, way), fontsize=8)
        if way not in comparison.sources:
            axes.text(0.5, 0.5, f"no cells of {NAMES[way]}", ha="center", transform=axes.transAxes)
    panels[2].set_title(way_title(comparison, "guess-and-check"), fontsize=8)
    row.suptitle(comparison.title, fontsize=9)
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    shown = [label for label in labels if label in named]
    row.legend(
        [named[label] for label in shown],
        [f"{comparison.axis} {label}" if label in comparison.labels else label for label in shown],
        loc="outside lower center",
        ncols=6,
        fontsize=7,
        columnspacing=1.2,
        handletextpad=0.4,
    )
    return panels


def _accuracies(comparison: Comparison, way: Way, place: int) -> tuple[np.ndarray, Floats, Floats]:
    """N, mean test accuracy, and bar of one line; NaN where there is none."""
    n_trains = sorted({cell.n_train for cell in comparison.cells if cell.way == way})
    one = len(_seeds(comparison, way)) == 1
    mean, bar = np.full((2, len(n_trains)), np.nan)
    for i, n_train in enumerate(n_trains):
        cells = comparison.at(way, comparison.levels[place], n_train)
        values = [found for found in map(finite_accuracy, cells) if len(found)]
        if not values:
            continue
        means = values[0] if one else np.array([found.mean() for found in values])
        mean[i] = means.mean()
        if len(means) > 1:
            bar[i] = means.std(ddof=1) / np.sqrt(len(means))
    return np.array(n_trains), mean, bar


def _bits(cells: list[Cell], n_trains: np.ndarray) -> tuple[np.ndarray, Floats, Floats, np.ndarray]:
    """N, -log2 P, its bar `(2, n)`, and where there is only a lower bound (then `bar[0]` is it)."""
    bits, low, high = np.full((3, len(n_trains)), np.nan)
    bound = np.zeros(len(n_trains), dtype=bool)
    for i, n_train in enumerate(n_trains):
        found = [
            cell.estimate
            for cell in cells
            if cell.n_train == n_train and cell.estimate.n_candidates > 0
        ]
        # The lower end of a bound counts for a data seed without a fit: the mean is then a bound.
        values = [one.minus_log2_low if one.minus_log2 is None else one.minus_log2 for one in found]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(found):
            continue
        mean = float(np.mean(known))
        if any(one.minus_log2 is None for one in found):
            bound[i], low[i] = True, mean
            continue
        bits[i] = mean
        if len(found) > 1:
            low[i] = high[i] = np.std(known, ddof=1) / np.sqrt(len(known))
        else:
            ends = found[0].minus_log2_low, found[0].minus_log2_high
            low[i], high[i] = (np.nan if end is None else abs(end - mean) for end in ends)
    return n_trains, bits, np.array([low, high]), bound


def _finish(rows: list[list[Axes]], found: list[Comparison]) -> list[str]:
    """Limits and labels, the same for all rows; says what the lines without markers are."""
    from matplotlib.ticker import MaxNLocator

    cells = [cell for comparison in found for cell in comparison.cells]
    ends = [
        value
        for panels in rows
        for axes in panels[:2]
        for line in axes.get_lines()
        for value in np.asarray(line.get_ydata(), dtype=np.float64).ravel()
        if np.isfinite(value)
    ]
    bottom = max(0.0, np.floor(20 * (min(ends, default=0.5) - 0.01)) / 20)
    top = min(1.01, np.ceil(20 * (max(ends, default=1.0) + 0.01)) / 20 + 0.01)
    shares = {1.0 / cell.n_classes for cell in cells}
    chance = len(shares) == 1 and bottom <= max(shares)
    notes = ["Dotted: chance."] if chance else []
    n_max = max(cell.n_train for cell in cells)
    for panels, comparison in zip(rows, found, strict=True):
        for axes in panels[:2]:
            axes.set_ylim(bottom, top)
            if chance:
                axes.axhline(max(shares), color="black", linestyle=":", linewidth=0.9)
        panels[0].set_ylabel("test accuracy")
        panels[1].tick_params(labelleft=False)
        panels[2].set_ylabel(r"$-\log_2 P$(fit)")
        if "guess-and-check" in comparison.sources:
            notes.append("Dashed: -log2 P = N, independent guessing.")
            panels[2].plot([0, n_max], [0, n_max], "--", color="black", linewidth=0.9)
        panels[2].set_ylim(bottom=0)
        for axes in panels:
            axes.set_xlabel("training samples N")
            axes.set_xlim(0, n_max * 1.04)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    drawn = [cell.estimate for cell in cells if cell.way == "guess-and-check"]
    if any(found.minus_log2 is None and found.n_candidates for found in drawn):
        notes.append("Arrows: lower bounds.")
    return notes


def _seeds(comparison: Comparison, way: Way) -> set[int]:
    return {cell.data_seed for cell in comparison.cells if cell.way == way}


def _meaning(found: list[Comparison]) -> str:
    counts = sorted(
        {len(_seeds(comparison, way)) for comparison in found for way in comparison.sources}
    )
    several = [count for count in counts if count > 1]
    said = []
    if several:
        seeds = " or ".join(map(str, several))
        said.append(f"Points: means over {seeds} data seeds; bars: standard errors over them.")
    if 1 in counts:
        confidence = next(cell.estimate.confidence for found_in in found for cell in found_in.cells)
        said.append(
            "One data seed: bars are standard errors over networks, and the "
            f"{100 * confidence:g} % interval of P."
        )
    said.append("Open: guess and check; filled: SGD.")
    return " ".join(said)
