"""The spectral norm of each layer's weights: the largest singular value of their matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.measures.batches import Floats, parameter_batches
from biasgpu.networks import Networks
from biasgpu.packing import linear_weights


def spectral(networks: Networks) -> Floats:
    """The largest singular value of each layer's weight matrix.

    A convolution's matrix is its kernel as `(units, channels * kernel * kernel)`: what one position
    of the output does with its patch of the input, not the map between whole images.

    Args:
        networks: which.

    Returns:
        float64 `(n, layers)`, layers with weights in order; not a number where weights are not
        finite.

    Source:
        Bartlett, Foster and Telgarsky, NeurIPS 2017, for spectral norms as a measure of capacity;
        a convolution's kernel as a matrix: Miyato et al., ICLR 2018.
    """
    layers = sum(step.linear is not None for step in networks.steps)
    result = np.empty((len(networks), layers))
    for part, flat in parameter_batches(networks):
        result[part] = spectral_of(networks, flat)
    return result


def spectral_of(networks: Networks, flat: npt.NDArray[np.float32]) -> Floats:
    """The same of parameters at hand: float32 `(b, n_parameters)` to float64 `(b, layers)`."""
    weights = linear_weights(networks.steps, flat)
    return np.stack([_largest(weight) for weight in weights], axis=1)


def _largest(weight: npt.NDArray) -> Floats:
    """The largest singular value: the root of the largest eigenvalue of the smaller Gram matrix.

    The largest eigenvalue of a symmetric matrix is found to within some roundings of itself, so
    nothing is lost by squaring, and it is several times as fast as singular values.
    """
    matrix = weight.reshape(*weight.shape[:2], -1).astype(np.float64)
    usable = np.isfinite(matrix).all(axis=(1, 2))
    matrix[~usable] = 0.0
    if matrix.shape[1] > matrix.shape[2]:
        matrix = matrix.transpose(0, 2, 1)
    gram = matrix @ matrix.transpose(0, 2, 1)
    largest = np.linalg.eigvalsh(gram)[:, -1]
    return np.where(usable, np.sqrt(np.maximum(largest, 0.0)), np.nan)
