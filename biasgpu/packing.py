"""A network's parameters as one vector: layer after layer its weights, then its biases.

Drawn networks and trained ones are handed to measures, and kept in files, in this one form. A
layer's biases are there whether or not the architecture draws them: training moves them. A batch
norm's running mean and variance follow its weights and biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.layers import BatchNorm2d
from biasgpu.layout import Step
from biasgpu.reference import affine

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Layers = list[tuple[Floats, ...] | None]
# What a part is where nobody says: biases and means 0, variances 1.
DEFAULTS = {"bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


@dataclass(frozen=True)
class Packing:
    """Where each parameter lies in the vector.

    Args:
        steps: the layers in their places.
    """

    steps: tuple[Step, ...]

    @property
    def n_parameters(self) -> int:
        """The length of the vector."""
        return sum(math.prod(shape) for step in self.steps for _, shape in step.parts)

    @property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """For each step where each of its parts begins, and where the last one ends; `(start,)` of
        a step without parameters."""
        places: list[tuple[int, ...]] = []
        start = 0
        for step in self.steps:
            sizes = [math.prod(shape) for _, shape in step.parts]
            places.append(tuple(accumulate(sizes, initial=start)))
            start = places[-1][-1]
        return tuple(places)

    def unpack(self, flat: Floats) -> Layers:
        """Views of the layers' parameters.

        Args:
            flat: `(..., n_parameters)`.

        Returns:
            for each step None, or its parts (`Step.parts`): its weight `(..., *weight_shape)` and
            bias `(..., units)`; of a batch norm weight, bias, running mean and variance.
        """
        layers: Layers = []
        for step, places in zip(self.steps, self.offsets, strict=True):
            parts = [
                flat[..., start:end].reshape(*flat.shape[:-1], *shape)
                for (_, shape), start, end in zip(step.parts, places, places[1:], strict=False)
            ]
            layers.append(tuple(parts) if parts else None)
        return layers

    def float64(self, flat: Floats) -> list[tuple[Doubles, Doubles | None] | None]:
        """One network's layers as `biasgpu.reference.forward` takes them: batch norms by their
        running means and variances.

        Args:
            flat: `(n_parameters,)`.
        """
        layers: list[Any] = self.unpack(flat.astype(np.float64))
        for place, (step, parts) in enumerate(zip(self.steps, layers, strict=True)):
            if isinstance(step.layer, BatchNorm2d):
                layers[place] = affine(*parts)
        found: list[Any] = [None if parts is None else (*parts, None)[:2] for parts in layers]
        return found

    def pack(self, layers: Sequence[tuple[Floats | None, ...] | None]) -> Floats:
        """The vector of one network's or of many networks' layers.

        Args:
            layers: as `unpack` returns them; a part that is missing or None is zero, a variance 1.

        Returns:
            `(..., n_parameters)`, in the dtype of the weights.
        """
        found: list[Floats] = []
        for step, parts in zip(self.steps, layers, strict=True):
            if not step.parts or parts is None:
                continue
            weight = parts[0]
            assert weight is not None
            leading = weight.shape[: weight.ndim - len(step.parts[0][1])]
            given = (*parts, *[None] * len(step.parts))
            for (name, shape), part in zip(step.parts, given, strict=False):
                if part is None:
                    part = np.full((*leading, *shape), DEFAULTS[name], weight.dtype)
                found.append(part.reshape(*leading, -1))
        return np.concatenate(found, axis=-1)


def linear_weights(steps: Sequence[Step], flat: Floats) -> list[Floats]:
    """The weights of the layers that are linear maps, without biases and batch norms.

    Args:
        steps: the layers in their places.
        flat: `(..., n_parameters)`.

    Returns:
        views, `(..., *weight_shape)` each.
    """
    layers = Packing(tuple(steps)).unpack(flat)
    return [parts[0] for step, parts in zip(steps, layers, strict=True) if step.linear and parts]
