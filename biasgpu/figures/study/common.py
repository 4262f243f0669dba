"""What the figures of a study share: which cells, what they are called, and what is said below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biasgpu.errors import UsageError
from biasgpu.figures.style import FULL_WIDTH_IN, NOTE_SIZE
from biasgpu.study.axes import (
    Axis,
    Comparison,
    comparisons,
    position,
    source_label,
    source_of,
)
from biasgpu.study.cells import Cell, Way

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES: dict[Way, str] = {"guess-and-check": "guess and check", "sgd": "SGD"}
LINE = 128  # characters of a note at full width
MOST_NOTES = 6


def way_title(comparison: Comparison, way: Way) -> str:
    """What a panel is called: "guess and check, uniform"; "sgd from kaiming-uniform"."""
    source = comparison.sources.get(way)
    if source is None:
        return NAMES[way]
    said = source_label(source)
    if way == "guess-and-check":
        return f"{NAMES[way]}, {said}"
    return said.replace("sgd from", "SGD from", 1)


def found_comparisons(cells: Sequence[Cell], over: Axis) -> list[Comparison]:
    """The comparisons along an axis.

    Raises:
        UsageError: there is none.
    """
    found = comparisons(cells, over)
    if not found:
        raise UsageError(
            f"these {len(cells)} cells hold no comparison over {over}.",
            why=f"it takes two {over}s at least of one architecture, alike in all else.",
            fix=f"give cells of several {over}s (biasgpu compare --{over} with a list), or draw "
            f"over {'depth' if over == 'width' else 'width'}.",
        )
    return found


def with_networks(found: Sequence[Comparison]) -> tuple[list[Comparison], list[str]]:
    """The comparisons that have networks, and notes on the others; without any, all of them."""
    kept = [one for one in found if any(len(finite_accuracy(cell)) for cell in one.cells)]
    gone = [f"Not drawn, without networks: {one.title}." for one in found if one not in kept]
    return (kept, gone) if kept else (list(found), [])


def chosen_n_train(cells: Sequence[Cell], n_train: int | None) -> int:
    """The N asked for, or the largest there is.

    Raises:
        UsageError: no cells, or none of that N.
    """
    known = sorted({cell.n_train for cell in cells})
    if not known:
        raise UsageError(
            "there is no cell to draw.",
            why="a figure of a study is made of its cells.",
            fix="give the cells of a study that has finished one at least (biasgpu compare).",
        )
    if n_train is None:
        return known[-1]
    if n_train not in known:
        raise UsageError(
            f"no cell has n_train {n_train}.",
            why=f"the cells have {', '.join(map(str, known))}.",
            fix=f"for example n_train={known[-1]} (--n-train {known[-1]}).",
        )
    return n_train


MOST_PLACES = 4  # without networks that a note lists by name


def finite_accuracy(cell: Cell) -> np.ndarray:
    """float64 `(n,)`: test accuracies, those that are unknown left out."""
    return cell.test_accuracy[np.isfinite(cell.test_accuracy)]


def missing(comparison: Comparison) -> list[str]:
    """What has no networks, or too few: one entry for each way and level."""
    said = []
    seeds = comparison.data_seeds
    for way in comparison.sources:
        for level, label in zip(comparison.levels, comparison.labels, strict=True):
            empty: dict[int, list[int]] = {}
            problems: dict[str, int] = {}
            for cell in comparison.at(way, level):
                if not len(finite_accuracy(cell)):
                    empty.setdefault(cell.n_train, []).append(cell.data_seed)
                elif cell.problem:
                    problems[cell.problem] = problems.get(cell.problem, 0) + 1
            if empty:
                places = [
                    f"{n}" if gone == seeds else f"{n} (data seed {', '.join(map(str, gone))})"
                    for n, gone in sorted(empty.items())
                ]
                if len(places) > MOST_PLACES:  # a list that would cover the figure
                    count = sum(map(len, empty.values()))
                    said.append(f"No networks: {NAMES[way]} {label}, {count} cells.")
                else:
                    said.append(f"No networks: {NAMES[way]} {label} at N = {', '.join(places)}.")
            for problem, count in problems.items():
                cells = "1 cell" if count == 1 else f"{count} cells"
                said.append(f"{NAMES[way]} {label}, {cells}: {problem.rstrip('.')}.")
    return said


def write_notes(figure: Figure, meaning: Sequence[str], lacking: Sequence[str] = ()) -> None:
    """Notes below a figure, in room that the layout keeps for them.

    Args:
        figure: with constrained layout.
        meaning: what is drawn, in sentences; equal ones are written once.
        lacking: what is not; of a long list it is said how much was cut.
    """
    distinct = list(dict.fromkeys(lacking))
    shown = [*dict.fromkeys(meaning), *distinct[:MOST_NOTES]]
    if len(distinct) > MOST_NOTES:
        shown.append(f"And {len(distinct) - MOST_NOTES} more such notes: the verdict lists all.")
    width = int(LINE * figure.get_figwidth() / FULL_WIDTH_IN)
    text = "\n".join(textwrap.wrap(" ".join(shown), width))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=NOTE_SIZE, linespacing=1.25)


def source_parts(cell: Cell) -> dict[str, str]:
    """All that tells one set of networks from another, but for N and data seed."""
    prior, optimizer, epochs = source_of(cell)
    options = cell.architecture.options
    parts = {"name": cell.architecture.name}
    parts.update({str(key): str(value).replace(",", ", ") for key, value in options.items()})
    if not options:
        parts["depth"] = str(cell.architecture.depth)
    parts |= {"head": cell.architecture.head, "bias": cell.architecture.bias, "task": cell.task}
    return parts | {"prior": prior, "optimizer": optimizer, "epochs": epochs}


def differing(cells: Sequence[Cell]) -> list[str]:
    """The parts in which cells found in one and the same way differ."""
    found: dict[str, None] = {}
    for way in NAMES:
        parts = [source_parts(cell) for cell in cells if cell.way == way]
        for name in dict.fromkeys(name for part in parts for name in part):
            if len({part.get(name, "") for part in parts}) > 1:
                found[name] = None
    return list(found)


def left_to_right(cell: Cell) -> tuple[float, float, float]:
    """The order of panels: by depth, by width, and on the way of training."""
    epoch = np.inf if cell.epoch is None else float(cell.epoch)
    return cell.architecture.depth, position(cell.architecture, "width"), epoch


def part_label(cell: Cell, names: Sequence[str]) -> str:
    """A cell by some of its parts: "width 2/6", "uniform:0.2", "5 epochs"."""
    parts = source_parts(cell)
    said = []
    for name in names:
        value = parts.get(name, "")
        match name:
            case "width" | "depth" | "bias":
                said.append(f"{name} {value}")
            case "epochs":
                said.append(f"{value} epoch{'s' * (value != '1')}" if value else "")
            case _:
                said.append(value)
    return ", ".join(part for part in said if part) or str(cell.architecture)
