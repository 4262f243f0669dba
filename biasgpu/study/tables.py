"""A verdict as data: JSON-able, as rows of strings, and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from biasgpu.study.axes import Axis
from biasgpu.study.bootstrap import Quantity
from biasgpu.study.claims import Claim

Rows = list[tuple[str, ...]]
UNIT: dict[Axis, str] = {"width": "per doubling", "depth": "per layer"}
SLOPE_HEADER = (
    *("comparison", "axis", "N", "guess and check: slope", "SGD: slope", "SGD's share"),
    *("guess and check: gain", "SGD: gain", "data seeds", "networks", "note"),
)
CLAIM_HEADER = ("claim", "where", "found", "verdict", "rule: holds if", "note")


@dataclass(frozen=True)
class Slopes:
    """One comparison at one N, or over all.

    Attributes:
        axis: "width" or "depth".
        where: architecture family and task.
        drawn_from: the prior of guess and check; "" without cells.
        trained_from: optimizer and initialisation; "" without cells.
        n_train: the N, or None for all together.
        levels: the widths or depths.
        data_seeds: of the cells with networks.
        n_drawn, n_trained: networks, over all cells.
        drawn_slope, trained_slope: test accuracy per doubling of width, or per layer; None where
            there are not two levels.
        drawn_gain, trained_gain: test accuracy at the widest (deepest) minus at the narrowest.
        share: (slope of SGD - slope of guess and check) / slope of SGD, over the cells that both
            have; None where it is undefined.
        note: why it is, and what the intervals leave out.
    """

    axis: Axis
    where: str
    drawn_from: str
    trained_from: str
    n_train: int | None
    levels: tuple[str, ...]
    data_seeds: tuple[int, ...]
    n_drawn: int
    n_trained: int
    drawn_slope: Quantity | None
    trained_slope: Quantity | None
    drawn_gain: Quantity | None
    trained_gain: Quantity | None
    share: Quantity | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the attributes."""
        names = ("drawn_slope", "trained_slope", "drawn_gain", "trained_gain", "share")
        quantities = {name: getattr(self, name) for name in names}
        plain = ("axis", "where", "drawn_from", "trained_from", "n_train", "n_drawn", "n_trained")
        return {
            **{name: getattr(self, name) for name in plain},
            "levels": list(self.levels),
            "data_seeds": list(self.data_seeds),
            **{name: found and found.to_dict() for name, found in quantities.items()},
            "note": self.note,
        }


@dataclass(frozen=True)
class Verdict:
    """What a study says.

    Attributes:
        slopes: every comparison at each N, and then over all N.
        claims: the published claims, decided.
        left_out: cells without networks or with fewer than were asked for, and why.
        n_cells: cells given.
        seed, resamples, confidence, margin: as they were given to `verdict`.
    """

    slopes: tuple[Slopes, ...]
    claims: tuple[Claim, ...]
    left_out: tuple[str, ...]
    n_cells: int
    seed: int
    resamples: int
    confidence: float
    margin: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary; accuracies are shares of 1, not percentage points."""
        return {
            "slopes": [row.to_dict() for row in self.slopes],
            "claims": [claim.to_dict() for claim in self.claims],
            "left_out": list(self.left_out),
            "n_cells": self.n_cells,
            "bootstrap": {
                "seed": self.seed,
                "resamples": self.resamples,
                "confidence": self.confidence,
            },
            "margin": self.margin,
        }

    def table(self, *, every_n: bool = False) -> Rows:
        """The slopes as text, in percentage points; the first row is the header.

        Args:
            every_n: also a row for each N, not only for all together.
        """
        rows: Rows = [SLOPE_HEADER]
        for row in self.slopes:
            if row.n_train is not None and not every_n:
                continue
            unit = UNIT[row.axis]
            sources = " and ".join(filter(None, (row.drawn_from, row.trained_from)))
            rows.append(
                (
                    f"{row.where}; {sources}",
                    f"{row.axis} {', '.join(row.levels)}",
                    "all" if row.n_train is None else str(row.n_train),
                    points(row.drawn_slope, unit),
                    points(row.trained_slope, unit),
                    share(row.share),
                    points(row.drawn_gain),
                    points(row.trained_gain),
                    str(len(row.data_seeds)),
                    f"{row.n_drawn:,} and {row.n_trained:,}",
                    row.note,
                )
            )
        return rows

    def claims_table(self) -> Rows:
        """The claims as text; the first row is the header."""
        rows: Rows = [CLAIM_HEADER]
        for claim in self.claims:
            many = len(claim.found) > 1
            found = "; ".join(
                f"{name}: {points(quantity, claim.unit)}" if many else points(quantity, claim.unit)
                for name, quantity in claim.found.items()
            )
            rows.append(
                (claim.text, claim.where, found or "-", claim.decision, claim.rule, claim.note)
            )
        return rows

    def markdown(self, *, every_n: bool = True) -> str:
        """Both tables, how the intervals were made, and what was left out.

        Args:
            every_n: also a row for each N, not only for all together.
        """
        made = (
            f"{100 * self.confidence:g} % intervals from {self.resamples:,} bootstrap resamples of "
            f"data seeds and then of networks (seed {self.seed}); {self.n_cells} cells. Slopes are "
            "in percentage points of test accuracy (pp) per doubling of the width or per layer."
        )
        parts = ["## Claims", _markdown(self.claims_table()), "## Slopes", made]
        parts.append(_markdown(self.table(every_n=every_n)))
        if self.left_out:
            parts += ["## Cells that lack networks", "\n".join(f"- {x}" for x in self.left_out)]
        return "\n\n".join(parts) + "\n"


def points(found: Quantity | None, unit: str = "") -> str:
    """A number and its interval: `+1.23 [+0.80, +1.66] pp per doubling`, or `-`."""
    if found is None or found.value is None:
        return "-"
    interval = "[no interval]"
    if found.low is not None and found.high is not None:
        interval = f"[{_point(found.low)}, {_point(found.high)}]"
    return f"{_point(found.value)} {interval} pp {unit}".strip()


def share(found: Quantity | None) -> str:
    """A share and its interval: `84 % [70, 99]`, or `undefined`."""
    if found is None or found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return f"{100 * found.value:.0f} % [no interval]"
    return f"{100 * found.value:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _point(value: float) -> str:
    return f"{100 * value + 0.0:+.2f}".replace("-0.00", "+0.00")


def _markdown(rows: Rows) -> str:
    header, *rest = ([text.replace("|", "\\|") for text in row] for row in rows)
    lines = [header, ["---"] * len(header), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
