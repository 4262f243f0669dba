"""The figures of an experiment: what a definition asks for, and how it is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biasgpu.errors import UsageError
from biasgpu.experiments.checks import check_keys, known_text, whole
from biasgpu.study.cells import Cell
from biasgpu.study.draw import KINDS as DRAWN
from biasgpu.study.draw import LOSSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = "bins"  # test accuracy by bins of the weight-normalised loss
KINDS = (*DRAWN, BINS)
# Kind -> the keys that it takes besides.
TAKES = {
    "width": (),
    "depth": (),
    "histogram": ("n", "loss"),
    "boxes": ("n",),
    "gradient-norm": (),
    BINS: ("n",),
}
KEYS = ("kind", "n", "loss")
SAYS = {
    "width": "curves over widths: test accuracy of guess and check and of SGD, and -log2 of the "
    "fit probability, against N",
    "depth": "curves over depths: test accuracy of guess and check and of SGD, and -log2 of the "
    "fit probability, against N",
    "histogram": "2-D histograms of {loss} training loss against test accuracy",
    "boxes": "box plots of test accuracy",
    "gradient-norm": "gradient norm of training by epoch, median and quartiles",
    BINS: "test accuracy by bins of the weight-normalised loss",
}


@dataclass(frozen=True)
class FigureSpec:
    """One `[[figure]]` of a definition.

    Attributes:
        kind: of `KINDS`.
        n: the N of histograms, boxes and bins; None takes the largest.
        loss: of histograms: "normalized" or "weight-normalized".
    """

    kind: str
    n: int | None = None
    loss: str = ""

    @property
    def name(self) -> str:
        """Of its files: "histogram-normalized-n16"."""
        at = "" if self.n is None else f"n{self.n}"
        return "-".join(part for part in (self.kind, self.loss, at) if part)

    @property
    def says(self) -> str:
        """What it shows, in words."""
        loss = "Lipschitz-normalised" if self.loss == "normalized" else "weight-normalised"
        at = "" if self.n is None else f", N = {self.n}"
        return SAYS[self.kind].format(loss=loss) + at

    @classmethod
    def from_config(cls, config: Mapping[str, Any], place: int) -> FigureSpec:
        """The figure that a table describes.

        Args:
            config: of one `[[figure]]`.
            place: which, from 1.

        Raises:
            UsageError: an unknown key or kind, or a key that the kind does not take.
        """
        where = f"figure {place}"
        check_keys("key", where, config, KEYS)
        kind = known_text(f"kind of {where}", config.get("kind"), KINDS)
        for key in config:
            if key != "kind" and key not in TAKES[kind]:
                raise UsageError(
                    f"{where} has {key}, and its kind is {kind!r}.",
                    why=f"a figure of this kind takes {', '.join(('kind', *TAKES[kind]))}.",
                    fix=f"leave {key} out, or draw another kind: {', '.join(KINDS)}.",
                )
        loss = "normalized" if kind == "histogram" else ""
        if "loss" in config:
            loss = known_text(f"loss of {where}", config["loss"], LOSSES)
        return cls(kind, whole("n", config["n"]) if "n" in config else None, loss)

    def check(self, n_trains: Collection[int]) -> None:
        """Refuse an N that no cell of the experiment has.

        Raises:
            UsageError: names those that there are.
        """
        if self.n is not None and self.n not in n_trains:
            raise UsageError(
                f"a figure is of n = {self.n}, and no cell has that N.",
                why=f"the studies have {', '.join(map(str, sorted(n_trains)))}.",
                fix=f"for example n = {max(n_trains)}, or add {self.n} to n of the study.",
            )

    def to_config(self) -> dict[str, Any]:
        """As a definition has it."""
        given = {"kind": self.kind, "n": self.n, "loss": self.loss}
        return {key: value for key, value in given.items() if value}

    def draw(self, cells: Sequence[Cell]) -> Figure:
        """The figure.

        Raises:
            UsageError: there is nothing to draw of.
        """
        from biasgpu import figures

        if self.kind in ("width", "depth"):
            return figures.curves(cells, over=self.kind)  # type: ignore[arg-type]
        if self.kind == "histogram":
            return figures.histogram(cells, n_train=self.n, loss=self.loss)  # type: ignore[arg-type]
        if self.kind == "boxes":
            return figures.boxes(cells, n_train=self.n)
        if self.kind == "gradient-norm":
            return figures.gradient_norms(cells)
        drawn = getattr(figures, BINS, None)
        if drawn is None:
            raise UsageError(
                "this version of biasgpu does not draw bins.",
                why="the view by bins of the weight-normalised loss is not part of it.",
                fix="install a newer biasgpu (pip install -U biasgpu); every other figure and "
                "table is made.",
            )
        return drawn(cells) if self.n is None else drawn(cells, n_train=self.n)
