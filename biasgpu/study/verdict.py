"""The verdict: whose gain it is, the architecture's or the optimiser's, in numbers.

For every comparison, at each N and over all of them: how test accuracy changes with width or depth
for guess and check and for SGD, and the share of the change that is SGD's,
(slope of SGD - slope of guess and check) / slope of SGD. Then the published claims, each decided by
a rule (`biasgpu.study.claims`). Everything is computed from cells, and from nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from biasgpu.errors import UsageError
from biasgpu.study import contrasts, published
from biasgpu.study.axes import (
    AXES,
    Comparison,
    at_the_end,
    cell_name,
    check_distinct,
    comparisons,
    position,
    source_label,
)
from biasgpu.study.bootstrap import Bootstrap, Quantity
from biasgpu.study.cells import Cell
from biasgpu.study.claims import MARGIN, Claim
from biasgpu.study.published import ONE_SEED
from biasgpu.study.tables import Slopes, Verdict

LEAST_RESAMPLES = 100


def verdict(
    cells: Sequence[Cell],
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
    margin: float = MARGIN,
) -> Verdict:
    """Slopes, shares and claims, with bootstrap intervals over data seeds and networks.

    Args:
        cells: of one study or of several; those of kept epochs do not count.
        seed: of the resampling.
        resamples: how many.
        confidence: nominal coverage of every interval.
        margin: differences of test accuracy (per doubling, per layer) within it count as none.

    Raises:
        UsageError: no cells, the same cell twice, or numbers out of range.

    Source:
        Peleg and Hein, ICML 2024, for the claims.
    """
    cells = at_the_end(cells)
    _check(cells, resamples, confidence, margin)
    start = partial(Bootstrap, seed=seed, resamples=resamples, confidence=confidence)
    usable, left_out = _usable(cells)
    rows: list[Slopes] = []
    found: list[Claim] = []
    for axis in AXES:
        tested = comparisons(usable, axis)
        for comparison in tested:
            made = _Measured(comparison, start)
            pooled = made.slopes(None)
            rows += [*(made.slopes(n_train) for n_train in comparison.n_trains), pooled]
            found += published.on_axis(pooled, margin)
        if not tested:
            found += published.untested(axis, margin)
    found += published.alike(usable, start, margin)
    return Verdict(
        slopes=tuple(rows),
        claims=tuple(found),
        left_out=tuple(left_out),
        n_cells=len(cells),
        seed=seed,
        resamples=resamples,
        confidence=confidence,
        margin=margin,
    )


class _Measured:
    """One comparison and its resamples."""

    def __init__(self, comparison: Comparison, start: partial[Bootstrap]) -> None:
        self.comparison = comparison
        # The order of the input must not matter: cells are resampled by their place.
        ordered = sorted(
            (cell for cell in comparison.cells if math.isfinite(self.place(cell))),
            key=lambda cell: (cell.way, str(cell.architecture), cell.n_train, cell.data_seed),
        )
        self.cells = list(enumerate(ordered))
        self.bootstrap = start(
            [cell.test_accuracy for cell in ordered], [cell.data_seed for cell in ordered]
        )

    def place(self, cell: Cell) -> float:
        return position(cell.architecture, self.comparison.axis)

    def slopes(self, n_train: int | None) -> Slopes:
        """At one N, or over all."""
        at = [pair for pair in self.cells if n_train in (None, pair[1].n_train)]
        drawn = [pair for pair in at if pair[1].way == "guess-and-check"]
        trained = [pair for pair in at if pair[1].way == "sgd"]
        measure = self.bootstrap.quantity
        slopes = [_or_none(measure(contrasts.slope(way, self.place))) for way in (drawn, trained)]
        gains = [_or_none(measure(contrasts.gain(way, self.place))) for way in (drawn, trained)]
        share, why = self._share(*contrasts.common(drawn, trained))
        sources = self.comparison.sources
        notes = [why] if why else []
        seeds = sorted({cell.data_seed for _, cell in at})
        if len(seeds) == 1:
            notes.append(ONE_SEED)
        infinite = [cell for cell in self.comparison.cells if math.isinf(self.place(cell))]
        if infinite:
            notes.append("infinite width counts in no slope")
        return Slopes(
            axis=self.comparison.axis,
            where=self.comparison.title,
            drawn_from=_label(sources.get("guess-and-check")),
            trained_from=_label(sources.get("sgd")),
            n_train=n_train,
            levels=tuple(self.comparison.labels),
            data_seeds=tuple(seeds),
            n_drawn=sum(cell.n_networks for _, cell in drawn),
            n_trained=sum(cell.n_networks for _, cell in trained),
            drawn_slope=slopes[0],
            trained_slope=slopes[1],
            drawn_gain=gains[0],
            trained_gain=gains[1],
            share=share,
            note="; ".join(notes),
        )

    def _share(
        self, drawn: contrasts.Indexed, trained: contrasts.Indexed
    ) -> tuple[Quantity | None, str]:
        """SGD's share of the change, over the cells that both ways have; or why there is none."""
        lines = [contrasts.slope(way, self.place) for way in (drawn, trained)]
        measured = self.bootstrap.quantity(lines[1])
        values = [self.bootstrap.value(line) for line in lines]
        drawn_by, trained_by = (self.bootstrap.replicates(line) for line in lines)
        if drawn_by is None or trained_by is None or values[0] is None or values[1] is None:
            return None, "no share: one way has too few cells"
        if measured.low is None or measured.high is None:
            return None, "no share: too few networks"
        if measured.low <= 0.0 <= measured.high:
            return None, "no share: the interval of SGD's slope contains 0"
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = (trained_by - drawn_by) / trained_by
        value = (values[1] - values[0]) / values[1]
        return self.bootstrap.summarize(value, replicates, measured.n_seeds), ""


def _usable(cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """Cells with test accuracies, and what is to be said about the others."""
    kept, said = [], []
    for cell in cells:
        finite = cell.test_accuracy[np.isfinite(cell.test_accuracy)]
        remark = cell.problem
        if not cell.n_networks:
            said.append(f"{cell_name(cell)}: no networks{f' ({remark})' if remark else ''}")
            continue
        if len(finite) < cell.n_networks:
            missing = cell.n_networks - len(finite)
            lost = f"{missing} of {cell.n_networks} networks have no test accuracy"
            remark = "; ".join(part for part in (remark, lost) if part)
        if remark:
            said.append(f"{cell_name(cell)}: {cell.n_networks} networks; {remark}")
        if len(finite):
            kept.append(replace(cell, test_accuracy=finite))
    return kept, said


def _check(cells: Sequence[Cell], resamples: int, confidence: float, margin: float) -> None:
    if not cells:
        raise UsageError(
            "there is no cell to judge.",
            why="a verdict is made of the cells of a study.",
            fix="give the cells of a study that has finished one at least (biasgpu compare).",
        )
    check_distinct(cells)
    if isinstance(resamples, bool) or resamples < LEAST_RESAMPLES:
        raise UsageError(
            f"resamples is {resamples}; it must be {LEAST_RESAMPLES} or more.",
            why="the ends of an interval are percentiles of the resamples.",
            fix="for example resamples=2000 (--resamples 2000).",
        )
    if not 0.0 < confidence < 1.0:
        raise UsageError(
            f"confidence is {confidence}; it must lie between 0 and 1.",
            why="it is the probability with which an interval covers the truth.",
            fix="for example confidence=0.95 (--confidence 0.95).",
        )
    if not 0.0 < margin < 1.0:
        raise UsageError(
            f"margin is {margin}; it must lie between 0 and 1.",
            why="differences of test accuracy within it count as none.",
            fix="for example margin=0.01 (--margin 0.01), one percentage point.",
        )


def _or_none(quantity: Quantity) -> Quantity | None:
    return None if quantity.value is None else quantity


def _label(source: tuple[str, str, str] | None) -> str:
    return "" if source is None else source_label(source)
