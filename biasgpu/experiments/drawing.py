"""The figures of an experiment: what a definition asks for, and how it is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biasgpu.errors import UsageError
from biasgpu.experiments.checks import check_keys, known_text, whole
from biasgpu.study import Study
from biasgpu.study.axes import at_the_end
from biasgpu.study.cells import Cell
from biasgpu.study.draw import BY_LOSS, KINDS, LOSSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Kind -> the keys that it takes besides.
TAKES = {
    "width": (),
    "depth": (),
    "histogram": ("n", "loss"),
    "epochs": ("n", "loss"),
    "boxes": ("n",),
    "gradient-norm": (),
    "bins": ("n",),
}
KEYS = ("kind", "n", "loss")
# Kind -> the settings without which no cell has what it shows, with values that will do.
NEEDS = {
    "histogram": {"measures": "true"},
    "bins": {"measures": "true"},
    "epochs": {"measures": "true", "inits": '["kaiming-uniform"]', "keep_epochs": "[1, 3, 5]"},
    "gradient-norm": {"gradient_norms": "true", "inits": '["kaiming-uniform"]'},
}
SAYS = {
    "width": "curves over widths: test accuracy of guess and check and of SGD, and -log2 of the "
    "fit probability, against N",
    "depth": "curves over depths: test accuracy of guess and check and of SGD, and -log2 of the "
    "fit probability, against N",
    "histogram": "2-D histograms of {loss} training loss against test accuracy",
    "epochs": "2-D histograms of {loss} training loss against test accuracy, at kept epochs of "
    "training and at its end",
    "boxes": "box plots of test accuracy",
    "gradient-norm": "gradient norm of training by epoch, median and quartiles",
    "bins": "test accuracy by bins of the weight-normalised loss",
}


@dataclass(frozen=True)
class FigureSpec:
    """One `[[figure]]` of a definition.

    Attributes:
        kind: of `KINDS`.
        n: the N of histograms, boxes and bins; None takes the largest.
        loss: of histograms, by epoch or not: "normalized" or "weight-normalized".
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
        loss = "normalized" if kind in BY_LOSS else ""
        if "loss" in config:
            loss = known_text(f"loss of {where}", config["loss"], LOSSES)
        return cls(kind, whole("n", config["n"]) if "n" in config else None, loss)

    def check(self, n_trains: Collection[int], studies: Collection[Study]) -> None:
        """Refuse what no cell of the experiment can show.

        Args:
            n_trains: the N that its cells have.
            studies: of the experiment.

        Raises:
            UsageError: names what there is, or what is needed.
        """
        if self.n is not None and self.n not in n_trains:
            raise UsageError(
                f"a figure is of n = {self.n}, and no cell has that N.",
                why=f"the studies have {', '.join(map(str, sorted(n_trains)))}.",
                fix=f"for example n = {max(n_trains)}, or add {self.n} to n of the study.",
            )

        needs = NEEDS.get(self.kind, {})
        if not any(all(getattr(study, name) for name in needs) for study in studies):
            raise UsageError(
                f"a figure is of kind {self.kind!r}, and no study has what it shows.",
                why=f"it needs {' and '.join(needs)} in one study.",
                fix="set them in the definition, for example "
                f"{'; '.join(f'{name} = {value}' for name, value in needs.items())}, or leave "
                "the figure out.",
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
        if self.kind == "epochs":
            trained = [cell for cell in cells if cell.way == "sgd"]
            return figures.histogram(trained, n_train=self.n, loss=self.loss)  # type: ignore[arg-type]
        if self.kind == "boxes":
            return figures.boxes(cells, n_train=self.n)
        if self.kind == "gradient-norm":
            return figures.gradient_norms(cells)
        last = at_the_end(cells)
        if self.kind == "bins":
            return figures.bins(last, n_train=self.n)
        return figures.histogram(last, n_train=self.n, loss=self.loss)  # type: ignore[arg-type]
