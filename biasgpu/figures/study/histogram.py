"""2-D histograms of normalised training loss against test accuracy.

Source: figures 1, 2, 5 and 12 of Peleg and Hein, ICML 2024.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biasgpu.errors import UsageError, unknown
from biasgpu.figures.study.common import (
    NAMES,
    chosen_n_train,
    differing,
    left_to_right,
    part_label,
    write_notes,
)
from biasgpu.figures.style import COLOURS, COLUMN_WIDTH_IN, FULL_WIDTH_IN, SETTINGS
from biasgpu.study.axes import check_distinct
from biasgpu.study.cells import WAYS, Cell, Floats, Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

Loss = Literal["normalized", "weight-normalized"]
LOSSES: dict[str, tuple[str, str]] = {
    "normalized": ("normalized_loss", "Lipschitz-normalised training loss"),
    "weight-normalized": ("weight_normalized_loss", "weight-normalised training loss"),
}
LOSS_RANGE, ACCURACY_RANGE = (0.0, 0.7), (0.4, 1.0)
CENTRAL = 0.99  # of the networks lie within a range that is chosen from the data
MEAN_BINS = 14  # as many means along the loss: 0.05 apart on the fixed range
LEAST = 5  # networks that make a mean
ROW_IN, REST_IN = 1.75, 0.95
WIDTHS_IN = {1: COLUMN_WIDTH_IN, 2: 4.9}  # by columns, where there are few


@dataclass(frozen=True, eq=False)
class _Panel:
    loss: Floats
    accuracy: Floats
    unmeasured: int


def histogram(
    cells: Sequence[Cell],
    *,
    n_train: int | None = None,
    loss: Loss = "normalized",
    bins: int = 60,
    rows: Sequence[Way] | None = None,
) -> Figure:
    """Where networks lie: normalised training loss across, test accuracy up, counts in log colour.

    A column is an architecture, prior, epoch, or whatever else the cells differ in; a row is guess
    and check or SGD; data seeds are taken together. Points are mean accuracies in 14 equal bins of
    the loss, of five networks at least; the dashed line is the mean over all networks, as the title
    says. Networks outside the axes count in that mean and are counted in the title.

    Args:
        cells: of one study or of several.
        n_train: the N; None takes the largest.
        loss: "normalized", shown from 0 to 0.7, or "weight-normalized", over a range that holds
            99 % of all networks.
        bins: in each direction.
        rows: the ways to show; None shows those with cells.

    Returns:
        a figure; `biasgpu.figures.save` writes it.

    Raises:
        UsageError: no cells, no such loss, or it was not measured.

    Source:
        Peleg and Hein, ICML 2024, figures 1, 2, 5 and 12.
    """
    import matplotlib
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    if loss not in LOSSES:
        raise unknown("loss", str(loss), LOSSES)
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2:
        raise UsageError(
            f"bins is {bins!r}; it must be a whole number of 2 or more.",
            why="it is how many there are in each direction.",
            fix="for example bins=60 (--bins 60).",
        )
    n_shown = chosen_n_train(cells, n_train)
    check_distinct(cells)
    ways: list[Way] = [way for way in WAYS if any(cell.way == way for cell in cells)]
    shown = ways if rows is None else _known(rows)
    at = [cell for cell in cells if cell.n_train == n_shown and cell.way in shown]
    at.sort(key=left_to_right)
    names = differing(at)
    columns = list(dict.fromkeys(part_label(cell, names) for cell in at))
    panels: dict[tuple[Way, str], _Panel] = {
        (way, column): _gather(
            [cell for cell in at if cell.way == way and part_label(cell, names) == column], loss
        )
        for way in shown
        for column in columns
    }
    _check_measured(panels, loss)
    x_range = LOSS_RANGE if loss == "normalized" else _central(panels)
    counts = {
        key: np.histogram2d(panel.loss, panel.accuracy, bins, (x_range, ACCURACY_RANGE))
        for key, panel in panels.items()
    }
    most = max(2.0, *(float(count.max()) for count, _, _ in counts.values()))
    with matplotlib.rc_context({**SETTINGS, "axes.grid": False}):
        size = (WIDTHS_IN.get(len(columns), FULL_WIDTH_IN), ROW_IN * len(shown) + REST_IN)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(shown), len(columns), squeeze=False, sharex=True, sharey=True)
        norm = LogNorm(1.0, most)
        separator = " " if len(columns) <= 4 else "\n"
        meshes = [
            _draw(grid[i, j], panels[way, column], counts[way, column], norm, separator)
            for i, way in enumerate(shown)
            for j, column in enumerate(columns)
        ]
        _label(figure, grid, shown, columns, loss)
        bar = figure.colorbar(meshes[0], ax=list(grid.ravel()), aspect=30, pad=0.015)
        bar.set_label("networks")
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.minorticks_off()
        grid[0, 0].set_xlim(*x_range)
        grid[0, 0].set_ylim(*ACCURACY_RANGE)
        tasks = sorted({cell.task for cell in at if cell.task})
        figure.suptitle(", ".join([_common(at, names), *tasks, f"N = {n_shown}"]), fontsize=9)
        write_notes(figure, _meaning(at), _lacking(at, names, panels))
    return figure


def _known(rows: Sequence[Way]) -> list[Way]:
    for way in rows:
        if way not in WAYS:
            raise unknown("row", str(way), WAYS)
    if not rows:
        raise UsageError(
            "rows is empty.",
            why="a row of the figure shows one way of finding networks.",
            fix="rows=None for all, or for example rows=['sgd'] (--rows sgd).",
        )
    return list(dict.fromkeys(rows))


def _gather(cells: list[Cell], loss: Loss) -> _Panel:
    losses, accuracies, unmeasured = [np.zeros(0)], [np.zeros(0)], 0
    for cell in cells:
        values = getattr(cell, LOSSES[loss][0])
        if values is None:
            unmeasured += cell.n_networks
            continue
        known = np.isfinite(values) & np.isfinite(cell.test_accuracy)
        unmeasured += int((~known).sum())
        losses.append(values[known])
        accuracies.append(cell.test_accuracy[known])
    return _Panel(np.concatenate(losses), np.concatenate(accuracies), unmeasured)


def _draw(
    axes: Axes, panel: _Panel, counted: tuple[Floats, Floats, Floats], norm: LogNorm, separator: str
) -> Any:
    count, x_edges, y_edges = counted
    mesh = axes.pcolormesh(
        x_edges,
        y_edges,
        np.ma.masked_less(count.T, 1.0),
        norm=norm,
        cmap="viridis_r",
        rasterized=True,
    )
    outside = len(panel.loss) - int(count.sum())
    title = f"n = {len(panel.loss):,}"
    if outside:
        axes.text(0.04, 0.04, f"{outside:,} outside", fontsize=6.5, transform=axes.transAxes)
    if len(panel.loss):
        mean = float(panel.accuracy.mean())
        title = f"mean {mean:.3f},{separator}{title}"
        axes.axhline(mean, color="black", linestyle="--", linewidth=0.9)
        edges = np.linspace(x_edges[0], x_edges[-1], MEAN_BINS + 1)
        place = np.clip(np.searchsorted(edges, panel.loss, side="right") - 1, 0, MEAN_BINS - 1)
        inside = (panel.loss >= edges[0]) & (panel.loss <= edges[-1])
        members = np.bincount(place[inside], minlength=MEAN_BINS)
        sums = np.bincount(place[inside], panel.accuracy[inside], minlength=MEAN_BINS)
        means = np.where(members >= LEAST, sums / np.maximum(members, 1), np.nan)
        middles = (edges[:-1] + edges[1:]) / 2
        axes.plot(middles, means, color="white", linewidth=2.6)  # set off from dark counts
        axes.plot(
            middles,
            means,
            color=COLOURS[1],
            marker="o",
            markersize=3.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.1,
        )
    else:
        axes.text(0.5, 0.5, "no networks", ha="center", va="center", transform=axes.transAxes)
    axes.set_title(title, fontsize=7)
    return mesh


def _label(
    figure: Figure, grid: Any, shown: Sequence[Way], columns: Sequence[str], loss: Loss
) -> None:
    from matplotlib.ticker import MaxNLocator

    x_label = LOSSES[loss][1]
    n_ticks = 4 if loss == "normalized" else 2  # narrow ranges have long numbers
    width = max(12, 108 // len(columns))
    for j, column in enumerate(columns):
        # Above the top panel's title, which holds its numbers.
        head = textwrap.fill(column, width)
        top = grid[0, j]
        if len(columns) > 1:  # else the title of the figure says it
            top.set_title(f"{head}\n{top.get_title()}", fontsize=7)
        grid[-1, j].xaxis.set_major_locator(MaxNLocator(n_ticks))
        grid[-1, j].tick_params(axis="x", labelsize=7.5)
    for i, way in enumerate(shown):
        grid[i, 0].set_ylabel(f"{NAMES[way]}\ntest accuracy")
    middle = grid[-1, len(columns) // 2]
    if len(columns) % 2:
        middle.set_xlabel(x_label)
    else:
        middle.set_xlabel(x_label, x=0.0)


def _common(cells: Sequence[Cell], names: Sequence[str]) -> str:
    """What all cells have: the architecture without the options they differ in."""
    architecture = cells[0].architecture
    if "name" in names:
        return "networks"
    options = [f"{key} {value}" for key, value in architecture.options.items() if key not in names]
    return " ".join([architecture.name, *options])


def _meaning(cells: Sequence[Cell]) -> list[str]:
    seeds = sorted({cell.data_seed for cell in cells})
    said = []
    for way in WAYS:
        priors = {cell.prior for cell in cells if cell.way == way}
        if len(priors) == 1:
            said.append(f"{NAMES[way]}: {'from' if way == 'sgd' else 'under'} {priors.pop()}.")
    plural = "s" if len(seeds) > 1 else ""
    said.append(f"Data seed{plural} {', '.join(map(str, seeds))}.")
    said.append(
        "Points: mean accuracy in bins of the loss "
        f"({LEAST} networks at least); dashed: mean of all."
    )
    return said


def _lacking(
    cells: Sequence[Cell], names: Sequence[str], panels: dict[tuple[Way, str], _Panel]
) -> list[str]:
    said = [
        f"Not measured: {panel.unmeasured:,} of {NAMES[way]}, {column}."
        for (way, column), panel in panels.items()
        if panel.unmeasured
    ]
    return said + [
        f"{NAMES[cell.way]}, {part_label(cell, names)}, data seed {cell.data_seed}: "
        f"{cell.problem.rstrip('.')}."
        for cell in cells
        if cell.problem
    ]


def _central(panels: dict[tuple[Way, str], _Panel]) -> tuple[float, float]:
    values = np.concatenate([panel.loss for panel in panels.values()])
    tail = (1.0 - CENTRAL) / 2.0
    low, high = (float(end) for end in np.quantile(values, [tail, 1.0 - tail]))
    room = 0.03 * (high - low) or 0.01 * abs(high) or 0.01
    return low - room, high + room


def _check_measured(panels: dict[tuple[Way, str], _Panel], loss: Loss) -> None:
    if not any(len(panel.loss) for panel in panels.values()):
        raise UsageError(
            f"the {loss} loss was not measured for any network shown.",
            why="the histogram has it on its x axis.",
            fix="measure it (biasgpu compare --measures losses), or take another loss "
            "(loss=, --loss), N or row.",
        )
