"""Geometric margins: how far, to first order, a training sample is from the decision boundary."""

from __future__ import annotations

import numpy as np

from biasgpu.measures.batches import Floats
from biasgpu.measures.input_gradient import input_gradient_norms
from biasgpu.measures.margins import training_margins
from biasgpu.networks import Networks


def geometric_margins(networks: Networks, *, threads: int | None = None) -> Floats:
    """Each training margin divided by the norm of the input gradient at that sample.

    A network is linear near almost every input, so this is the Euclidean distance to the decision
    boundary as long as the linear piece goes on. With more than two classes the norm is the largest
    over pairs of classes, and the distance at least this.

    Args:
        networks: which.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n, n_train)`; infinite (not a number for a margin of 0) where the gradient is 0.

    Raises:
        NonFiniteError: a logit is infinite or not a number.

    Source:
        Peleg and Hein, ICML 2024.
    """
    margins = training_margins(networks, threads=threads)
    norms = input_gradient_norms(networks, networks.task.x_train, threads=threads)
    with np.errstate(divide="ignore", invalid="ignore"):
        return margins / norms
