"""Cells of realistic shape, made up: their accuracies follow known lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biasgpu import lenet
from biasgpu.architectures import Architecture
from biasgpu.estimates import estimate
from biasgpu.study.cells import WAYS, Cell, Way

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NARROWEST = "1/6,1/6,1/24,1/24"
WIDTHS = (NARROWEST, "1/6", "2/6", "3/6", "4/6")
DEPTHS = ("1c-1f", "2c-1f", "2c-2f", "2c-3f")
PRIORS: dict[Way, str] = {"guess-and-check": "uniform", "sgd": "kaiming-uniform"}
Level = Callable[[Way, int, int, int], float]


def make_cell(
    accuracy: Sequence[float] | np.ndarray,
    *,
    way: Way = "guess-and-check",
    architecture: Architecture | None = None,
    prior: str | None = None,
    data_seed: int = 200,
    n_train: int = 8,
    n_candidates: int = 10_000,
    **rest: object,
) -> Cell:
    """One cell of given accuracies."""
    values = np.asarray(accuracy, dtype=np.float64)
    found = estimate(max(n_candidates, len(values)), len(values), stopped_by="candidates")
    return Cell(
        way=way,
        architecture=architecture or lenet("2/6"),
        prior=prior or PRIORS[way],
        data_seed=data_seed,
        n_train=n_train,
        estimate=found,
        test_accuracy=values,
        **{"optimizer": "sgd" if way == "sgd" else "", "task": "mnist 7 vs 0", **rest},  # pyright: ignore[reportArgumentType]
    )


def make_study(
    architectures: Sequence[Architecture],
    level: Level,
    *,
    ways: Sequence[Way] = WAYS,
    n_trains: Sequence[int] = (2, 8, 16),
    data_seeds: Sequence[int] = (200, 201, 202, 203),
    n: int = 40,
    spread: float = 0.04,
    measures: bool = False,
) -> list[Cell]:
    """Cells for every way, architecture, N and data seed.

    Args:
        architectures: in order.
        level: the mean accuracy by way, place of the architecture, N, and place of the data seed.
        ways: which.
        n_trains: which.
        data_seeds: which.
        n: networks a cell.
        spread: standard deviation of accuracies in a cell.
        measures: losses and gradient norms as well.
    """
    rng = np.random.default_rng(11)
    cells = []
    for way in ways:
        for place, architecture in enumerate(architectures):
            for n_train in n_trains:
                for seed_place, data_seed in enumerate(data_seeds):
                    mean = level(way, place, n_train, seed_place)
                    accuracy = np.clip(mean + spread * rng.standard_normal(n), 0.0, 1.0)
                    extra: dict[str, object] = {}
                    if measures:
                        loss = 0.66 - 0.5 * (accuracy - 0.4) ** 2 + 0.02 * rng.standard_normal(n)
                        extra["normalized_loss"] = loss
                        extra["weight_normalized_loss"] = 0.690 + 0.003 * (loss - 0.5)
                        if way == "sgd":
                            steps = np.arange(61)
                            decay = np.exp(-steps / (6.0 + 4.0 * place)) + 1e-3
                            noise = np.exp(0.4 * rng.standard_normal((n, 61)))
                            extra["gradient_norms"] = (2.0 + place) * decay * noise
                    tested = int(n * 2 ** (0.9 * n_train + 0.1 * place)) if way != "sgd" else n + 3
                    cells.append(
                        make_cell(
                            accuracy,
                            way=way,
                            architecture=architecture,
                            data_seed=data_seed,
                            n_train=n_train,
                            n_candidates=tested,
                            **extra,  # pyright: ignore[reportArgumentType]
                        )
                    )
    return cells


THREE = [lenet(width) for width in ("1/6", "2/6", "4/6")]


def rising(way: Way, place: int, n_train: int, seed: int) -> float:
    return 0.6 + 0.01 * n_train + 0.02 * seed + (0.03 * place if way == "sgd" else 0.0)


def study(**options: Any) -> list[Cell]:
    return make_study(THREE, rising, n=6, **options)


def note(figure: Figure) -> str:
    """What stands below a figure, in one line."""
    return " ".join(figure.get_supxlabel().split())


def by(cells: Sequence[Cell], way: str, place: int, n_train: int) -> list[Cell]:
    return [
        cell
        for cell in cells
        if (cell.way, cell.architecture, cell.n_train) == (way, THREE[place], n_train)
    ]


def without(cells: Sequence[Cell], empty: Any) -> list[Cell]:
    """The cells, those that `empty` holds for without networks."""
    return [
        make_cell(
            [],
            way=cell.way,
            architecture=cell.architecture,
            data_seed=cell.data_seed,
            n_train=cell.n_train,
            n_candidates=1 << 20,
            problem="no fit in time",
        )
        if empty(cell)
        else cell
        for cell in cells
    ]
