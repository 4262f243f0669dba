"""The figures of a study by kind: which there are, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError, unknown
from biasgpu.study.axes import at_the_end
from biasgpu.study.bins import edges
from biasgpu.study.cells import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from biasgpu.figures.study.histogram import Loss

ALL = "all"
KINDS = ("width", "depth", "histogram", "epochs", "boxes", "gradient-norm", "bins")
LOSSES: tuple[Loss, ...] = ("normalized", "weight-normalized")
# Figures of each loss, one of which may lack what the other has.
BY_LOSS = ("histogram", "epochs")


def draw(
    cells: Sequence[Cell],
    kind: str = ALL,
    *,
    n_train: int | None = None,
    bins: str | Sequence[float] | None = None,
) -> tuple[dict[str, Figure], dict[str, str]]:
    """Figures of a study.

    Args:
        cells: of the study.
        kind: "width", "depth", "histogram", "epochs" (histograms of training at its kept epochs and
            its end), "boxes", "gradient-norm", "bins", or "all" that can be drawn.
        n_train: the N of histograms, boxes and bins; None takes the largest.
        bins: of weight-normalised loss, as of `biasgpu.study.bins.edges`.

    Returns:
        the figures by name ("width", "histogram-normalized-n16", ...), and by name why those are
        missing that "all" left out.

    Raises:
        UsageError: no such kind, N or bins, or a kind that there is nothing to draw of.
    """
    edges(bins)  # refuses what cannot be, whatever is drawn
    if kind not in (ALL, *KINDS):
        raise unknown("kind of figure", kind, (ALL, *KINDS))
    there = sorted({cell.n_train for cell in cells})
    if not there:
        raise UsageError(
            "there is no cell to draw.",
            why="figures are drawn of the cells of a study.",
            fix="give those of a study: biasgpu.open_study(path).cells() (biasgpu plot study/).",
        )
    if n_train is not None and n_train not in there:
        raise UsageError(
            f"n_train is {n_train}; the study has {', '.join(map(str, there))}.",
            why="a histogram or a box plot is of one N.",
            fix=f"n_train={there[-1]} (--n {there[-1]}).",
        )
    drawn: dict[str, Figure] = {}
    left_out: dict[str, str] = {}
    figures = _figures(cells, kind, there[-1] if n_train is None else n_train, bins)
    for name, make in figures.items():
        try:
            drawn[name] = make()
        except UsageError as error:
            if kind != ALL and (kind not in BY_LOSS or len(left_out) == len(figures) - 1):
                raise
            left_out[name] = error.what
    return drawn, left_out


def _on_the_way(cells: Sequence[Cell], n: int) -> dict[str, list[Cell]]:
    """Training at kept epochs and at its end, of each architecture and initialisation.

    By what the figure's name begins with: nothing where there is one of them alone.
    """
    groups: dict[tuple[Architecture, str], list[Cell]] = {}
    for cell in cells:
        if cell.way == "sgd" and cell.n_train == n:
            groups.setdefault((cell.architecture, cell.prior), []).append(cell)
    kept = {
        key: several
        for key, several in groups.items()
        if any(cell.epoch is not None for cell in several)
    }
    if len(kept) == 1:
        return {"": next(iter(kept.values()))}
    # Numbered, for two architectures may be called the same.
    return {
        f"{place}-{re.sub(r'[^A-Za-z0-9.]+', '-', f'{architecture} {init}').strip('-.')}-": several
        for place, ((architecture, init), several) in enumerate(kept.items(), 1)
    }


def _figures(
    cells: Sequence[Cell], kind: str, n: int, bins: str | Sequence[float] | None
) -> dict[str, Callable[[], Figure]]:
    from biasgpu.figures import study

    found: dict[str, Callable[[], Figure]] = {}
    if kind in (ALL, "width"):
        found["width"] = lambda: study.curves(cells, over="width")
    if kind in (ALL, "depth"):
        found["depth"] = lambda: study.curves(cells, over="depth")
    if kind in (ALL, "histogram"):
        for loss in LOSSES:
            found[f"histogram-{loss}-n{n}"] = partial(
                study.histogram, at_the_end(cells), loss=loss, n_train=n
            )
    if kind in (ALL, "epochs"):
        for name, several in _on_the_way(cells, n).items():
            for loss in LOSSES:
                found[f"epochs-{name}{loss}-n{n}"] = partial(
                    study.histogram, several, loss=loss, n_train=n
                )
        if kind == "epochs" and not found:
            raise UsageError(
                f"training was looked at at its end alone at N = {n}.",
                why="the figure has a panel for each kept epoch, and one for the last.",
                fix="add some: keep_epochs=(1, 3, 5) and extend=True (biasgpu compare --resume "
                "study/ --extend --keep-epochs 1,3,5).",
            )
    if kind in (ALL, "boxes"):
        found[f"boxes-n{n}"] = lambda: study.boxes(cells, n_train=n)
    if kind in (ALL, "gradient-norm"):
        found["gradient-norm"] = lambda: study.gradient_norms(cells)
    if kind in (ALL, "bins"):
        found[f"bins-n{n}"] = lambda: study.bins(at_the_end(cells), bins=bins, n_train=n)
    return found
