"""An ensemble: architecture, prior and seed on inputs of one shape; it gives every network its
name.

`draw` is a 64-bit number; `index = n_arrangements * draw + arrangement` names a candidate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu import reference, rng
from biasgpu.architectures.base import Architecture
from biasgpu.errors import UsageError
from biasgpu.layers import BatchNorm2d, Shape
from biasgpu.layout import Step, check_names, lay_out, n_products
from biasgpu.priors import Prior

MAX_CLASSES = 12  # 12! arrangements leave 2**35 draws within 64 bits

Parameters = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]


@dataclass(frozen=True)
class Ensemble:
    """All networks of one architecture, prior and seed.

    Args:
        architecture: the layers.
        prior: the distribution of the weights.
        shape: the shape of one input.
        n_classes: the number of classes K.
        seed: 64-bit seed.

    Raises:
        UsageError: the architecture does not fit the shape or the classes, or a seed out of range.
    """

    architecture: Architecture
    prior: Prior
    shape: Shape
    n_classes: int
    seed: int
    method: ClassVar[str] = "direct"

    def __post_init__(self) -> None:
        rng.check_uint64("seed", self.seed)
        if self.n_classes > MAX_CLASSES:
            raise UsageError(
                f"the task has {self.n_classes} classes.",
                why="K classes make K! candidates of a draw, and names allow up to "
                f"{MAX_CLASSES} classes.",
                fix="choose fewer classes.",
            )
        self._check()

    def _check(self) -> None:
        """Refuse at once what cannot be laid out, or named."""
        check_names(self.steps)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The layers in their places."""
        layers = self.architecture.resolve(self.shape, self.n_classes)
        return lay_out(layers, self.shape, self.prior.bits)

    @property
    def n_outputs(self) -> int:
        """Output units: K, or 1 for a one-logit head."""
        return self.steps[-1].out_shape[0]

    @property
    def n_arrangements(self) -> int:
        """Candidates a draw makes: K! orders of the outputs; two signs of a single output."""
        if self.n_outputs == 1:
            return 2 if self.prior.symmetric else 1
        return math.factorial(self.n_outputs)

    @property
    def max_draws(self) -> int:
        """Draws that have names: 2**64 // n_arrangements."""
        return 2**64 // self.n_arrangements

    def split(self, index: int) -> tuple[int, int]:
        """A candidate's draw and arrangement.

        Raises:
            UsageError: the index is no 64-bit name of this ensemble.
        """
        rng.check_uint64("index", index)
        draw, arrangement = divmod(int(index), self.n_arrangements)
        if draw >= self.max_draws:
            raise UsageError(
                f"index {index} names no draw of this ensemble.",
                why="indices are 64-bit numbers, and those of a draw come in full.",
                fix="use an index from 0 to "
                f"{2**64 // self.n_arrangements * self.n_arrangements - 1}.",
            )
        return draw, arrangement

    def parameters(self, draw: int) -> list[Parameters | None]:
        """The canonical weights of a draw, as drawn (outputs not yet arranged).

        Returns:
            For each step None, or its weight (float32, `weight_shape`) and drawn bias
            (float32 `(units,)`) or None; of a batch norm both, `(channels,)`.
        """
        return [self.step_parameters(draw, step) for step in self.steps]

    def step_parameters(self, draw: int, step: Step) -> Parameters | None:
        """One layer's part of `parameters`."""
        if not step.units:
            return None
        n_blocks = step.units * step.blocks_per_unit
        words = rng.words(self.seed, draw, step.first_block + np.arange(n_blocks))
        words = words.reshape(step.units, -1)
        layer = step.linear
        if layer is None:
            return self.prior.normalizer(words)
        rows = self.prior.weights(words, step.fan_in)
        weight = rows[:, : step.fan_in].reshape(layer.weight_shape(step.in_shape))
        bias = rows[:, step.fan_in].copy() if step.columns > step.fan_in else None
        return np.ascontiguousarray(weight), bias

    def statistics(self, draw: int) -> dict[int, tuple[npt.NDArray, npt.NDArray]]:
        """Mean and variance of each batch norm, by its position, where the ensemble knows them."""
        return {}

    def products(self, n_inputs: int) -> float:
        """About how many multiplications the law takes for so many inputs of a draw."""
        return float(n_products(self.steps)) * n_inputs

    def logits(self, draw: int, x: npt.NDArray) -> npt.NDArray[np.float64]:
        """Logits of a draw by the law, outputs as drawn.

        Args:
            draw: the draw number.
            x: `(samples, *shape)`.

        Returns:
            float64 `(samples, n_outputs)`.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return reference.forward(self.steps, self.settled(draw), x)

    def settled(self, draw: int) -> list[reference.Weights | None]:
        """The layers as `biasgpu.reference.forward` takes them; batch norms as training begins with
        them, with running means of 0 and variances of 1."""
        layers = self._drawn(draw)
        for place, (step, parts) in enumerate(zip(self.steps, layers, strict=True)):
            if isinstance(step.layer, BatchNorm2d) and parts:
                weight, bias = parts
                assert bias is not None
                means, variances = np.zeros(step.units), np.ones(step.units)
                layers[place] = reference.affine(weight, bias, means, variances)
        return layers

    def _drawn(self, draw: int) -> list[reference.Weights | None]:
        """The parameters of a draw in float64."""
        return [
            None
            if pair is None
            else (
                pair[0].astype(np.float64),
                None if pair[1] is None else pair[1].astype(np.float64),
            )
            for pair in self.parameters(draw)
        ]
