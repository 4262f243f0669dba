"""The cross-entropy of logits: log sum_c exp z_c - z_y, to full precision however small."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def cross_entropy(by_class: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """The cross-entropy of each sample, in nats.

    With t the largest logit's class: (z_t - z_y) + log1p(sum over c other than t of
    exp(z_c - z_t)). Nothing overflows, and a loss near 0 keeps all its digits.

    Args:
        by_class: float64 `(..., samples, K)`; not a number gives not a number.
        labels: int64 `(samples,)`.

    Returns:
        float64 `(..., samples)`.
    """
    top = np.argmax(by_class, axis=-1)[..., None]
    highest = np.take_along_axis(by_class, top, axis=-1)
    below = by_class - highest
    others = np.exp(below)
    np.put_along_axis(others, top, 0.0, axis=-1)
    places = np.broadcast_to(labels, by_class.shape[:-1])[..., None]
    correct = np.take_along_axis(below, places, axis=-1)[..., 0]
    return np.log1p(others.sum(axis=-1)) - correct


def scaled_loss(by_class: Floats, labels: npt.NDArray[np.int64], scale: Floats) -> Floats:
    """The mean cross-entropy of each network's logits divided by its scale.

    Args:
        by_class: float64 `(n, samples, K)`.
        labels: int64 `(samples,)`.
        scale: float64 `(n,)`.

    Returns:
        float64 `(n,)`; not a number where the scale is 0 or not finite, or without samples.
    """
    usable = np.where(np.isfinite(scale) & (scale > 0.0), scale, np.nan)
    if not by_class.shape[1]:
        return np.full(len(by_class), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return cross_entropy(by_class / usable[:, None, None], labels).mean(axis=1)
