"""What a results file keeps of each network, and the losses that follow from it at any N.

The training logits, the Lipschitz constant and the layers' norms are enough for both normalised
losses over the first N training samples, for every N, without the network.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.decision import margins
from biasgpu.errors import UsageError
from biasgpu.measures.batches import Floats, logit_batches, parameter_batches
from biasgpu.measures.cross_entropy import scaled_loss
from biasgpu.measures.frobenius_norm import frobenius_of
from biasgpu.measures.lipschitz_constant import lipschitz
from biasgpu.measures.spectral_norm import spectral_of
from biasgpu.networks import Networks

Labels = npt.NDArray[np.int64]


def measure_columns(networks: Networks, *, threads: int | None = None) -> dict[str, Floats]:
    """Measures of every network, as they are kept.

    Args:
        networks: which.
        threads: CPU threads; None takes all.

    Returns:
        `train_logits`: float64 `(n, n_train, K)`, by class, one logit as (0, z).
        `lipschitz`: float64 `(n,)`, over the test set; not a number where that is empty.
        `frobenius`, `spectral`: float64 `(n, layers)`.

    Raises:
        NonFiniteError: a training logit is infinite or not a number.
    """
    n, layers = len(networks), sum(step.linear is not None for step in networks.steps)
    task = networks.task
    columns = {
        "train_logits": np.empty((n, task.n_train, task.n_classes)),
        "lipschitz": lipschitz(networks, threads=threads),
        "frobenius": np.empty((n, layers)),
        "spectral": np.empty((n, layers)),
    }
    for part, logits in logit_batches(networks, task.x_train, threads=threads):
        columns["train_logits"][part] = logits
    for part, flat in parameter_batches(networks):
        columns["frobenius"][part] = frobenius_of(networks, flat)
        columns["spectral"][part] = spectral_of(networks, flat)
    return columns


def normalized_loss_at(
    train_logits: Floats, y_train: Labels, lipschitz: Floats, n_train: int
) -> Floats:
    """The Lipschitz-normalised loss over the first `n_train` training samples.

    Args:
        train_logits: float64 `(n, samples, K)`, as `measure_columns` returns them.
        y_train: int64 `(samples,)`.
        lipschitz: float64 `(n,)`.
        n_train: from 1 to the number of samples.

    Returns:
        float64 `(n,)`: see `biasgpu.measures.normalized_loss`.

    Raises:
        UsageError: `n_train` is out of range.
    """
    logits, labels = _first(train_logits, y_train, n_train)
    return scaled_loss(logits, labels, lipschitz)


def normalized_margin_at(
    train_logits: Floats, y_train: Labels, lipschitz: Floats, n_train: int
) -> Floats:
    """The least margin over the first `n_train` training samples, divided by the constant.

    Arguments, result and errors as of `normalized_loss_at`.
    """
    least = margin_at(train_logits, y_train, n_train)
    return least / np.where(lipschitz > 0.0, lipschitz, np.nan)


def weight_normalized_loss_at(
    train_logits: Floats, y_train: Labels, frobenius: Floats, n_train: int
) -> Floats:
    """The weight-normalised loss over the first `n_train` training samples.

    Args:
        train_logits: float64 `(n, samples, K)`.
        y_train: int64 `(samples,)`.
        frobenius: float64 `(n, layers)`.
        n_train: from 1 to the number of samples.

    Returns:
        float64 `(n,)`: see `biasgpu.measures.weight_normalized_loss`.

    Raises:
        UsageError: `n_train` is out of range.
    """
    logits, labels = _first(train_logits, y_train, n_train)
    return scaled_loss(logits, labels, weight_scale(frobenius))


def margin_at(train_logits: Floats, y_train: Labels, n_train: int) -> Floats:
    """The least margin over the first `n_train` training samples: float64 `(n,)`."""
    logits, labels = _first(train_logits, y_train, n_train)
    return margins(logits, labels).min(axis=1)


def weight_scale(frobenius: Floats) -> Floats:
    """The product over layers of (Frobenius norm / 3): `(n, layers)` to `(n,)`.

    Source:
        Chiang et al., ICLR 2023.
    """
    return np.prod(frobenius / 3.0, axis=-1)


def _first(train_logits: Floats, y_train: Labels, n_train: int) -> tuple[Floats, Labels]:
    most = min(train_logits.shape[1], len(y_train))
    if not 1 <= n_train <= most:
        raise UsageError(
            f"n_train is {n_train}; there are {most} training samples.",
            why="the loss is over the first n_train of them.",
            fix=f"n_train from 1 to {most} (--n-train {most}), or measure on a larger task.",
        )
    return train_logits[:, :n_train], y_train[:n_train]
