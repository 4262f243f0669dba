"""Where each weight's random bits come from: the layout of parameters over Philox blocks.

Each output unit owns a run of whole blocks: its incoming weights in the order of the weight tensor,
then its bias if that is drawn; a channel of a batch norm its weight and its bias. Units follow each
other in order, layer after layer. Unit u of a layer starts at block `first_block + u *
blocks_per_unit`. (Whole blocks let an engine make one unit's weights without looking at any
other's.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biasgpu.errors import UsageError
from biasgpu.layers import BatchNorm2d, Fork, InfiniteDense, Join, Layer, Linear, Shape
from biasgpu.rng import WORDS_PER_BLOCK


@dataclass(frozen=True)
class Step:
    """A layer in its place: with its shapes and, if it has parameters, its blocks.

    Attributes:
        position: its number in the list of layers; names its parameters ("3.weight").
        layer: the declaration.
        in_shape, out_shape: shapes of one sample.
        units: what owns blocks: output units, or channels of a batch norm (0 without parameters).
        fan_in: weights a unit of a `Linear` layer has, else 0.
        columns: drawn parameters a unit has: fan_in, plus 1 with a drawn bias; 2 in a batch norm.
        first_block: the block at which unit 0 starts.
        blocks_per_unit: Philox blocks a unit owns.
    """

    position: int
    layer: Layer
    in_shape: Shape
    out_shape: Shape
    units: int = 0
    fan_in: int = 0
    columns: int = 0
    first_block: int = 0
    blocks_per_unit: int = 0

    @property
    def linear(self) -> Linear | None:
        """The layer if it is a linear map of its parameters, else None."""
        return self.layer if isinstance(self.layer, Linear) else None

    @property
    def parts(self) -> tuple[tuple[str, Shape], ...]:
        """Names and shapes of its parameters: see `Layer.parts`."""
        return self.layer.parts(self.in_shape)


def lay_out(layers: Sequence[Layer], shape: Shape, bits: int) -> tuple[Step, ...]:
    """Place layers one after the other, for inputs of `shape` and `bits` bits a weight.

    Raises:
        UsageError: a layer does not fit, or a `Fork` has no `Join` of its shape.
    """
    steps: list[Step] = []
    forks: list[Shape] = []
    block = 0
    weights_per_block = WORDS_PER_BLOCK * 32 // bits
    for position, layer in enumerate(layers):
        out_shape = layer.out_shape(shape)
        units = fan_in = columns = per_unit = 0
        if isinstance(layer, Linear):
            units, fan_in = layer.units, layer.fan_in(shape)
            columns = fan_in + (layer.bias == "prior")
        elif isinstance(layer, BatchNorm2d):
            units, columns = shape[0], 2
        elif isinstance(layer, Fork):
            forks.append(shape)
        elif isinstance(layer, Join):
            _check_join(forks, shape)
        per_unit = -(-columns // weights_per_block)
        first = block if units else 0
        placed = (units, fan_in, columns, first, per_unit)
        steps.append(Step(position, layer, shape, out_shape, *placed))
        block += units * per_unit
        shape = out_shape
    if forks:
        raise UsageError(
            "a Fork has no Join after it.",
            why="what it remembers is added where the residual block ends.",
            fix="write residual blocks as biasgpu.layers.residual(...).",
        )
    return tuple(steps)


def coupled(steps: Sequence[Step]) -> bool:
    """Whether a network's answer to one input depends on the others: it has batch norms."""
    return any(isinstance(step.layer, BatchNorm2d) for step in steps)


def _check_join(forks: list[Shape], shape: Shape) -> None:
    if not forks or forks.pop() != shape:
        raise UsageError(
            f"a Join of shape {shape} has no Fork of that shape before it.",
            why="a residual block adds its input to its output, number by number.",
            fix="write residual blocks as biasgpu.layers.residual(...), of layers that keep the "
            "shape.",
        )


def check_names(steps: Sequence[Step]) -> None:
    """Refuse networks that have no weights, or more than a draw can name.

    Raises:
        UsageError: says which.
    """
    if any(isinstance(step.layer, InfiniteDense) for step in steps):
        raise UsageError(
            "an infinitely wide network has no weights to draw.",
            why="it is a Gaussian process, which method 'deferred' samples.",
            fix="use method='deferred' (--method deferred) with a Gaussian prior.",
        )
    if n_words(steps) >= 2**34:
        raise UsageError(
            f"the network has {n_weights(steps):,} parameters.",
            why="a draw names at most 2**32 blocks of random words.",
            fix="use a smaller width, or, with a Gaussian prior, method='deferred' "
            "(--method deferred), which draws only what is asked of a network.",
        )


def n_words(steps: Sequence[Step]) -> int:
    """Random words one draw takes, padding of the last block of each unit included."""
    return WORDS_PER_BLOCK * sum(step.units * step.blocks_per_unit for step in steps)


def n_weights(steps: Sequence[Step]) -> int:
    """Parameters drawn for one network."""
    return sum(step.units * step.columns for step in steps)


def n_products(steps: Sequence[Step]) -> int:
    """Multiplications one forward pass of one sample takes."""
    total = 0
    for step in steps:
        if step.linear:
            outputs = 1
            for size in step.out_shape:
                outputs *= size
            total += outputs * step.fan_in
    return total
