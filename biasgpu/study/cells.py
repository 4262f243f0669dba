"""Cells: what a study found at one architecture, prior, data seed and N, one way of finding it.

Figures and verdicts are made of lists of cells and of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from biasgpu.architectures import Architecture
from biasgpu.estimates import Estimate

Way = Literal["guess-and-check", "sgd"]
WAYS: tuple[Way, ...] = ("guess-and-check", "sgd")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cell:
    """Networks without training error, found in one way.

    Attributes:
        way: "guess-and-check" (drawn) or "sgd" (trained, by whatever optimiser).
        architecture: their layers.
        prior: the name of the prior, or of the initialisation.
        data_seed: of the task.
        n_train: the N that they fit.
        estimate: P(a candidate fits), or how often training succeeds, with its interval.
        test_accuracy: float64 `(n,)`, in [0, 1].
        normalized_loss: float64 `(n,)`: Lipschitz-normalised loss over the N training samples; None
            where it was not measured.
        weight_normalized_loss: float64 `(n,)`, the same with the product of Frobenius norms; None
            where it was not measured.
        gradient_norms: float64 `(n, epochs + 1)` of trained networks, or None.
        epoch: where training was looked at before its end, after so many epochs; None at its end,
            and for networks that were drawn. The networks are those that fit then.
        optimizer: of trained networks ("sgd", "gd", "momentum", "adam", "pattern-search",
            "greedy-random"), else "".
        n_classes: of the task.
        task: the task's name and classes, for titles: "mnist 7 vs 0".
        problem: why the cell has no networks, or fewer than were asked for; "" if nothing is wrong.
        about: further facts for tables (JSON-able): seconds, files, epochs.
    """

    way: Way
    architecture: Architecture
    prior: str
    data_seed: int
    n_train: int
    estimate: Estimate
    test_accuracy: Floats
    normalized_loss: Floats | None = None
    weight_normalized_loss: Floats | None = None
    gradient_norms: Floats | None = None
    epoch: int | None = None
    optimizer: str = ""
    n_classes: int = 2
    task: str = ""
    problem: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def n_networks(self) -> int:
        """How many networks there are."""
        return len(self.test_accuracy)
