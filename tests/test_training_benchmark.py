"""The published way to train is the law too, and no speed is stated for a trainer that is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import training
from biasgpu.training.recipe import Recipe

WORK = "train-lenet-2/6"


@pytest.mark.parametrize("work", training.WORKS)
def test_all_follow_the_law(work: str) -> None:
    assert training.disagreements(work, networks=4) == []


def test_who_strays_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = training.Published.epoch

    def twice(self: training.Published, order: torch.Tensor) -> None:
        epoch(self, order.flip(0))

    monkeypatch.setattr(training.Published, "epoch", twice)
    assert training.disagreements(WORK, networks=4) == ["published"]


def test_measure_sweeps_the_networks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "RECIPE", Recipe(epochs=1))
    monkeypatch.setattr(training, "TRAINERS", ("torch",))
    tried: list[int] = []
    published = training.published

    def count(work: str, networks: int, *rest: Any) -> training.Published:
        tried.append(networks)
        return published(work, networks, *rest)

    monkeypatch.setattr(training, "published", count)
    threads = torch.get_num_threads()
    rows = training.measure(WORK, threads=1, repeats=2, seconds=0.01, at_once=(1, 3))
    assert tried[:2] == [1, 3] and len(tried) == 4
    (row,) = rows
    assert row.work == f"{WORK} torch" and row.batch == tried[-1]
    assert 0 < row.low <= row.networks_per_s <= row.high
    assert np.isclose(row.ratio, row.networks_per_s / row.baseline_per_s)
    assert torch.get_num_threads() == threads
