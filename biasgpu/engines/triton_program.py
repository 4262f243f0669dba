"""An ensemble as the kernels of method "direct" take it: linear layers, and what follows each.

Whatever stands before the first weights is done here, once, for all draws: pooling, flattening and
rectifying neither round nor depend on a draw. Behind a layer with weights a ReLU and pools commute,
so the ReLU is taken at once; a first 2x2 pool goes with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels import tensor_plan
from biasgpu.kernels.direct_launch import Weights
from biasgpu.kernels.direct_weights import EPSILON_NORMAL
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Shape
from biasgpu.layout import Step
from biasgpu.margins import LayerConstants, exact_sum_constants, layer_constants
from biasgpu.priors import NormalPrior, UniformPrior

Image = tuple[int, int, int]
Exact = frozenset[int]


@dataclass(frozen=True)
class Op:
    """A layer with weights and what follows it.

    Attributes:
        step: the layer in its place.
        rectified: a ReLU follows, before or after pools.
        pooled: a 2x2 max-pool is part of the convolution.
        pools: further pools: the size of each and the shape it is given.
    """

    step: Step
    rectified: bool = False
    pooled: bool = False
    pools: tuple[tuple[int, Image], ...] = ()

    @property
    def image(self) -> Image:
        """A convolution's input: channels, height, width."""
        return _image(self.step.in_shape)

    @property
    def units(self) -> int:
        """Output units: channels of a convolution."""
        assert self.step.linear is not None
        return self.step.linear.units

    @property
    def biased(self) -> bool:
        """Whether its biases are drawn."""
        return self.step.columns > self.step.fan_in

    @property
    def features(self) -> int:
        """Activations of a sample that its kernel writes."""
        size = math.prod(self.step.out_shape)
        if not self.pooled:
            return size
        channels, height, width = self.step.out_shape
        return channels * (height // 2) * (width // 2)

    @property
    def kernel(self) -> int:
        """Rows of a convolution's kernel; 0 of a dense layer."""
        layer = self.step.layer
        return layer.kernel if isinstance(layer, Conv2d) else 0


class Program:
    """An ensemble for the kernels.

    Args:
        ensemble: which networks; one that is `supported`.
        x_train: float32 `(n_train, *shape)`.

    Attributes:
        x: float64, what the first layer with weights is given.
        ops: the layers with weights.
    """

    def __init__(self, ensemble: Ensemble, x_train: npt.NDArray[np.float32]) -> None:
        self.ensemble = ensemble
        first = next(i for i, step in enumerate(ensemble.steps) if step.linear)
        x = x_train.astype(np.float64)
        for step in ensemble.steps[:first]:
            x = reference.apply(step.layer, x)
        self.x = x
        self.ops = _ops(ensemble.steps[first:])

    def constants(
        self, number: int, wide: bool, exact: Exact = frozenset()
    ) -> npt.NDArray[np.float64]:
        """What a kernel needs to know of layer `number` and the next: see `direct_dense`.

        Args:
            number: of the layer.
            wide: in float64.
            exact: layers whose sums are exact: see `triton_tensor`.

        Returns:
            float64 `(6,)`: scale, tiny, inject, gain and inject of the next layer, least |h|.
        """
        last = number + 1 == len(self.ops)
        own = self._margins(number, wide, exact)
        after = None if last else self._margins(number + 1, wide, exact)
        values = [own.tiny, own.inject]
        # The last layer gives out its bounds as they are.
        values += [1.0, 0.0, 0.0] if after is None else [after.gain, after.inject, after.floor_hmax]
        if not wide:
            values = [up(value) for value in values]
        return np.array([self.scale(number), *values])

    def weights(self, number: int) -> Weights:
        """How a layer's weights are drawn."""
        op, prior = self.ops[number], self.ensemble.prior
        step = op.step
        normal = prior.family == "normal"
        return Weights(prior.bits, normal, op.units, step.first_block, step.blocks_per_unit)

    def shared(
        self, stage: plan.Stage, wide: bool, exact: Exact = frozenset()
    ) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
        """The first layer's inputs in a stage, their slack, and each channel's largest.

        Args:
            stage: of samples.
            wide, exact: as those of `constants`.

        Returns:
            `(stage.padded, features)` twice, `(stage.padded, channels)`; float32 or float64. Rows
            beyond the stage repeat its last sample.
        """
        rows = np.minimum(stage.first + np.arange(stage.padded), stage.end - 1)
        x = self.x[rows].reshape(stage.padded, -1)
        constants = self._margins(0, wide, exact)
        slack = constants.inject * np.maximum(np.abs(x), constants.floor_hmax)
        slack = np.where(x == 0, 0.0, slack)
        channels = self.x.shape[1] if self.ops[0].kernel else 1
        group = slack.reshape(stage.padded, channels, -1).max(axis=2)
        kind = np.float64 if wide else np.float32
        return x.astype(kind), slack.astype(kind), group.astype(kind)

    def bytes_per_draw(self, samples: int, wide: bool) -> int:
        """Working space of a draw in a stage of so many samples, padding included."""
        size = 8 if wide else 4
        activations = 4 * samples * self.features  # values and slack, of two layers
        groups = 4 * samples * max(op.units for op in self.ops)
        digits = 0 if wide else self.padded_inputs * (4 * samples + max(samples, 16))
        return size * (activations + groups + self.conv_weights) + digits + 16 * samples

    @property
    def padded_inputs(self) -> int:
        """The most inputs, filled up to whole steps, of a layer that may go to tensor cores.

        Not of the first, whose inputs all draws share.
        """
        drawn = [self.weights(n) for n, op in enumerate(self.ops) if n and not op.kernel]
        sizes = [tensor_plan.padded(w.blocks_per_unit, w.bits) for w in drawn if not w.normal]
        return max(sizes, default=0)

    @property
    def features(self) -> int:
        """The most activations of a sample that a layer has."""
        return max(op.features for op in self.ops)

    @property
    def conv_weights(self) -> int:
        """The most weights, biases included, that a convolution has."""
        return max((op.units * op.step.columns for op in self.ops if op.kernel), default=0)

    def scale(self, number: int) -> float:
        """A layer's step of a uniform grid, or its standard deviation."""
        prior, fan_in = self.ensemble.prior, self.ops[number].step.fan_in
        if isinstance(prior, UniformPrior):
            return float(prior.step(fan_in))
        assert isinstance(prior, NormalPrior)
        return float(prior.scale(fan_in))

    def _margins(self, number: int, wide: bool, exact: Exact = frozenset()) -> LayerConstants:
        op, drawn = self.ops[number], self.weights(number)
        if number in exact and not wide:
            # The law rounds odd times step, which a power of two needs no rounding for.
            powers = math.frexp(self.scale(number))[0] == 0.5
            return exact_sum_constants(op.step.fan_in, 0.0 if powers else 2.0**-24)
        depth = None if op.kernel else plan.depth(drawn.blocks_per_unit, drawn.per_block)
        eps = EPSILON_NORMAL if drawn.normal and not wide else 0.0
        dtype = "float64" if wide else "float32"
        return layer_constants(op.step.fan_in, depth, eps, dtype)


def unsupported(ensemble: Ensemble) -> str | None:
    """Why the kernels cannot take an ensemble, or None if they can."""
    # Exactly these: a subclass may draw otherwise.
    if type(ensemble.prior) not in (UniformPrior, NormalPrior):
        return f"the prior {ensemble.prior} is known by its NumPy code alone"
    for step in ensemble.steps:
        layer = step.layer
        if type(layer) not in (Dense, Conv2d, MaxPool2d, ReLU, Flatten):
            return f"there is no kernel for {type(layer).__name__}"
        if isinstance(layer, Conv2d) and layer.padding:
            return "a convolution has padding"
        if plan.MAX_SAMPLES * max(map(math.prod, (step.in_shape, step.out_shape))) > _MOST:
            return f"a layer has more than {_MOST // plan.MAX_SAMPLES:,} inputs or outputs"
        if isinstance(layer, Conv2d) and layer.units * step.columns > _MOST:
            return f"a convolution has more than {_MOST:,} weights"
    return None


_MOST = plan.MAX_OFFSET // plan.BLOCK  # values of a draw that 32 bits number


def _ops(steps: tuple[Step, ...]) -> list[Op]:
    ops: list[Op] = []
    rectified, pooled, pools, linear = False, False, list[tuple[int, Image]](), steps[0]

    def close() -> None:
        ops.append(Op(linear, rectified, pooled, tuple(pools)))

    for step in steps[1:]:
        match step.layer:
            case Dense() | Conv2d():
                close()
                rectified, pooled, pools, linear = False, False, [], step
            case ReLU():
                rectified = True
            case MaxPool2d(size=size) if step.in_shape != step.out_shape:
                if size == 2 and not pools and not pooled:
                    pooled = True
                else:
                    pools.append((size, _image(step.in_shape)))
            case _:
                pass  # a flattened image is the same numbers in the same order
    close()
    return ops


def _image(shape: Shape) -> Image:
    channels, height, width = shape
    return channels, height, width


def up(value: float) -> float:
    """The least float32 that is not below a number."""
    narrow = np.float32(value)
    # Compared in float64: NumPy would round the other side, too.
    return float(narrow if float(narrow) >= value else np.nextafter(narrow, np.float32(np.inf)))
