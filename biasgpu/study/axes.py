"""Axes: in what the cells of a study differ, and which of them a comparison sets side by side.

A width is one number, a depth is one number, whatever the architecture: the width of a network is
the geometric mean of its width factors over the hidden layers, each layer once ("1/6,1/6,1/24,1/24"
is 1/12); where widths are units (`mlp`, layer lists), the geometric mean of the units. A slope per
doubling does not depend on the unit. Its depth is `Architecture.depth`, the number of hidden layers
with parameters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError, unknown
from biasgpu.layers import Linear
from biasgpu.study.cells import Cell, Way

Axis = Literal["width", "depth"]
AXES: tuple[Axis, ...] = ("width", "depth")


def width_of(architecture: Architecture) -> float:
    """The width as one number: a factor, or units; infinite for an infinitely wide network, NaN for
    one without hidden layers.
    """
    if architecture.infinite:
        return math.inf
    option = architecture.options.get("width")
    try:
        factors = [float(Fraction(part)) for part in str(option).split(",")]
    except (ValueError, ZeroDivisionError):
        factors = [float(layer.units) for layer in architecture.layers if isinstance(layer, Linear)]
    if not factors or min(factors) <= 0:
        return math.nan
    return math.exp(math.fsum(map(math.log, factors)) / len(factors))


def position(architecture: Architecture, axis: Axis) -> float:
    """Where an architecture lies on an axis: log2 of its width, or its depth."""
    if axis == "depth":
        return float(architecture.depth)
    width = width_of(architecture)
    return math.log2(width) if math.isfinite(width) else width


def level_label(architecture: Architecture, axis: Axis) -> str:
    """What a figure calls an architecture along an axis: "2/6", "(1/6, 1/24)", "512", "2c-3f"."""
    if axis == "depth":
        return str(architecture.options.get("depth", architecture.depth))
    option = architecture.options.get("width")
    if option is None:
        width = width_of(architecture)
        return f"{width:.3g}" if math.isfinite(width) else architecture.name
    parts = str(option).split(",")
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def family_of(architecture: Architecture, axis: Axis) -> tuple[str, ...]:
    """What architectures that differ along an axis alone have in common."""
    options = {str(key): str(value) for key, value in architecture.options.items()}
    options.pop(axis, None)
    if axis == "width":
        options.setdefault("depth", str(architecture.depth))
    else:
        options.setdefault("width", f"{width_of(architecture):.6g}")
    said = (f"{key} {value}" for key, value in sorted(options.items()))
    return (architecture.name, *said, architecture.head, architecture.bias_said)


def source_of(cell: Cell) -> tuple[str, str, str]:
    """How a cell's networks were found, but for the architecture: prior, optimizer, epochs."""
    if cell.way == "guess-and-check":
        return cell.prior, "", ""
    epochs = cell.about.get("epochs", "" if cell.epoch is None else cell.epoch)
    return cell.prior, cell.optimizer or "sgd", str(epochs)


def source_label(source: tuple[str, str, str]) -> str:
    """In words: "uniform"; "sgd from kaiming-uniform, 60 epochs"."""
    prior, optimizer, epochs = source
    said = f"{optimizer} from {prior}" if optimizer else prior
    return f"{said}, {epochs_said(epochs)}" if epochs else said


def epochs_said(epochs: object) -> str:
    """In words: "1 epoch", "60 epochs"."""
    return f"{epochs} epoch" + "s" * (str(epochs) != "1")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Cells that differ along one axis: guess and check under one prior, SGD in one way.

    Attributes:
        axis: "width" or "depth".
        family: what all architectures have in common.
        task: the task's name and classes.
        sources: for each way prior, optimizer and epochs; a way without cells is missing.
        levels: the architectures, by their place on the axis.
        cells: all of them, also those without networks.
    """

    axis: Axis
    family: tuple[str, ...]
    task: str
    sources: dict[Way, tuple[str, str, str]]
    levels: tuple[Architecture, ...]
    cells: tuple[Cell, ...]

    @property
    def labels(self) -> list[str]:
        """One a level."""
        return [level_label(level, self.axis) for level in self.levels]

    @property
    def n_trains(self) -> list[int]:
        """Every N there is, increasing."""
        return sorted({cell.n_train for cell in self.cells})

    @property
    def data_seeds(self) -> list[int]:
        """Every data seed there is, increasing."""
        return sorted({cell.data_seed for cell in self.cells})

    @property
    def title(self) -> str:
        """Family and task in a line, without what goes without saying."""
        name, *rest = self.family
        telling = [part for part in rest if part not in ("logits", "bias zero")]
        return ", ".join(part for part in (" ".join([name, *telling]), self.task) if part)

    def at(self, way: Way, level: Architecture, n_train: int | None = None) -> list[Cell]:
        """The cells of one way and architecture, at one N or at all, by N and data seed."""
        found = [
            cell
            for cell in self.cells
            if cell.way == way and cell.architecture == level and n_train in (None, cell.n_train)
        ]
        return sorted(found, key=lambda cell: (cell.n_train, cell.data_seed))


def comparisons(cells: Sequence[Cell], axis: Axis) -> list[Comparison]:
    """Every comparison along an axis: at least two levels of one family on one task.

    Several priors or initialisations make a comparison for each pair of them. Training is compared
    at its end: cells of kept epochs are left out.

    Raises:
        UsageError: no such axis, or two cells for the same networks.
    """
    if axis not in AXES:
        raise unknown("axis", str(axis), AXES)
    check_distinct(cells)
    groups: dict[tuple, list[Cell]] = {}
    for cell in at_the_end(cells):
        key = (family_of(cell.architecture, axis), cell.task, cell.n_classes)
        groups.setdefault(key, []).append(cell)
    found = []
    for (family, task, _), members in groups.items():
        levels = {cell.architecture: None for cell in members}
        ordered = sorted(levels, key=lambda level: _order(level, axis))
        if len({position(level, axis) for level in ordered}) < 2:
            continue
        drawn = _sources(members, "guess-and-check")
        trained = _sources(members, "sgd")
        for one in drawn or [None]:
            for other in trained or [None]:
                sources: dict[Way, tuple[str, str, str]] = {}
                if one:
                    sources["guess-and-check"] = one
                if other:
                    sources["sgd"] = other
                chosen = [cell for cell in members if sources.get(cell.way) == source_of(cell)]
                found.append(Comparison(axis, family, task, sources, tuple(ordered), tuple(chosen)))
    return found


def at_the_end(cells: Sequence[Cell]) -> list[Cell]:
    """The cells but for those of kept epochs, before the end of training."""
    return [cell for cell in cells if cell.epoch is None]


def check_distinct(cells: Sequence[Cell]) -> None:
    """Refuse two cells for the same networks: they would count twice.

    Raises:
        UsageError: there are.
    """
    keys = Counter(
        (cell.way, cell.architecture, source_of(cell), cell.task, cell.data_seed, cell.n_train)
        for cell in cells
    )
    for (way, architecture, source, _, data_seed, n_train), count in keys.items():
        if count > 1:
            raise UsageError(
                f"{count} cells for {way}, {architecture}, {source_label(source)}, data seed "
                f"{data_seed}, N = {n_train}.",
                why="the same networks would count several times.",
                fix="give each cell once; in the shell, name each study folder once.",
            )


def _sources(cells: Sequence[Cell], way: Way) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys(source_of(cell) for cell in cells if cell.way == way))


def _order(architecture: Architecture, axis: Axis) -> tuple[float, str]:
    place = position(architecture, axis)
    # A network without hidden layers has no width: it comes first, and no slope counts it.
    return (-math.inf if math.isnan(place) else place), str(architecture)


def cell_name(cell: Cell) -> str:
    """A cell in words, for lists of what is missing."""
    found = f"{cell.way}, {cell.architecture}, {source_label(source_of(cell))}"
    task = f", {cell.task}" if cell.task else ""
    return f"{found}{task}, data seed {cell.data_seed}, N = {cell.n_train}"
