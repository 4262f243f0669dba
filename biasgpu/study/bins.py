"""Test accuracy by bin of weight-normalised loss: networks of equal loss, found in different ways.

A bin (low, high] holds the networks without training error whose weight-normalised loss lies in it.
What no network reached has a bound instead: a share p of the networks leaves a bin empty among n of
them with probability (1 - p)^n, so p is at most 1 - (1 - confidence)^(1/n).

Source: Chiang et al., ICLR 2023, whose bins, borders included, are the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from biasgpu import estimates
from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError
from biasgpu.study.axes import check_distinct, position, source_label, source_of
from biasgpu.study.cells import Cell, Floats, Way

MNIST, CIFAR10 = "0.30:0.65:0.05", "0.55:0.67:0.02"
MOST = 1000
NOT_REACHED = "not reached"


@dataclass(frozen=True)
class LossBin:
    """Networks found in one way, in one bin.

    Attributes:
        task: its name and classes.
        architecture: their layers.
        n_train: the N that they fit.
        way, source: how they were found: "sgd", "pattern-search from uniform, 60 epochs".
        low, high: the bin, `low` not in it.
        n_networks: in the bin.
        n_measured: networks found in this way, in whichever bin or in none.
        test_accuracy: the mean; None where the bin is empty. Over data seeds, of the means of each,
            where several have networks in the bin, else over networks.
        test_accuracy_low, test_accuracy_high: Student's t interval; None for fewer than two values.
        share: n_networks / n_measured; None where there is no network at all.
        share_low, share_high: its exact interval; for an empty bin from 0 to the upper bound of the
            same confidence.
    """

    task: str
    architecture: Architecture
    n_train: int
    way: Way
    source: str
    low: float
    high: float
    n_networks: int
    n_measured: int
    test_accuracy: float | None
    test_accuracy_low: float | None
    test_accuracy_high: float | None
    share: float | None
    share_low: float
    share_high: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the attributes."""
        plain = {name: value for name, value in vars(self).items() if name != "architecture"}
        return {"architecture": str(self.architecture), **plain}


def edges(bins: str | Sequence[float] | None = None, task: str = "") -> Floats:
    """The borders of bins.

    Args:
        bins: "LOW:HIGH:STEP", or the borders, increasing; None takes those of Chiang et al. for the
            task's data: 0.55:0.67:0.02 for CIFAR-10, else 0.30:0.65:0.05.
        task: the cells' `task`: "mnist 7 vs 0".

    Returns:
        float64 `(n_bins + 1,)`.

    Raises:
        UsageError: they cannot be.
    """
    if bins is None:
        bins = CIFAR10 if task.startswith("cifar") else MNIST
    try:
        if isinstance(bins, str):
            low, high, step = (float(part) for part in bins.split(":"))
            count = round((high - low) / step)
            if not 1 <= count <= MOST or not math.isclose(low + count * step, high, abs_tol=1e-9):
                raise ValueError
            # Decimal borders as they are written: 0.35, not 0.35 and rounding.
            found = np.array([round(low + place * step, 12) for place in range(count + 1)])
        else:
            found = np.array([float(one) for one in bins])
        if not 2 <= len(found) <= MOST + 1 or not np.isfinite(found).all():
            raise ValueError
        if not (np.diff(found) > 0).all():
            raise ValueError
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(
            f"bins are {bins!r}.",
            why=f"they are LOW:HIGH:STEP, whole steps that increase, at most {MOST} of them.",
            fix=f"for example bins={MNIST!r} (--bins {MNIST}).",
        ) from None
    return found


def loss_bins(
    cells: Sequence[Cell],
    bins: str | Sequence[float] | None = None,
    *,
    n_train: int | None = None,
    confidence: float = 0.95,
) -> list[LossBin]:
    """What each way found in each bin.

    Args:
        cells: of one study or of several; the data seeds of one source are taken together.
        bins: as of `edges`.
        n_train: of this N alone.
        confidence: of the intervals.

    Returns:
        all bins of a source one after the other, by task, width and depth, N, and source.

    Raises:
        UsageError: bins that cannot be, or no cell in which the loss was measured.
    """
    check_distinct(cells)
    edges(bins)  # refused before anything else is
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        if n_train in (None, cell.n_train) and cell.weight_normalized_loss is not None:
            key = (cell.task, cell.architecture, cell.n_train, cell.way, source_of(cell))
            groups.setdefault(key, []).append(cell)
    if not groups:
        raise UsageError(
            "no cell has networks with a weight-normalised loss.",
            why="they are put into bins by it.",
            fix="find networks with measures=True (without --no-measures), or another N "
            "(n_train=, --n).",
        )
    found: list[LossBin] = []
    for key in sorted(groups, key=_order):
        task, architecture, n, way, source = key
        borders = edges(bins, task)
        for low, high in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
            numbers = _numbers(groups[key], low, high, confidence)
            found.append(
                LossBin(task, architecture, n, way, source_label(source), low, high, **numbers)
            )
    return found


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    task, architecture, n, way, source = key
    width = position(architecture, "width")
    width = -math.inf if math.isnan(width) else width
    return task, architecture.name, width, architecture.depth, str(architecture), n, way, source


def _numbers(cells: list[Cell], low: float, high: float, confidence: float) -> dict[str, Any]:
    seeds: list[Floats] = []
    measured = 0
    for cell in cells:
        loss = cell.weight_normalized_loss
        assert loss is not None
        measured += int(np.isfinite(loss).sum())
        inside = (loss > low) & (loss <= high)
        if inside.any():
            seeds.append(cell.test_accuracy[inside])
    n = sum(map(len, seeds))
    values = np.array([one.mean() for one in seeds]) if len(seeds) > 1 else np.concatenate(
        [np.zeros(0), *seeds]
    )  # fmt: skip
    about = asdict(estimates.summary(values[np.isfinite(values)], confidence))
    share_low, share_high = estimates.clopper_pearson(n, measured, confidence)
    if not n and measured:  # one-sided: there is nothing below
        share_high = -math.expm1(math.log1p(-confidence) / measured)
    return {
        "n_networks": n,
        "n_measured": measured,
        "test_accuracy": about["mean"],
        "test_accuracy_low": about["low"],
        "test_accuracy_high": about["high"],
        "share": n / measured if measured else None,
        "share_low": share_low,
        "share_high": share_high,
    }


def bins_table(rows: Sequence[LossBin]) -> list[tuple[str, ...]]:
    """As text, a row a source and a column a bin; the first row is the header.

    A bin has its mean accuracy, half the interval's width, and how many networks; an empty one the
    upper bound of the share of networks that lie in it.
    """
    bins = list(dict.fromkeys((row.low, row.high) for row in rows))
    groups: dict[tuple[Any, ...], dict[tuple[float, float], LossBin]] = {}
    for row in rows:
        key = (row.task, str(row.architecture), row.n_train, row.way, row.source)
        groups.setdefault(key, {})[row.low, row.high] = row
    tasks = len({row.task for row in rows}) > 1
    table = [
        (
            "architecture",
            "N",
            "found by",
            "networks",
            *(f"{low:g} to {high:g}" for low, high in bins),
        )
    ]
    for (task, architecture, n, way, source), of in groups.items():
        name = f"{architecture}, {task}" if tasks else architecture
        how = f"guess and check, {source}" if way == "guess-and-check" else source
        measured = next(iter(of.values())).n_measured
        table.append((name, str(n), how, f"{measured:,}", *(_cell(of.get(one)) for one in bins)))
    return table


def _cell(row: LossBin | None) -> str:
    if row is None:
        return ""
    if not row.n_networks:
        return f"{NOT_REACHED} (< {row.share_high:.2g})" if row.n_measured else NOT_REACHED
    if row.test_accuracy is None:
        return f"({row.n_networks:,})"
    said = f"{100 * row.test_accuracy:.1f} %"
    if row.test_accuracy_low is not None:
        said += f" ± {100 * (row.test_accuracy - row.test_accuracy_low):.1f}"
    return f"{said} ({row.n_networks:,})"
