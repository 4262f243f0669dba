"""From an architecture with batch norms to its passes (batch_norm_program.py).

Activations lie in buffers that are handed from pass to pass; a residual block keeps one of them
until it joins.

Where a batch norm follows a convolution, the convolution adds up its outputs and their squares
while they are in registers. Where a 2x2 max-pool follows that, it keeps only each window's maximum:
the weight of a drawn batch norm is above zero, so that x -> fl(fl(x a) + b), like ReLU, never turns
an order around, and pooling may come first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu.batch_norm_program import (
    BLOCKS,
    CHANNELS,
    COLUMNS,
    CONV,
    DENSE,
    DST,
    DST_HEIGHT,
    DST_PAD,
    DST_SIZE,
    DST_WIDTH,
    ELEMENT,
    EXPAND,
    FACTOR,
    FAN_IN,
    FIRST_BLOCK,
    FORK_PAD,
    FORK_SIZE,
    FORKED,
    GIVEN,
    GROUP,
    GROUP_BYTES,
    HEIGHT,
    KERNEL,
    KIND,
    N_COLUMNS,
    N_FLOATS,
    NORM,
    OUT_HEIGHT,
    OUT_WIDTH,
    PAD,
    PADDING,
    POOL,
    POOLED,
    RELU,
    SCALED,
    SLOT,
    SRC,
    SRC_SIZE,
    STRIDE,
    SUMS,
    UNITS,
    WIDTH,
    Program,
    Tensor,
    as_image,
)
from biasgpu.engines.cpu.program import NORMAL, SLOT_STEP, UNIFORM_8, UNIFORM_16, UNIFORM_32
from biasgpu.layers import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Fork,
    Join,
    MaxPool2d,
    ReLU,
    Scale,
    Shape,
)
from biasgpu.layout import Step
from biasgpu.priors import NORM_BIAS, NORM_WEIGHT, NormalPrior, Prior, UniformPrior


def lower(steps: Sequence[Step], prior: Prior | None, *, pool_first: bool = True) -> Program:
    """The passes of an architecture that `unsupported` has nothing against.

    Args:
        steps: the layers in their places.
        prior: of drawn weights; None for given ones.
        pool_first: whether no batch norm has a weight below zero.
    """
    first = next(
        place for place, step in enumerate(steps) if step.parts or isinstance(step.layer, Fork)
    )
    builder = _Builder(list(steps), prior, pool_first, steps[first].in_shape)
    place = first
    if not isinstance(steps[first].layer, Conv2d):
        builder.expand(first)
    while place < len(steps):
        place += builder.add(place)
    return builder.finish(tuple(steps[:first]))


@dataclass
class _Builder:
    steps: list[Step]
    prior: Prior | None
    pool_first: bool
    in_shape: Shape
    ops: list[npt.NDArray[np.int64]] = field(default_factory=list)
    constants: list[list[float]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # of the buffers
    free: list[int] = field(default_factory=list)
    forks: list[Tensor] = field(default_factory=list)
    scratch: int = 0
    weight_slots: int = 1
    slots: int = 0
    given: int = 0

    def __post_init__(self) -> None:
        self.now = Tensor(-1, as_image(self.in_shape), 0)

    def expand(self, place: int) -> None:
        """A first pass that writes the input of the step at `place` to a buffer."""
        made = self._tensor(self.now.shape, self._pad(place - 1))
        self._push(EXPAND, made)[PAD] = made.pad

    def add(self, place: int) -> int:
        """Lower the step at `place` and those it can swallow; returns how many."""
        step = self.steps[place]
        match step.layer:
            case Flatten():
                self.now = Tensor(self.now.buffer, as_image(step.out_shape), 0)
            case Fork():
                self.forks.append(self.now)
            case Conv2d():
                return self._convolution(place)
            case Dense():
                row = self._push(DENSE, self._tensor(as_image(step.out_shape), 0))
                self._parameters(row, step)
            case MaxPool2d(size=size):
                if len(step.in_shape) == 3:
                    pooled = self._tensor(as_image(step.out_shape), self._pad(place))
                    self._push(POOL, pooled)[KERNEL] = size
            case BatchNorm2d():
                self._push(SUMS, self.now)[SLOT] = self.slots
                return self._batch_norm(place)
            case _:
                return self._element(place)
        return 1

    def _convolution(self, place: int) -> int:
        step = self.steps[place]
        layer = step.layer
        assert isinstance(layer, Conv2d)
        following = [type(one.layer) for one in self.steps[place + 1 : place + 4]]
        normed = following[:1] == [BatchNorm2d]
        between = normed + (following[normed : normed + 1] == [ReLU])
        after = self.steps[place + 1 + between] if place + 1 + between < len(self.steps) else step
        pooled = isinstance(after.layer, MaxPool2d) and after.layer.size == 2
        pooled = pooled and (self.pool_first or not normed)
        shape = after.out_shape if pooled else step.out_shape
        last = place + 1 + between if pooled else place
        if self.now.buffer < 0:
            self.now = Tensor(-1, self.now.shape, layer.padding)
            self.scratch = self.now.size
        row = self._push(CONV, self._tensor(as_image(shape), self._pad(last)))
        row[KERNEL], row[PADDING], row[POOLED] = layer.kernel, layer.padding, pooled
        row[OUT_HEIGHT], row[OUT_WIDTH] = step.out_shape[1:]
        self._parameters(row, step)
        taken = 1
        if normed:
            row[SLOT] = self.slots
            taken += self._batch_norm(place + 1)
        elif pooled and between:
            taken += self._element(place + 1)
        return taken + bool(pooled)

    def _batch_norm(self, place: int) -> int:
        """What follows the sums of the batch norm at `place`."""
        step = self.steps[place]
        row = self._push(NORM, self.now)
        row[SLOT], row[UNITS] = self.slots, step.units
        row[FIRST_BLOCK], row[BLOCKS], row[COLUMNS] = step.first_block, step.blocks_per_unit, 2
        row[STRIDE] = SLOT_STEP
        self.weight_slots = max(self.weight_slots, step.units * SLOT_STEP)
        self.slots += step.units
        factors = [0.0, 0.0]
        if isinstance(self.prior, UniformPrior) and self.prior.random_norms:
            unit = np.float32(2.0 ** -min(self.prior.bits, 24))
            factors = [float(np.float32(half) * unit) for half in (NORM_WEIGHT, NORM_BIAS)]
        self.constants[-1] = [*factors, float(math.prod(step.in_shape[1:]))]
        return self._element(place)

    def _element(self, place: int) -> int:
        """One pass over all numbers: batch norm, ReLU, what joins, a factor, in this order."""
        source = self.now
        held = any(fork.buffer == source.buffer for fork in self.forks)
        row = self._push(ELEMENT, self._tensor(source.shape, source.pad) if held else source)
        taken = 0

        def follows(kind: type) -> bool:
            at = place + taken
            return at < len(self.steps) and isinstance(self.steps[at].layer, kind)

        if follows(BatchNorm2d):
            row[SLOT] = self.slots - self.steps[place].units
            taken += 1
        if follows(ReLU):
            row[RELU] = 1
            taken += 1
        if follows(Join):
            fork = self.forks.pop()
            row[FORKED], row[FORK_SIZE], row[FORK_PAD] = fork.buffer, fork.size, fork.pad
            taken += 1
            self._release(fork)
        if follows(Scale):
            layer = self.steps[place + taken].layer
            assert isinstance(layer, Scale)
            row[SCALED] = 1
            self.constants[-1][FACTOR] = float(layer.factor)
            taken += 1
        return taken

    def _pad(self, place: int) -> int:
        """Columns of zeros around what the step at `place` makes: the next convolution's."""
        for step in self.steps[place + 1 :]:
            if isinstance(step.layer, Conv2d):
                return step.layer.padding
            if isinstance(step.layer, (Flatten, MaxPool2d, Dense)):
                break
        return 0

    def _tensor(self, shape: tuple[int, int, int], pad: int) -> Tensor:
        if not self.free:
            self.free.append(len(self.sizes))
            self.sizes.append(0)
        made = Tensor(self.free.pop(), shape, pad)
        self.sizes[made.buffer] = max(self.sizes[made.buffer], made.size)
        return made

    def _release(self, tensor: Tensor) -> None:
        held = {fork.buffer for fork in self.forks} | {self.now.buffer, -1}
        if tensor.buffer not in held:
            self.free.append(tensor.buffer)

    def _push(self, kind: int, made: Tensor) -> npt.NDArray[np.int64]:
        """A pass from the current tensor to another, or in place."""
        row, source = np.zeros(N_COLUMNS, np.int64), self.now
        row[KIND], row[FORKED], row[SLOT] = kind, -1, -1
        row[SRC], row[SRC_SIZE], row[PAD] = source.buffer, source.size, source.pad
        row[CHANNELS], row[HEIGHT], row[WIDTH] = source.shape
        row[DST], row[DST_SIZE], row[DST_PAD] = made.buffer, made.size, made.pad
        row[UNITS], row[DST_HEIGHT], row[DST_WIDTH] = made.shape
        self.ops.append(row)
        self.constants.append([0.0] * N_FLOATS)
        self.now = made
        if made.buffer != source.buffer:
            self._release(source)
        return row

    def _parameters(self, row: npt.NDArray[np.int64], step: Step) -> None:
        assert step.linear
        drawn = self.prior is not None
        # Of given weights every unit has a bias in its place, zero where the layer has none.
        columns = step.columns if drawn else step.fan_in + 1
        row[FAN_IN], row[COLUMNS] = step.fan_in, columns
        row[FIRST_BLOCK], row[BLOCKS] = step.first_block, step.blocks_per_unit
        row[STRIDE] = columns + (-columns) % SLOT_STEP
        group = max(2, GROUP_BYTES // (64 * int(row[STRIDE])) // 2 * 2)
        row[GROUP] = min(group, step.linear.units)
        self.weight_slots = max(self.weight_slots, int(row[GROUP] * row[STRIDE]))
        row[GIVEN] = self.given
        self.given += step.linear.units * columns
        if isinstance(self.prior, UniformPrior):
            self.constants[-1][FACTOR] = float(self.prior.step(step.fan_in))
        elif isinstance(self.prior, NormalPrior):
            self.constants[-1][FACTOR] = float(self.prior.scale(step.fan_in))

    def finish(self, leading: tuple[Step, ...]) -> Program:
        ops = np.stack(self.ops)
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        for column in (SRC, DST, FORKED):
            ops[:, column] = np.where(ops[:, column] < 0, -1, starts[ops[:, column]])
        bits = self.prior.bits if self.prior else 32
        return Program(
            ops=ops,
            constants=np.array(self.constants, dtype=np.float64),
            family=NORMAL
            if isinstance(self.prior, NormalPrior)
            else {32: UNIFORM_32, 16: UNIFORM_16, 8: UNIFORM_8}[bits],
            n_outputs=self.now.shape[0],
            values=int(starts[-1]),
            scratch=self.scratch,
            weight_slots=self.weight_slots,
            slots=self.slots,
            output=int(starts[self.now.buffer]),
            leading=leading,
        )
