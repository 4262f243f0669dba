"""A small run: started, interrupted, resumed, compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from biasgpu import mlp
from biasgpu.run import Run
from biasgpu.sampling import resume, sample
from biasgpu.sampling.events import (
    Event,
)
from biasgpu.task import Task

COLUMNS = ("index", "prefix", "margin", "test_accuracy", "test_accuracy_per_class")
N_TRAIN = 4


def make_task(n_test: int = 5) -> Task:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(N_TRAIN + n_test, 3)).astype(np.float32)
    y = np.arange(N_TRAIN + n_test) % 2
    return Task("points", x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], ("a", "b"))


def start(output: Path | None = None, **options: Any) -> Run:
    options = {"seed": 11, "engine": "reference", "curve_fits": 3, "fits": 4, **options}
    return sample(make_task(), mlp(3, 1), "uniform", output=output, **options)


def go_on(path: Path, **options: Any) -> Run:
    return resume(path, **{"engine": "reference", **options})


def assert_same(left: Run, right: Run) -> None:
    assert left.n_draws == right.n_draws
    assert left.prefix_counts.tolist() == right.prefix_counts.tolist()
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(left.fits, name), getattr(right.fits, name))
    assert (left.stop_reason, left.complete) == (right.stop_reason, right.complete)
    assert left.config == right.config
    assert left.curve == right.curve


def interrupting(kind: type[Event], number: int) -> Callable[[Event], None]:
    """Ctrl-C at the event of that kind and number."""
    seen = 0

    def on_event(event: Event) -> None:
        nonlocal seen
        if isinstance(event, kind):
            seen += 1
            if seen == number:
                raise KeyboardInterrupt

    return on_event
