"""A study in one table: for each architecture, N and way, means over the data seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from biasgpu.study.cells import Cell


def table(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row for each architecture, N, way, prior or initialisation, and kept epoch.

    Args:
        cells: of any number of data seeds.

    Returns:
        JSON-able rows: `architecture`, `n_train`, `way`, `prior`, `epoch` (None at the end of
        training), `n_data_seeds` (those that have networks), `n_networks`, `test_accuracy` (mean
        over data seeds of the mean over networks), `test_accuracy_std` (between data seeds; None
        for fewer than two), `minus_log2_probability` (mean over the data seeds where it is known),
        `success_rate` (of training, over the data seeds together), `problems` (as texts, each with
        its data seed).
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        name = (cell.architecture, cell.n_train, cell.way, cell.prior, cell.epoch)
        groups.setdefault(name, []).append(cell)
    order = {one: place for place, one in enumerate(dict.fromkeys(c.architecture for c in cells))}
    names = sorted(groups, key=lambda name: (order[name[0]], name[1]))
    return [_row(groups[name]) for name in names]


def _row(cells: list[Cell]) -> dict[str, Any]:
    first = cells[0]
    means = np.array([_mean(cell) for cell in cells if cell.n_networks])
    means = means[np.isfinite(means)]
    bits = [cell.estimate.minus_log2 for cell in cells if cell.estimate.minus_log2 is not None]
    tried = sum(cell.estimate.n_candidates for cell in cells)
    fitted = sum(cell.estimate.n_fits for cell in cells)
    drawn = first.way == "guess-and-check"
    return {
        "architecture": str(first.architecture),
        "n_train": first.n_train,
        "way": first.way,
        "prior": first.prior,
        "epoch": first.epoch,
        "n_data_seeds": sum(cell.n_networks > 0 for cell in cells),
        "n_networks": sum(cell.n_networks for cell in cells),
        "test_accuracy": float(means.mean()) if len(means) else None,
        "test_accuracy_std": float(means.std(ddof=1)) if len(means) > 1 else None,
        "minus_log2_probability": float(np.mean(bits)) if bits and drawn else None,
        "success_rate": None if drawn or not tried else fitted / tried,
        "problems": [
            f"data seed {cell.data_seed}: {cell.problem}" for cell in cells if cell.problem
        ],
    }


def describe(cell: Cell) -> dict[str, Any]:
    """One cell in JSON-able numbers."""
    from biasgpu import estimates

    accuracy = cell.test_accuracy
    return {
        "way": cell.way,
        "architecture": str(cell.architecture),
        "prior": cell.prior,
        "data_seed": cell.data_seed,
        "n_train": cell.n_train,
        "epoch": cell.epoch,
        "n_networks": cell.n_networks,
        "test_accuracy": estimates.summary(accuracy, cell.estimate.confidence).to_dict(),
        "normalized_loss": _mean_or_none(cell.normalized_loss),
        "weight_normalized_loss": _mean_or_none(cell.weight_normalized_loss),
        "estimate": cell.estimate.to_dict(),
        "problem": cell.problem,
        **cell.about,
    }


def _mean(cell: Cell) -> float:
    return float(cell.test_accuracy.mean())


def _mean_or_none(values: np.ndarray[Any, Any] | None) -> float | None:
    return None if values is None or not len(values) else float(values.mean())
