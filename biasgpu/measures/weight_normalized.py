"""Weight-normalised loss: that of the logits divided by the product of the layers' norms."""

from __future__ import annotations

import numpy as np

from biasgpu.measures.batches import Floats, logit_batches
from biasgpu.measures.columns import weight_scale
from biasgpu.measures.cross_entropy import scaled_loss
from biasgpu.measures.frobenius_norm import frobenius
from biasgpu.networks import Networks


def weight_normalized_loss(networks: Networks, *, threads: int | None = None) -> Floats:
    """The mean training cross-entropy of logits / product over layers of (|W|_F / 3).

    Args:
        networks: which.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n,)`, in nats; not a number where a layer's weights are all 0.

    Raises:
        NonFiniteError: a logit is infinite or not a number.

    Source:
        Chiang et al., ICLR 2023.
    """
    scale = weight_scale(frobenius(networks))
    task = networks.task
    result = np.empty(len(networks))
    for part, logits in logit_batches(networks, task.x_train, threads=threads):
        result[part] = scaled_loss(logits, task.y_train, scale[part])
    return result
