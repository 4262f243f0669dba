"""An ensemble lowered to a program: a few numbers a layer, which the compiled kernels walk through.

Layers without parameters that come before the first one with parameters act on the inputs alone;
they are applied to the inputs here, once. A ReLU and a 2x2 max-pool that follow a convolution are
done where its outputs are still in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.engines.cpu.gaussian import EPSILON_F32
from biasgpu.engines.cpu.philox import odd_shift
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Shape
from biasgpu.layout import Step
from biasgpu.margins import SMALLEST_NORMAL, layer_constants
from biasgpu.priors import NormalPrior, Prior, UniformPrior

# Kinds of operation.
DENSE, CONV, POOL, RELU, PAD = range(5)
# Columns of an operation's row of integers.
(
    KIND, INPUTS, OUTPUTS, UNITS, FAN_IN, COLUMNS, FIRST_BLOCK, BLOCKS, RELU_AFTER, POOL_SIZE,
    CHANNELS, HEIGHT, WIDTH, KERNEL, QUADS, QUADS_START, PADDING, GROUPS, GROUP_SIZE, SILENCES,
    WIDE, PAIR, BY_CHANNEL, N_COLUMNS,
) = range(24)  # fmt: skip
# Columns of its row of floats: weight scale, and the constants of the rounding bound (margins.py).
SCALE, GAIN, INJECT, TINY, N_FLOATS = range(5)
# Families of priors; GIVEN weights are not drawn but lie in memory (weights.py).
UNIFORM_32, UNIFORM_16, UNIFORM_8, NORMAL, GIVEN = range(5)

# Below, float32 weights or their scale are denormal, and EPSILON_F32 no bound of their error.
SMALLEST_STD = 2.0**-64
UNITS_AT_ONCE = 4  # output units whose weights are in the buffer together
WIDE_FAN_IN = 256  # inputs of a first layer above which float32 would round too much to be certain
RUN, BLOCK = 8, 64  # terms that screening's first dense layer adds one by one, then in two levels
SLOT_STEP = 16  # a unit's place in the buffer is a multiple of the weights of one 8-bit block


@dataclass(frozen=True)
class Program:
    """What the compiled kernels need to know of an ensemble.

    Attributes:
        ops: int64 `(n_ops, N_COLUMNS)`.
        constants: float64 `(n_ops, N_FLOATS)`.
        quads: int64, input offsets of the output positions of convolutions, four at a time.
        family: the prior's family.
        n_outputs: output units.
        buffer_units: the most values per sample that any operation reads or writes.
        weight_slots: the most weights held at a time.
        group_slots: the most groups of activations that share an error bound.
        leading: steps without parameters, applied to the inputs.
    """

    ops: npt.NDArray[np.int64]
    constants: npt.NDArray[np.float64]
    quads: npt.NDArray[np.int64]
    family: int
    n_outputs: int
    buffer_units: int
    weight_slots: int
    group_slots: int
    leading: tuple[Step, ...]

    def inputs(self, x: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> npt.NDArray:
        """Inputs as the first operation reads them: `(samples, features)`, contiguous."""
        y = np.asarray(x, dtype=np.float64)
        for step in self.leading:
            y = reference.apply(step.layer, y)
        padding = int(self.ops[0, PADDING])
        if padding:
            y = np.pad(y, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype=dtype)

    def peaks(self, inputs: npt.NDArray) -> npt.NDArray:
        """The largest magnitude of each group of inputs, over all samples: `(groups,)`."""
        grouped = np.abs(inputs).reshape(len(inputs), int(self.ops[0, GROUPS]), -1)
        return np.ascontiguousarray(grouped.max(axis=(0, 2)))


def unsupported(ensemble: Ensemble) -> str | None:
    """Why this engine cannot take the ensemble, or None if it can."""
    if type(ensemble.prior) not in (UniformPrior, NormalPrior):  # a subclass may draw otherwise
        return f"the prior {ensemble.prior.name} has no compiled form"
    known = (Dense, Conv2d, MaxPool2d, ReLU, Flatten)
    for step in ensemble.steps:
        if not isinstance(step.layer, known):
            return f"the layer {type(step.layer).__name__} has no compiled form"
        if step.linear and isinstance(ensemble.prior, NormalPrior):
            scale = ensemble.prior.scale(step.fan_in)
            if not scale >= SMALLEST_STD:
                return f"the standard deviation {scale:.3g} is too small for float32"
        if step.linear and isinstance(ensemble.prior, UniformPrior):
            grid = float(ensemble.prior.step(step.fan_in))
            if grid * 2.0 ** -odd_shift(ensemble.prior.bits) < SMALLEST_NORMAL["float32"]:
                return f"the step {grid:.3g} of the weights' grid is too small for float32"
    return None


def lower(ensemble: Ensemble) -> Program:
    """The program of an ensemble that `unsupported` has nothing against."""
    return lower_steps(ensemble.steps, ensemble.prior)


def lower_steps(layers: Sequence[Step], prior: Prior) -> Program:
    """The program of some layers, at least one of them with parameters."""
    steps = list(layers)
    builder = _Builder(prior, _size(steps[-1].out_shape))
    first = next(i for i, step in enumerate(steps) if step.linear)
    position = first
    while position < len(steps):
        position += builder.add(steps, position, is_first=position == first)
    return builder.finish(tuple(steps[:first]))


class _Builder:
    def __init__(self, prior: Prior, n_outputs: int) -> None:
        self.prior = prior
        self.n_outputs = n_outputs
        self.ops: list[npt.NDArray[np.int64]] = []
        self.constants: list[tuple[float, ...]] = []
        self.quads: list[npt.NDArray[np.int64]] = []
        self.n_quads = 0
        self.slots = 1
        self.groups = 0
        self.group_slots = 1
        self.pending: tuple[float, ...] = ()

    def add(self, steps: list[Step], position: int, *, is_first: bool) -> int:
        """Lower the step at `position` and those it can swallow; returns how many."""
        step = steps[position]
        layer = step.layer
        if isinstance(layer, Flatten):
            return 1
        row = np.zeros(N_COLUMNS, dtype=np.int64)
        row[INPUTS], row[OUTPUTS] = _size(step.in_shape), _size(step.out_shape)
        if isinstance(layer, Dense):
            row[KIND] = DENSE
            taken = self._relu_follows(steps, position)
            row[RELU_AFTER] = taken
            self._parameters(row, step, run=reference.run_length(layer))
            return self._push(row, 1 + taken)
        if isinstance(layer, Conv2d):
            return self._convolution(row, steps, position, is_first=is_first)
        if isinstance(layer, MaxPool2d) and len(step.in_shape) == 3:
            row[KIND] = POOL
            row[CHANNELS], row[HEIGHT], row[WIDTH] = step.in_shape
            row[POOL_SIZE] = layer.size
            return self._push(row, 1)
        if isinstance(layer, ReLU):
            row[KIND] = RELU
            return self._push(row, 1)
        return 1  # a max-pool that lets flat inputs pass

    def _convolution(
        self, row: npt.NDArray[np.int64], steps: list[Step], position: int, *, is_first: bool
    ) -> int:
        step = steps[position]
        layer = step.layer
        assert isinstance(layer, Conv2d)
        channels, height, width = step.in_shape
        pad = layer.padding
        height, width = height + 2 * pad, width + 2 * pad
        if pad and not is_first:
            before = np.zeros(N_COLUMNS, dtype=np.int64)
            before[KIND], before[PADDING] = PAD, pad
            before[CHANNELS], before[HEIGHT], before[WIDTH] = step.in_shape
            before[INPUTS], before[OUTPUTS] = _size(step.in_shape), channels * height * width
            self._push(before, 1)
        row[KIND], row[KERNEL], row[PADDING] = CONV, layer.kernel, pad if is_first else 0
        row[CHANNELS], row[HEIGHT], row[WIDTH] = channels, height, width
        row[INPUTS] = channels * height * width
        taken = self._relu_follows(steps, position)
        row[RELU_AFTER] = taken
        shape = step.out_shape
        after = steps[position + 1 + taken].layer if position + 1 + taken < len(steps) else None
        if isinstance(after, MaxPool2d) and after.size == 2:
            row[POOL_SIZE] = 2
            shape = after.out_shape(shape)
            taken += 1
        row[OUTPUTS] = _size(shape)
        quads = _quads(shape, step.out_shape, width, pooled=bool(row[POOL_SIZE]))
        row[QUADS], row[QUADS_START] = len(quads) // 4, self.n_quads
        self.quads.append(quads)
        self.n_quads += len(quads)
        self._parameters(row, step, run=layer.kernel)
        return self._push(row, 1 + taken)

    def _relu_follows(self, steps: list[Step], position: int) -> int:
        return int(position + 1 < len(steps) and isinstance(steps[position + 1].layer, ReLU))

    def _parameters(self, row: npt.NDArray[np.int64], step: Step, run: int) -> None:
        assert step.linear
        row[UNITS], row[FAN_IN], row[COLUMNS] = step.linear.units, step.fan_in, step.columns
        row[FIRST_BLOCK], row[BLOCKS] = step.first_block, step.blocks_per_unit
        # Inputs whose error bounds are one: a channel's.
        shape = step.in_shape
        row[GROUPS] = self.groups if self.groups else _size(shape) if len(shape) == 1 else shape[0]
        row[GROUP_SIZE] = step.fan_in // row[GROUPS]
        self.groups = step.linear.units
        self.slots = max(self.slots, UNITS_AT_ONCE * (step.columns + SLOT_STEP))
        self.group_slots = max(self.group_slots, int(row[GROUPS]), self.groups)
        # A term is rounded within its run, then with the runs after its own, then by the bias.
        runs = -(-step.fan_in // run)
        depth = min(run, step.fan_in) + runs - 1 + (step.columns > step.fan_in)
        if row[KIND] == DENSE and not self.ops and step.fan_in > WIDE_FAN_IN:
            # A wide first layer screens in float64: what it rounds there is within one float32
            # unit, and its sum is rounded to float32, then once more by the bias.
            row[WIDE], depth = 1, 3
        elif row[KIND] == CONV:
            # A channel at a time where that is no more than a third deeper than the law's rows.
            by_channel = int(row[KERNEL] ** 2 + row[CHANNELS] - 1) + (step.columns > step.fan_in)
            row[BY_CHANNEL] = row[CHANNELS] > 1 and 3 * by_channel <= 4 * depth
            depth = by_channel if row[BY_CHANNEL] else depth
        elif row[KIND] == DENSE and not self.ops:
            # Screening and law add up in different orders, each with as many roundings at most.
            depth = _first_depth(step.fan_in, bias=step.columns > step.fan_in)
        normal = isinstance(self.prior, NormalPrior)
        # Screening weights: the approximation, the rounded scale, their product; the law's
        # rounding.
        epsilon = EPSILON_F32 + 4 * 2.0**-24 if normal else 0.0
        bound = layer_constants(step.fan_in, depth, epsilon)
        assert isinstance(self.prior, (UniformPrior, NormalPrior))
        scale = (
            float(self.prior.step(step.fan_in))
            if isinstance(self.prior, UniformPrior)
            else float(self.prior.scale(step.fan_in))
        )
        self.pending = (scale, bound.gain, bound.inject, bound.tiny)

    def _push(self, row: npt.NDArray[np.int64], taken: int) -> int:
        self.ops.append(row)
        self.constants.append(self.pending if row[KIND] in (DENSE, CONV) else (0.0,) * N_FLOATS)
        return taken

    def finish(self, leading: tuple[Step, ...]) -> Program:
        ops = np.stack(self.ops)
        ops[-1, PAIR] = ops[-1, KIND] == DENSE and self.n_outputs == 2
        # Where a silent ReLU layer leaves logits of exactly zero: no drawn bias comes after it.
        biased = np.flatnonzero(ops[:, COLUMNS] > ops[:, FAN_IN])
        unbiased_after = np.arange(len(ops)) >= (biased.max() if len(biased) else -1)
        ops[:, SILENCES] = ops[:, RELU_AFTER] * unbiased_after
        family = (
            NORMAL
            if isinstance(self.prior, NormalPrior)
            else {32: UNIFORM_32, 16: UNIFORM_16, 8: UNIFORM_8}[self.prior.bits]
        )
        return Program(
            ops=ops,
            constants=np.array(self.constants, dtype=np.float64),
            quads=np.concatenate([np.zeros(4, np.int64), *self.quads])[4:]
            if self.quads
            else np.zeros(4, np.int64),
            family=family,
            n_outputs=self.n_outputs,
            buffer_units=int(max(ops[1:, INPUTS].max(initial=0), ops[:, OUTPUTS].max())),
            weight_slots=self.slots,
            group_slots=self.group_slots,
            leading=leading,
        )


def _first_depth(fan_in: int, *, bias: bool) -> int:
    """Roundings of a term of a first dense layer's sum at most (first.py).

    Within its run, with the runs of its block, the blocks, the other kind of inputs, the bias.
    """
    runs = min(-(-fan_in // RUN), BLOCK // RUN)
    return min(RUN, fan_in) + (runs - 1) + (-(-fan_in // BLOCK) - 1) + 1 + bias


def _size(shape: Shape) -> int:
    return int(np.prod(shape))


def _quads(
    out_shape: Shape, conv_shape: Shape, width: int, *, pooled: bool
) -> npt.NDArray[np.int64]:
    """Offsets of the top left input of four output positions at a time.

    With pooling a quad is a window, whose maximum is one output. Without, it is four outputs in a
    row; the last quad repeats its last position.
    """
    rows, columns = out_shape[1], out_shape[2]
    y, x = np.divmod(np.arange(rows * columns), columns)
    if pooled:
        corners = [(2 * y + dy) * width + 2 * x + dx for dy in (0, 1) for dx in (0, 1)]
        return np.stack(corners, axis=1).reshape(-1)
    y, x = np.divmod(np.arange(conv_shape[1] * conv_shape[2]), conv_shape[2])
    starts = y * width + x
    short = -len(starts) % 4
    return np.concatenate([starts, np.repeat(starts[-1:], short)])
