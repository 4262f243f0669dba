"""Small tasks to train on, and what plain loops over the law say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import biasgpu
from biasgpu import mlp
from biasgpu.fits import OPTIONAL, Fits
from biasgpu.task import Task
from biasgpu.training.trained import Trained

ARCHITECTURE = mlp(4, 1)
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.1,
    "epochs": 4,
    "keep_epochs": (0, 2),
    "gradient_norms": True,
    "seed": 3,
    "engine": "reference",
}
COLUMNS = (
    "index",
    "prefix",
    "margin",
    "test_accuracy",
    "test_accuracy_per_class",
    "test_predictions",
    *OPTIONAL,
)


def make_task(n_classes: int = 2, n_train: int = 6, n_test: int = 7) -> Task:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(n_train + n_test, 3)).astype(np.float32)
    y = np.arange(n_train + n_test) % n_classes
    names = tuple("abc"[:n_classes])
    return Task("points", x[:n_train], y[:n_train], x[n_train:], y[n_train:], names)


def train(output: Path | None = None, **options: Any) -> Trained:
    task = options.pop("task", None) or make_task()
    architecture = options.pop("architecture", ARCHITECTURE)
    if not {"networks", "fits", "time_s"} & set(options):
        options["networks"] = 24
    return biasgpu.train(task, architecture, output=output, **{**SETTINGS, **options})


def assert_same_fits(left: Fits, right: Fits) -> None:
    for name in COLUMNS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)


def assert_same(left: Trained, right: Trained) -> None:
    """Equal in everything but how long it took."""
    assert left.n_networks == right.n_networks
    assert left.n_diverged == right.n_diverged
    assert left.prefix_counts.tolist() == right.prefix_counts.tolist()
    assert_same_fits(left.fits, right.fits)
    assert (left.stop_reason, left.complete) == (right.stop_reason, right.complete)
    assert left.config == right.config


def fake_measures(networks: Any, *, threads: int | None = None) -> dict[str, Any]:
    """Columns that tell whether they are those of the right network and sample."""
    flat = networks.parameters(0, len(networks)).astype(np.float64)
    task, layers = networks.task, sum(step.linear is not None for step in networks.steps)
    total = flat.sum(axis=1)
    logits = np.arange(task.n_train * task.n_classes).reshape(task.n_train, task.n_classes)
    return {
        "train_logits": total[:, None, None] + logits,
        "lipschitz": np.abs(total),
        "frobenius": np.abs(total)[:, None] * np.arange(1, layers + 1),
        "spectral": np.abs(flat).max(axis=1)[:, None] * np.ones(layers),
    }
