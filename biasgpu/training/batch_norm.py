"""Batch norm in training, in plain float64: by the batch forwards and back; running statistics.

As PyTorch has it. While training, each channel is shifted and scaled by the batch's mean and biased
variance, and the gradient goes through both. After each batch the running mean and variance, which
a network uses once it is trained, move a tenth of the way to the batch's, the variance then being
the unbiased one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError
from biasgpu.layers import BatchNorm2d
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.reference import EPSILON
from biasgpu.training.recipe import Recipe

Floats = npt.NDArray[np.float64]
Parts = tuple[npt.NDArray, ...]  # weight, bias, running mean, running variance: (channels,) each
TRACKING = 0.1  # how far running statistics move; PyTorch calls it momentum
AXES = (0, 2, 3)  # samples and positions


def statistics(x: Floats) -> tuple[Floats, Floats]:
    """Mean and biased variance of each channel of `(samples, channels, height, width)`."""
    return x.mean(axis=AXES), x.var(axis=AXES)


def forward(parts: Parts, x: Floats, *, training: bool) -> Floats:
    """A batch norm's output, by the statistics of `x` while training, else by the running ones.

    Args:
        parts: of the batch norm.
        x: float64 `(samples, channels, height, width)`.
        training: whether to go by the batch.
    """
    scaled, _ = _scaled(parts, x, training)
    return _wide(parts[0]) * scaled + _wide(parts[1])


def backward(
    parts: Parts, x: Floats, upstream: Floats, *, training: bool
) -> tuple[tuple[Floats, ...], Floats]:
    """Gradients by weight and bias, by the running statistics (none), and by `x`.

    Args:
        parts, x, training: as for `forward`.
        upstream: the gradient by the output.
    """
    scaled, deviation = _scaled(parts, x, training)
    nothing = np.zeros_like(parts[0])
    by_weight = (upstream * scaled).sum(axis=AXES)
    found = (by_weight, upstream.sum(axis=AXES), nothing, nothing)
    below = _wide(parts[0]) * upstream
    if training:  # what moves the batch's mean and variance does not count
        along = (below * scaled).mean(axis=AXES)
        below = below - _wide(below.mean(axis=AXES)) - scaled * _wide(along)
    return found, below / _wide(deviation)


def track(steps: Sequence[Step], flat: Floats, values: Sequence[Floats]) -> Floats:
    """The parameters with running statistics that have seen one more batch.

    Args:
        steps: the layers in their places.
        flat: float64 `(n_parameters,)`.
        values: the inputs of every layer, `law.forward` of the batch while training.
    """
    flat = flat.copy()
    for step, parts, x in zip(steps, Packing(tuple(steps)).unpack(flat), values, strict=False):
        if isinstance(step.layer, BatchNorm2d) and parts:
            mean, variance = statistics(x)
            count = x.size // x.shape[1]
            variance = variance * (count / (count - 1))
            for running, now in zip(parts[2:], (mean, variance), strict=True):
                running += TRACKING * (now - running)  # a view into `flat`
    return flat


def check_batches(steps: Sequence[Step], recipe: Recipe, n_train: int) -> None:
    """Refuse batches that leave a batch norm with one number a channel.

    Args:
        steps: the layers in their places.
        recipe: says how large batches are.
        n_train: training samples.

    Raises:
        UsageError: there is such a batch.
    """
    size = min(recipe.batch_size, n_train)
    smallest = n_train % size or size
    for step in steps:
        positions = math.prod(step.in_shape[1:])
        if not isinstance(step.layer, BatchNorm2d) or smallest * positions > 1:
            continue
        larger = next((n for n in range(2, n_train + 1) if n_train % n != 1), None)
        fix = "take two training samples or more: n_train=2 (--n-train 2)."
        if larger is not None:
            fix = (
                f"choose batches that leave no sample alone: batch_size={larger} "
                f"(--batch-size {larger})."
            )
        raise UsageError(
            f"batches of {size} of {n_train} training samples: one of them holds a single sample, "
            f"of which the batch norm in layer {step.position} sees one number a channel.",
            why="the variance of a single number says nothing, and PyTorch refuses it as well.",
            fix=fix,
        )


def _scaled(parts: Parts, x: Floats, training: bool) -> tuple[Floats, Floats]:
    """`x` with its mean taken away, over the deviation; and that."""
    mean, variance = statistics(x) if training else parts[2:]
    deviation = np.sqrt(variance + EPSILON)
    return (x - _wide(mean)) / _wide(deviation), deviation


def _wide(values: npt.NDArray) -> Floats:
    return values[:, None, None]
