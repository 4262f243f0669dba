"""Two engines, two independent samples of trained networks, one distribution.

Held beside the law itself is the cpu engine (test_cpu_trainer.py), which is why torch is not again.

Within one seed all networks see the samples in the same order, so draws of two ranges under one
seed are independent samples of one distribution exactly; under two seeds the orders would differ,
and with them, a little, what comes out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact, ks_2samp

import biasgpu
from biasgpu import Architecture, Task, Trained, layers

NETWORKS = 1000
FALSE_ALARM = 1e-4  # of each of three comparisons, twice: one choice of the seed in 1,667
PLAIN = Architecture(
    "small",
    [
        *(layers.Conv2d(3, kernel=3, padding=1), layers.ReLU(), layers.MaxPool2d(2)),
        *(layers.Conv2d(2, kernel=2), layers.ReLU(), layers.Flatten(), layers.Dense(6)),
        layers.ReLU(),
    ],
)
BLOCK = layers.residual(
    layers.Conv2d(3, "none", kernel=3, padding=1), layers.BatchNorm2d(), layers.ReLU()
)
NORMED = Architecture(
    "small-norm",
    [
        *(layers.Conv2d(3, "none", kernel=3, padding=1), layers.BatchNorm2d(), layers.ReLU()),
        *(layers.MaxPool2d(2), *BLOCK, layers.MaxPool2d(2), layers.Flatten()),
    ],
    bias="none",
)
EPOCHS = {PLAIN.name: 20, NORMED.name: 5}  # so that some succeed, and some do not


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images of an upright bar or of one that lies, and which it is."""
    rng = np.random.default_rng(seed)
    x, y = 0.5 * rng.standard_normal((n, 1, 8, 8)).astype(np.float32), np.arange(n) % 2
    for image, label, place in zip(x[:, 0], y, rng.integers(1, 7, n), strict=True):
        (image if label else image.T)[place] += 1.0
    return x, y


TASK = Task("bars", *bars(8, 1), *bars(300, 2), ("upright", "lying"))


def trained(net: Architecture, engine: str, first_index: int, rate: float = 0.05) -> Trained:
    epochs = EPOCHS[net.name]
    return biasgpu.train(
        TASK, net, fits=NETWORKS, seed=21, first_index=first_index, engine=engine, threads=1,
        learning_rate=rate, epochs=epochs,
    )  # fmt: skip


def p_values(one: Trained, other: Trained) -> tuple[float, float, float]:
    """Of the same test accuracies, the same least training margins, the same success rate."""
    accuracy: Any = ks_2samp(one.test_accuracy, other.test_accuracy)
    margin: Any = ks_2samp(one.fits.margin, other.fits.margin)
    counts = [[run.n_fits, run.n_networks - run.n_fits] for run in (one, other)]
    rate: Any = fisher_exact(counts)
    return accuracy.pvalue, margin.pvalue, rate.pvalue


@pytest.mark.parametrize(("net", "seen"), [(PLAIN, 0.065), (NORMED, 0.08)])
def test_cpu_and_torch_train_the_same_networks(net: Architecture, seen: float) -> None:
    found, other = trained(net, "cpu", 0), trained(net, "torch", 10**6)
    for run in (found, other):
        assert len(run.fits) == NETWORKS < run.n_networks
        assert len(np.unique(run.test_accuracy)) > 50
    assert min(p_values(found, other)) > FALSE_ALARM
    # What it can see: a step longer by three tenths; by six, where batch norms undo its length.
    assert min(p_values(trained(net, "cpu", 2 * 10**6, rate=seen), other)) < FALSE_ALARM
