"""Gradient norms of training, epoch by epoch.

Source: figure 7 of Peleg and Hein, ICML 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biasgpu.errors import UsageError
from biasgpu.figures.study.common import differing, part_label, write_notes
from biasgpu.figures.style import COLUMN_WIDTH_IN, MARKERS, SETTINGS, sequential
from biasgpu.study.axes import at_the_end, check_distinct, position
from biasgpu.study.cells import Cell, Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT_IN = 3.1
MARKED = 7  # markers along a line


def gradient_norms(cells: Sequence[Cell]) -> Figure:
    """The norm of the gradient of the mean training loss, at the initialisation and after epochs.

    One line for each initialisation, architecture, N, or whatever else the cells differ in; data
    seeds are taken together. Lines are medians over networks, bands reach from the lower to the
    upper quartile. Only networks that ended without training error are in cells.

    Args:
        cells: of one study or of several; those without gradient norms are named in a note.

    Returns:
        a figure; `biasgpu.figures.save` writes it.

    Raises:
        UsageError: no cell has gradient norms.

    Source:
        Peleg and Hein, ICML 2024, figure 7.
    """
    import matplotlib
    from matplotlib.figure import Figure

    check_distinct(cells)
    trained = [cell for cell in at_the_end(cells) if cell.way == "sgd"]
    measured = [
        cell
        for cell in trained
        if cell.gradient_norms is not None and np.isfinite(cell.gradient_norms).any()
    ]
    if not measured:
        raise UsageError(
            f"none of {len(trained)} trained cells has gradient norms.",
            why="they are recorded in training, on request: every epoch then takes longer.",
            fix="train with gradient_norms=True (--gradient-norms).",
        )
    measured.sort(
        key=lambda cell: (
            cell.architecture.depth,
            position(cell.architecture, "width"),
            cell.n_train,
        )
    )
    names = differing(measured)
    several_n = len({cell.n_train for cell in measured}) > 1
    groups: dict[str, list[Floats]] = {}
    for cell in measured:
        label = part_label(cell, names) + (f", N = {cell.n_train}" if several_n else "")
        assert cell.gradient_norms is not None
        groups.setdefault(label, []).append(cell.gradient_norms)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(COLUMN_WIDTH_IN, HEIGHT_IN), layout="constrained")
        axes = figure.subplots()
        for place, (label, found) in enumerate(groups.items()):
            low, middle, high, n = quartiles(found)
            shade = sequential(len(groups))[place]
            epochs = np.arange(len(middle))
            axes.plot(
                epochs,
                middle,
                color=shade,
                marker=MARKERS[place % len(MARKERS)],
                markersize=3.5,
                markevery=(place, max(1, len(epochs) // MARKED)),
                linewidth=1.2,
                label=f"{label} ({n:,})",
            )
            axes.fill_between(epochs, low, high, color=shade, alpha=0.2, linewidth=0)
        axes.set_yscale("log", nonpositive="mask")
        axes.set_xlabel("epoch")
        axes.set_ylabel("gradient norm")
        axes.set_xlim(left=0)
        figure.legend(loc="outside upper center", ncols=2, fontsize=7, columnspacing=1.0)
        notes = ["Lines: medians; bands: quartiles; in brackets: networks."]
        without = sum(cell.n_networks > 0 for cell in trained) - len(measured)
        if without > 0:
            notes.append(f"{without} trained cells have no gradient norms.")
        empty = sum(cell.n_networks == 0 for cell in trained)
        if empty:
            notes.append(f"{empty} trained cells have no networks.")
        write_notes(figure, notes)
    return figure


def quartiles(found: Sequence[Floats]) -> tuple[Floats, Floats, Floats, int]:
    """Lower quartile, median, upper quartile by epoch, and the number of networks.

    Args:
        found: arrays `(networks, epochs + 1)`; NaN after a network stopped. Shorter ones end early.

    Returns:
        float64 `(epochs + 1,)` three times, NaN where no network is left; and their number.
    """
    length = max(array.shape[1] for array in found)
    rows = [
        np.pad(
            array.astype(np.float64), ((0, 0), (0, length - array.shape[1])), constant_values=np.nan
        )
        for array in found
    ]
    values = np.concatenate(rows)
    result = np.full((3, length), np.nan)
    for epoch in range(length):
        known = values[np.isfinite(values[:, epoch]), epoch]
        if len(known):
            result[:, epoch] = np.quantile(known, [0.25, 0.5, 0.75])
    low, middle, high = result
    return low, middle, high, len(values)
