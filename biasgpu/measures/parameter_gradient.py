"""Gradient norm: how long the gradient of the training loss by the parameters is."""

from __future__ import annotations

import numpy as np

from biasgpu.measures.batches import Floats, parameter_batches
from biasgpu.measures.many import loss_gradients, values_held
from biasgpu.networks import Networks


def gradient_norm(networks: Networks) -> Floats:
    """The Euclidean norm over all parameters of the gradient of the mean training loss.

    The loss is the cross-entropy over the whole training set; weights and biases both count, as in
    training. In float64.

    Args:
        networks: which.

    Returns:
        float64 `(n,)`; not a number where logits are not finite.

    Source:
        Peleg and Hein, ICML 2024, figure 7.
    """
    task, steps = networks.task, networks.steps
    result = np.empty(len(networks))
    with np.errstate(over="ignore", invalid="ignore"):
        for part, flat in parameter_batches(networks, values_held(steps, task.n_train)):
            gradients = loss_gradients(steps, flat, task.x_train, task.y_train)
            result[part] = np.linalg.norm(gradients, axis=1)
    return result
