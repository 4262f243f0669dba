"""Gradient norm: how long the gradient of the training loss by the parameters is."""

from __future__ import annotations

import numpy as np

from biasgpu.measures.batches import Floats, parameter_batches
from biasgpu.networks import Networks


def gradient_norm(networks: Networks) -> Floats:
    """The Euclidean norm over all parameters of the gradient of the mean training loss.

    The loss is the cross-entropy over the whole training set; weights and biases both count, as in
    training. By the law of training, in float64.

    Args:
        networks: which.

    Returns:
        float64 `(n,)`; not a number where logits are not finite.

    Source:
        Peleg and Hein, ICML 2024, figure 7.
    """
    from biasgpu.training import law

    task = networks.task
    result = np.empty(len(networks))
    with np.errstate(over="ignore", invalid="ignore"):
        for part, flat in parameter_batches(networks):
            for row, parameters in enumerate(flat.astype(np.float64), part.start):
                gradient = law.loss_and_gradient(
                    networks.steps, parameters, task.x_train, task.y_train
                )[1]
                result[row] = np.linalg.norm(gradient)
    return result
