"""How fast a network's decision changes with its input: |d (z_b - z_a) / d x|, Euclidean."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.measures.batches import Floats, parameter_batches
from biasgpu.networks import Networks

KNOWN = (Dense, Conv2d, MaxPool2d, ReLU, Flatten)
SAMPLES = 256  # at a time by the law, whose arrays are large


def input_gradient_norms(
    networks: Networks, x: npt.NDArray[np.float32], *, threads: int | None = None
) -> Floats:
    """The Euclidean norm of the gradient of a difference of two logits by the input.

    For two classes that of (logit 1 - logit 0); for K the largest over all pairs of classes. The
    gradient of a rectifier is 0 at 0, and a pooling window passes its gradient to its first largest
    element, as in PyTorch.

    Computed in float32 where the layers have a compiled form (`biasgpu.measures.cpu`). At an input
    where a unit's sign or a window's winner hangs on less than float32 rounding, the gradient may
    be that of the neighbouring linear piece.

    Args:
        networks: which.
        x: float32 `(samples, *shape)`.
        threads: CPU threads; None takes all.

    Returns:
        float64 `(n, samples)`; not a number for a network whose parameters are not finite.

    Source:
        Peleg and Hein, ICML 2024, for two classes.
    """
    result = np.empty((len(networks), len(x)))
    compiled = all(isinstance(step.layer, KNOWN) for step in networks.steps)
    for part, flat in parameter_batches(networks, len(x)):
        if compiled:
            from biasgpu.measures.cpu import norms

            result[part] = norms(networks.steps, flat, x, threads=threads)
        else:
            result[part] = norms_by_law(networks.steps, flat, x)
    return result


def pairs_of(outputs: int) -> list[tuple[int, int]]:
    """Pairs of outputs (a, b) whose difference z_b - z_a is looked at; (-1, 0) stands for z."""
    return [(-1, 0)] if outputs == 1 else list(combinations(range(outputs), 2))


def norms_by_law(
    steps: tuple[Step, ...], flat: npt.NDArray[np.float32], x: npt.NDArray[np.float32]
) -> Floats:
    """The norms in plain float64, one network after the other, for layers of any kind.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`.
        x: float32 `(samples, *shape)`.

    Returns:
        float64 `(n, samples)`.
    """
    from biasgpu.training import law

    result = np.zeros((len(flat), len(x)))
    outputs = int(np.prod(steps[-1].out_shape))
    for row, parameters in zip(result, flat.astype(np.float64), strict=True):
        for start in range(0, len(x), SAMPLES):
            values = law.forward(steps, parameters, x[start : start + SAMPLES])
            for low, high in pairs_of(outputs):
                upstream = np.zeros_like(values[-1])
                upstream[:, high] = 1.0
                if low >= 0:
                    upstream[:, low] = -1.0
                gradient = law.backward(steps, parameters, values, upstream)[1]
                norms = np.linalg.norm(gradient.reshape(len(gradient), -1), axis=1)
                block = row[start : start + SAMPLES]
                np.maximum(block, norms, out=block)  # keeps what is not a number
    return result
