"""A small study: made, interrupted, gone on with, compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import biasgpu
from biasgpu.study import StudyFolder
from biasgpu.study.cells import Cell

SETTINGS: dict[str, Any] = {
    "data": "kink",
    "arch": "mlp",
    "widths": [4, 6],
    "depths": [1],
    "bias": "prior",
    "data_seeds": [1, 2],
    "n_train": 4,
    "fits": 4,
    "trained": 3,
    "networks": 30,
    "candidates": 20_000,
    "time_s": None,
    "epochs": 10,
    "learning_rate": 0.2,
    "seed": 5,
}
N_JOBS = 2 * 2 * 3  # widths, data seeds; guess and check, and training at N = 2 and 4
OPTIONS = [
    *("--data", "kink", "--arch", "mlp", "--width", "4,6", "--depth", "1", "--bias", "prior"),
    *("--data-seeds", "1,2", "--n-train", "4", "--fits", "4", "--trained", "3"),
    *("--networks", "30", "--candidates", "20000", "--epochs", "10", "--learning-rate", "0.2"),
    *("--seed", "5", "--engine", "reference"),
]  # fmt: skip


def make(
    output: Path, *, on_event: Callable[[Any], None] | None = None, **more: Any
) -> StudyFolder:
    given = {"engine": "reference", **SETTINGS, **more}
    return biasgpu.compare(output=output, on_event=on_event, **given)


def assert_same(left: list[Cell], right: list[Cell]) -> None:
    """Equal to the bit in all that is a result."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for name in ("way", "architecture", "prior", "data_seed", "n_train", "estimate", "problem"):
            assert getattr(one, name) == getattr(other, name), name
        for name in ("test_accuracy", "normalized_loss", "weight_normalized_loss"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
