"""The Frobenius norm of each layer's weights: sqrt(sum of w^2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.measures.batches import Floats, parameter_batches
from biasgpu.networks import Networks
from biasgpu.packing import linear_weights


def frobenius(networks: Networks) -> Floats:
    """The Frobenius norm of each layer's weights, biases left out.

    Args:
        networks: which.

    Returns:
        float64 `(n, layers)`, layers with weights in order.

    Source:
        Chiang et al., ICLR 2023, who divide logits by the product of these norms.
    """
    layers = sum(step.linear is not None for step in networks.steps)
    result = np.empty((len(networks), layers))
    for part, flat in parameter_batches(networks):
        result[part] = frobenius_of(networks, flat)
    return result


def frobenius_of(networks: Networks, flat: npt.NDArray[np.float32]) -> Floats:
    """The same of parameters at hand: float32 `(b, n_parameters)` to float64 `(b, layers)`."""
    weights = linear_weights(networks.steps, flat)
    norms = [
        np.linalg.norm(weight.reshape(len(flat), -1).astype(np.float64), axis=1)
        for weight in weights
    ]
    return np.stack(norms, axis=1)
