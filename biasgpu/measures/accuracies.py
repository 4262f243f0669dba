"""Test accuracy: the share of the test set that a network classifies, overall and by class."""

from __future__ import annotations

import numpy as np

from biasgpu.decision import predictions
from biasgpu.measures.batches import Floats, logit_batches
from biasgpu.networks import Networks


def accuracy(networks: Networks, *, threads: int | None = None) -> Floats:
    """The share of the test set whose class has the largest logit; ties go to the lowest class.

    Args:
        networks: which.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n,)` in [0, 1]; not a number without a test set.

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    task = networks.task
    result = np.full(len(networks), np.nan)
    if task.n_test:
        for part, logits in logit_batches(networks, task.x_test, threads=threads):
            result[part] = (predictions(logits) == task.y_test).sum(axis=1) / task.n_test
    return result


def accuracy_per_class(networks: Networks, *, threads: int | None = None) -> Floats:
    """The same over the test samples of each class.

    Args:
        networks: which.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n, K)`; not a number for a class without test samples.

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    task = networks.task
    result = np.full((len(networks), task.n_classes), np.nan)
    members = [task.y_test == label for label in range(task.n_classes)]
    for part, logits in logit_batches(networks, task.x_test, threads=threads):
        correct = predictions(logits) == task.y_test
        for label, mine in enumerate(members):
            if mine.any():
                result[part, label] = correct[:, mine].sum(axis=1) / int(mine.sum())
    return result
