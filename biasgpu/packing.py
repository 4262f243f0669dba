"""A network's parameters as one vector: layer after layer its weights, then its biases.

Drawn networks and trained ones are handed to measures, and kept in files, in this one form. A
layer's biases are there whether or not the architecture draws them: training moves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from biasgpu.layout import Step

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Layers = list[tuple[Floats, Floats] | None]


@dataclass(frozen=True)
class Packing:
    """Where each parameter lies in the vector.

    Args:
        steps: the layers in their places.
    """

    steps: tuple[Step, ...]

    @property
    def n_parameters(self) -> int:
        """The length of the vector: all weights, and a bias for every unit."""
        return sum(step.linear.units * (step.fan_in + 1) for step in self.steps if step.linear)

    @property
    def offsets(self) -> tuple[tuple[int, int] | None, ...]:
        """For each step where its weights and its biases begin, or None."""
        places: list[tuple[int, int] | None] = []
        start = 0
        for step in self.steps:
            if step.linear is None:
                places.append(None)
                continue
            bias = start + step.linear.units * step.fan_in
            places.append((start, bias))
            start = bias + step.linear.units
        return tuple(places)

    def unpack(self, flat: Floats) -> Layers:
        """Views of the layers' parameters.

        Args:
            flat: `(..., n_parameters)`.

        Returns:
            for each step None, or its weight `(..., *weight_shape)` and bias `(..., units)`.
        """
        layers: Layers = []
        for step, place in zip(self.steps, self.offsets, strict=True):
            layer = step.linear
            if layer is None or place is None:
                layers.append(None)
                continue
            weight = flat[..., place[0] : place[1]]
            shape = (*flat.shape[:-1], *layer.weight_shape(step.in_shape))
            bias = flat[..., place[1] : place[1] + layer.units]
            layers.append((weight.reshape(shape), bias))
        return layers

    def float64(self, flat: Floats) -> list[tuple[Doubles, Doubles | None] | None]:
        """One network's layers as `biasgpu.reference.forward` takes them.

        Args:
            flat: `(n_parameters,)`.
        """
        return cast(Any, self.unpack(flat.astype(np.float64)))

    def pack(self, layers: Sequence[tuple[Floats, Floats | None] | None]) -> Floats:
        """The vector of one network's or of many networks' layers; a missing bias is zero.

        Args:
            layers: as `unpack` returns them, or with None for biases.

        Returns:
            `(..., n_parameters)`, in the dtype of the weights.
        """
        parts: list[Floats] = []
        for step, pair in zip(self.steps, layers, strict=True):
            if step.linear is None or pair is None:
                continue
            weight, bias = pair
            shape = step.linear.weight_shape(step.in_shape)
            leading = weight.shape[: weight.ndim - len(shape)]
            parts.append(weight.reshape(*leading, -1))
            parts.append(
                np.zeros((*leading, step.linear.units), weight.dtype) if bias is None else bias
            )
        return np.concatenate(parts, axis=-1)
