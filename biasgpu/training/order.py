"""In which order an epoch visits the training samples: a pure function of seed and epoch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import rng


def epoch_order(seed: int, epoch: int, n_train: int) -> npt.NDArray[np.int64]:
    """The order of the training samples in one epoch, the same for all networks of a seed.

    Args:
        seed: the 64-bit seed of the networks.
        epoch: from 1.
        n_train: how many samples.

    Returns:
        int64 `(n_train,)`, a permutation.
    """
    return rng.permutation(seed, epoch, n_train, stream=rng.STREAM_ORDER)


def orders(seed: int, epochs: int, n_train: int) -> npt.NDArray[np.int64]:
    """The orders of the epochs 1 .. `epochs`: int64 `(epochs, n_train)`."""
    if not epochs:
        return np.zeros((0, n_train), np.int64)
    return np.stack([epoch_order(seed, epoch, n_train) for epoch in range(1, epochs + 1)])
