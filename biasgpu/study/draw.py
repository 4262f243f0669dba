"""The figures of a study by kind: which there are, and what they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from biasgpu.errors import UsageError, unknown
from biasgpu.study.bins import edges
from biasgpu.study.cells import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all"
KINDS = ("width", "depth", "histogram", "boxes", "gradient-norm", "bins")
LOSSES = ("normalized", "weight-normalized")


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
        kind: "width", "depth", "histogram", "boxes", "gradient-norm", "bins", or "all" that can be
            drawn.
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
    for name, make in _figures(
        cells, kind, there[-1] if n_train is None else n_train, bins
    ).items():
        try:
            drawn[name] = make()
        except UsageError as error:
            if kind != ALL and (kind != "histogram" or len(left_out) == len(LOSSES) - 1):
                raise
            left_out[name] = error.what
    return drawn, left_out


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
        found[f"histogram-normalized-n{n}"] = lambda: study.histogram(
            cells, loss="normalized", n_train=n
        )
        found[f"histogram-weight-normalized-n{n}"] = lambda: study.histogram(
            cells, loss="weight-normalized", n_train=n
        )
    if kind in (ALL, "boxes"):
        found[f"boxes-n{n}"] = lambda: study.boxes(cells, n_train=n)
    if kind in (ALL, "gradient-norm"):
        found["gradient-norm"] = lambda: study.gradient_norms(cells)
    if kind in (ALL, "bins"):
        found[f"bins-n{n}"] = lambda: study.bins(cells, bins=bins, n_train=n)
    return found
