"""Predicted-class balance: how much of the test set a network takes for each class."""

from __future__ import annotations

import numpy as np

from biasgpu.decision import predictions
from biasgpu.measures.batches import Floats, logit_batches
from biasgpu.networks import Networks


def balance(networks: Networks, *, threads: int | None = None) -> Floats:
    """The share of the test set that is predicted as each class, whatever its label.

    Args:
        networks: which.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n, K)`, each row adding up to 1; not a number without a test set.

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    task = networks.task
    result = np.full((len(networks), task.n_classes), np.nan)
    if task.n_test:
        for part, logits in logit_batches(networks, task.x_test, threads=threads):
            answers = predictions(logits)
            for label in range(task.n_classes):
                result[part, label] = (answers == label).sum(axis=1) / task.n_test
    return result
