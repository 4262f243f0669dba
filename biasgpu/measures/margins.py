"""Training margins: the correct logit minus the best other one, on each training sample."""

from __future__ import annotations

import numpy as np

from biasgpu import decision
from biasgpu.measures.batches import Floats, logit_batches
from biasgpu.networks import Networks


def training_margins(networks: Networks, *, threads: int | None = None) -> Floats:
    """z_y - max over c other than y of z_c, on each training sample.

    Args:
        networks: which.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n, n_train)`; below 0 where the sample is misclassified.

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    task = networks.task
    result = np.empty((len(networks), task.n_train))
    for part, logits in logit_batches(networks, task.x_train, threads=threads):
        result[part] = decision.margins(logits, task.y_train)
    return result


def margin(networks: Networks, *, threads: int | None = None) -> Floats:
    """The least training margin: float64 `(n,)`. Arguments and errors as of `training_margins`."""
    return training_margins(networks, threads=threads).min(axis=1)
