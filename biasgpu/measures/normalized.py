"""Lipschitz-normalised loss and margin: those of the logits divided by the Lipschitz constant."""

from __future__ import annotations

import numpy as np

from biasgpu.measures.batches import Floats, logit_batches
from biasgpu.measures.cross_entropy import scaled_loss
from biasgpu.measures.lipschitz_constant import lipschitz as constants
from biasgpu.measures.margins import margin
from biasgpu.networks import Networks


def normalized_loss(
    networks: Networks, lipschitz: Floats | None = None, *, threads: int | None = None
) -> Floats:
    """The mean over the training samples of the cross-entropy of (logits / L).

    Args:
        networks: which.
        lipschitz: float64 `(n,)`, each network's L; None for `biasgpu.measures.lipschitz`.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n,)`, in nats; log K for logits that say nothing. Not a number where L is 0 or not
        finite.

    Raises:
        NonFiniteError: a logit is infinite or not a number.

    Source:
        Peleg and Hein, ICML 2024.
    """
    scale = constants(networks, threads=threads) if lipschitz is None else np.asarray(lipschitz)
    task = networks.task
    result = np.empty(len(networks))
    for part, logits in logit_batches(networks, task.x_train, threads=threads):
        result[part] = scaled_loss(logits, task.y_train, scale[part])
    return result


def normalized_margin(
    networks: Networks, lipschitz: Floats | None = None, *, threads: int | None = None
) -> Floats:
    """The least training margin divided by L: at most the distance to the decision boundary.

    (If L bounds the gradient everywhere; it is the largest over the test set.) Arguments, result
    and errors as of `normalized_loss`.
    """
    scale = constants(networks, threads=threads) if lipschitz is None else np.asarray(lipschitz)
    return margin(networks, threads=threads) / np.where(scale > 0.0, scale, np.nan)
