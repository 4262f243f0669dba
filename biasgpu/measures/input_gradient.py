"""How fast a network's decision changes with its input: |d (z_b - z_a) / d x|, Euclidean."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.measures import many
from biasgpu.measures.batches import BATCH_BYTES, Floats, parameter_batches
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
    be that of the neighbouring linear piece. Networks with other layers are computed in
    float64; statistics of batch norms are constants, a network being a function of one input.

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
        elif find_spec("torch"):
            from biasgpu.measures.torch_gradients import norms_by_torch

            pairs = pairs_of(int(np.prod(networks.steps[-1].out_shape)))
            result[part] = norms_by_torch(networks.steps, flat, x, pairs, threads=threads)
        else:
            result[part] = norms_by_law(networks.steps, flat, x)
    return result


def pairs_of(outputs: int) -> list[tuple[int, int]]:
    """Pairs of outputs (a, b) whose difference z_b - z_a is looked at; (-1, 0) stands for z."""
    return [(-1, 0)] if outputs == 1 else list(combinations(range(outputs), 2))


def norms_by_law(
    steps: tuple[Step, ...], flat: npt.NDArray[np.float32], x: npt.NDArray[np.float32]
) -> Floats:
    """The norms in plain float64, for layers of any kind; batch norms by their own statistics.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`.
        x: float32 `(samples, *shape)`.

    Returns:
        float64 `(n, samples)`.
    """
    result = np.zeros((len(flat), len(x)))
    each = max(1, many.values_held(steps, 1))
    samples = max(1, min(SAMPLES, len(x), BATCH_BYTES // (8 * each)))
    networks = max(1, BATCH_BYTES // (8 * each * samples))
    pairs = pairs_of(int(np.prod(steps[-1].out_shape)))
    for i, j in product(range(0, len(flat), networks), range(0, len(x), samples)):
        some = flat[i : i + networks]
        block = result[i : i + networks, j : j + samples]
        with np.errstate(over="ignore", invalid="ignore"):
            for gradient in many.input_gradients(steps, some, x[j : j + samples], pairs):
                norms = np.linalg.norm(gradient.reshape(*gradient.shape[:2], -1), axis=2)
                np.maximum(block, norms, out=block)  # keeps what is not a number
    return result
