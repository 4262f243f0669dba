"""Layers lowered for input gradients: the engine's program, and where what it finds is kept.

A backward pass needs every operation's outputs (for the signs of rectifiers) and the winners of
pooling windows. They are kept for a few samples at a time, one operation behind the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.engines.cpu.program import (
    CHANNELS,
    CONV,
    HEIGHT,
    INPUTS,
    KERNEL,
    KIND,
    OUTPUTS,
    POOL,
    POOL_SIZE,
    UNITS,
    WIDTH,
    Program,
)
from biasgpu.given import lowered
from biasgpu.layers import Flatten, MaxPool2d, ReLU
from biasgpu.layout import Step

Floats = npt.NDArray[np.float32]
SLACK = 4  # vectors behind a convolution's gradients that are read and not used


@dataclass(frozen=True)
class Lowered:
    """What the compiled kernels need to know.

    Attributes:
        program: the operations, whose weights are given.
        order: int64 `(n_parameters,)`, where the parameters that it reads are found.
        places: int64 `(n_ops, 2)`, for a block of one sample the vector at which an operation's
            outputs begin, and at which its winners do.
        outputs, winners: vectors that one sample's take.
        gradients: the most vectors that one sample's gradients take, between two operations.
        spread: the most vectors that one sample's gradients by a convolution's sums take.
    """

    program: Program
    order: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    outputs: int
    winners: int
    gradients: int
    spread: int

    def inputs(self, x: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Inputs as the first operation reads them, and how much of their gradient x receives.

        The layers before it act on x alone. Each of its inputs is an element of x, or 0: so the
        gradient by x has the length of the gradient by the inputs, less those that are no element.

        Args:
            x: float32 `(samples, *shape)`.

        Returns:
            float32 `(samples, features)`, twice; the second of 0 and 1.
        """
        y, passes = np.asarray(x, dtype=np.float64), np.ones(x.shape)
        for step in self.program.leading:
            y, passes = _leading(step, y, passes)
        plane = self.program.ops[0]
        if plane[KIND] == CONV:
            pads = [(n - m) // 2 for n, m in zip(plane[[HEIGHT, WIDTH]], y.shape[2:], strict=True)]
            edges = ((0, 0), (0, 0), (pads[0], pads[0]), (pads[1], pads[1]))
            y, passes = np.pad(y, edges), np.pad(passes, edges)
        return _rows(y), _rows(passes)


def _rows(y: npt.NDArray) -> Floats:
    return np.ascontiguousarray(y.reshape(len(y), -1), dtype=np.float32)


def _leading(step: Step, y: npt.NDArray, passes: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
    """One layer without parameters: its outputs, and which of them move with an element of x."""
    layer = step.layer
    if isinstance(layer, Flatten):
        return y.reshape(len(y), -1), passes.reshape(len(y), -1)
    if isinstance(layer, ReLU):
        return np.maximum(y, 0.0), passes * (y > 0.0)
    if isinstance(layer, MaxPool2d) and y.ndim == 4:
        first = windows(y, layer.size).argmax(axis=-1)[..., None]
        passed = np.take_along_axis(windows(passes, layer.size), first, axis=-1)[..., 0]
        return reference.apply(layer, y), passed
    return y, passes


def windows(y: npt.NDArray, size: int) -> npt.NDArray:
    """`(samples, channels, rows, columns, size * size)`: the elements of each pooling window."""
    samples, channels, height, width = y.shape
    rows, columns = height // size, width // size
    cut = y[:, :, : rows * size, : columns * size]
    split = cut.reshape(samples, channels, rows, size, columns, size).transpose(0, 1, 2, 4, 3, 5)
    return split.reshape(samples, channels, rows, columns, size * size)


@lru_cache(maxsize=8)
def lower(steps: tuple[Step, ...]) -> Lowered:
    """The layers lowered; at least one has parameters."""
    program, order = lowered(steps)
    places = np.zeros((len(program.ops), 2), np.int64)
    outputs = winners = 0
    gradients, spread = int(program.ops[-1, OUTPUTS]), 1
    for place, op in zip(places, program.ops, strict=True):
        place[:] = outputs, winners
        outputs += int(op[OUTPUTS])
        if op[KIND] == POOL or op[POOL_SIZE]:
            winners += int(op[OUTPUTS])
        gradients = max(gradients, int(op[OUTPUTS]), int(op[INPUTS]) if place[0] else 0)
        if op[KIND] == CONV:
            rows, columns = op[HEIGHT] - op[KERNEL] + 1, op[WIDTH] + op[KERNEL] - 1
            spread = max(spread, int(op[UNITS] * rows * columns) + SLACK)
        assert op[INPUTS] == op[CHANNELS] * op[HEIGHT] * op[WIDTH] or op[KIND] != CONV
    return Lowered(program, order, places, outputs, winners, gradients, spread)
