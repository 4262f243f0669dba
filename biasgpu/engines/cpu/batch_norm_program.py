"""An architecture with batch norms as a list of passes over activations: what compiled code reads.

Unlike `program.Program`, whose passes carry a few samples from the inputs to the logits, each pass
here takes all training samples, since a batch norm waits for the last of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.engines.cpu.philox import odd_shift
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
from biasgpu.margins import SMALLEST_NORMAL
from biasgpu.priors import NormalPrior, Prior, UniformPrior

KNOWN = (BatchNorm2d, Conv2d, Dense, Flatten, Fork, Join, MaxPool2d, ReLU, Scale)
# Kinds of pass.
EXPAND, CONV, DENSE, SUMS, NORM, ELEMENT, POOL = range(7)
# Columns of a pass's row of integers. SRC, DST and FORKED are places of buffers, in values of one
# sample; -1 is the network's input, or none.
(
    KIND, SRC, SRC_SIZE, DST, DST_SIZE, FORKED, FORK_SIZE, FORK_PAD,
    CHANNELS, HEIGHT, WIDTH, PAD, UNITS, OUT_HEIGHT, OUT_WIDTH, DST_HEIGHT, DST_WIDTH, DST_PAD,
    KERNEL, PADDING, FAN_IN, COLUMNS, FIRST_BLOCK, BLOCKS, GROUP, STRIDE, GIVEN,
    POOLED, SLOT, RELU, SCALED, N_COLUMNS,
) = range(32)  # fmt: skip
# Columns of its row of floats: the scale of the weights (or what a Scale multiplies with), of a
# batch norm's biases, and how many numbers a batch norm's statistics are of, a sample.
FACTOR, BIAS_FACTOR, COUNT, N_FLOATS = range(4)
GROUP_BYTES = 256 << 10  # of weights that are in the buffer together


@dataclass(frozen=True)
class Program:
    """What the compiled passes need to know.

    Attributes:
        ops: int64 `(n_ops, N_COLUMNS)`.
        constants: float64 `(n_ops, N_FLOATS)`.
        family: the prior's.
        n_outputs: output units.
        values: numbers of all buffers, a sample.
        scratch: numbers of one padded input.
        weight_slots: the most weights held at a time.
        slots: channels of all batch norms.
        output: where the logits lie, as SRC; each sample has `n_outputs`.
        leading: steps without parameters, applied to the inputs.
    """

    ops: npt.NDArray[np.int64]
    constants: npt.NDArray[np.float64]
    family: int
    n_outputs: int
    values: int
    scratch: int
    weight_slots: int
    slots: int
    output: int
    leading: tuple[Step, ...]

    def inputs(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Inputs as the first pass reads them: `(samples, features)`, contiguous."""
        y: npt.NDArray[np.float64] = np.asarray(x, dtype=np.float64)
        for step in self.leading:
            y = reference.apply(step.layer, y)
        return np.ascontiguousarray(y.reshape(len(y), -1))


@dataclass
class Tensor:
    """Activations: a buffer's number (-1: the network's input), their shape, columns of zeros."""

    buffer: int
    shape: tuple[int, int, int]
    pad: int

    @property
    def size(self) -> int:
        """Numbers a sample takes."""
        channels, height, width = self.shape
        return channels * height * (width + 2 * self.pad)


def as_image(shape: Shape) -> tuple[int, int, int]:
    """A shape as channels, height, width; flat data as so many channels of one position."""
    channels, height, width = shape if len(shape) == 3 else (math.prod(shape), 1, 1)
    return channels, height, width


def unsupported(steps: Sequence[Step], prior: Prior | None = None) -> str | None:
    """Why these passes cannot take an architecture (drawn from a prior, or given), or None."""
    for step in steps:
        if type(step.layer) not in KNOWN:
            return f"the layer {type(step.layer).__name__} has no compiled form"
    if not isinstance(steps[-1].layer, Dense):
        return f"the last layer is a {type(steps[-1].layer).__name__}, not a Dense"
    if prior is None:
        return None
    if type(prior) not in (UniformPrior, NormalPrior):  # a subclass may draw otherwise
        return f"the prior {prior.name} has no compiled form"
    if isinstance(prior, UniformPrior):
        for step in steps:
            grid = float(prior.step(step.fan_in)) if step.linear else 1.0
            if grid * 2.0 ** -odd_shift(prior.bits) < SMALLEST_NORMAL["float32"]:
                return f"the step {grid:.3g} of the weights' grid is too small for float32"
    return None
