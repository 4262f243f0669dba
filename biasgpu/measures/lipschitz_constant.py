"""The empirical Lipschitz constant: the largest input-gradient norm over the data."""

from __future__ import annotations

from typing import Literal

import numpy as np

from biasgpu.errors import unknown
from biasgpu.measures.batches import Floats
from biasgpu.measures.input_gradient import input_gradient_norms
from biasgpu.networks import Networks

On = Literal["test", "train", "both"]


def lipschitz(networks: Networks, on: On = "test", *, threads: int | None = None) -> Floats:
    """The largest Euclidean norm, over some samples, of the gradient of (logit 1 - logit 0) by x.

    With K classes the largest over all pairs of them; one logit z is logit 1, and logit 0 is 0.
    Dividing logits by it makes margins geometric and takes out the freedom to scale weights.

    Args:
        networks: which.
        on: over the "test" set, the training samples ("train"), or "both".
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n,)`; not a number where there are no samples.

    Raises:
        UsageError: `on` is none of the three.

    Source:
        Peleg and Hein, ICML 2024. Accuracy: see `input_gradient_norms`.
    """
    task = networks.task
    sets = {"test": [task.x_test], "train": [task.x_train], "both": [task.x_test, task.x_train]}
    if on not in sets:
        raise unknown("set of samples", str(on), sets)
    found = [input_gradient_norms(networks, x, threads=threads) for x in sets[on] if len(x)]
    if not found:
        return np.full(len(networks), np.nan)
    return np.concatenate(found, axis=1).max(axis=1)
