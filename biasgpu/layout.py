"""Where each weight's random bits come from: the layout of parameters over Philox blocks.

Each output unit owns a run of whole blocks: its incoming weights in the order of the weight tensor,
then its bias if that is drawn. Units follow each other in order, layer after layer. Unit u of a
layer starts at block `first_block + u * blocks_per_unit`. (Whole blocks let an engine make one
unit's weights without looking at any other's.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biasgpu.errors import UsageError
from biasgpu.layers import InfiniteDense, Layer, Linear, Shape
from biasgpu.rng import WORDS_PER_BLOCK


@dataclass(frozen=True)
class Step:
    """A layer in its place: with its shapes and, if it has parameters, its blocks.

    Attributes:
        position: its number in the list of layers; names its parameters ("3.weight").
        layer: the declaration.
        in_shape, out_shape: shapes of one sample.
        fan_in: weights a unit has (0 without parameters).
        columns: drawn parameters a unit has: fan_in, plus 1 with a drawn bias.
        first_block: the block at which unit 0 starts.
        blocks_per_unit: Philox blocks a unit owns.
    """

    position: int
    layer: Layer
    in_shape: Shape
    out_shape: Shape
    fan_in: int = 0
    columns: int = 0
    first_block: int = 0
    blocks_per_unit: int = 0

    @property
    def linear(self) -> Linear | None:
        """The layer if it has parameters, else None."""
        return self.layer if isinstance(self.layer, Linear) else None


def lay_out(layers: Sequence[Layer], shape: Shape, bits: int) -> tuple[Step, ...]:
    """Place layers one after the other, for inputs of `shape` and `bits` bits a weight.

    Raises:
        UsageError: a layer does not fit.
    """
    steps: list[Step] = []
    block = 0
    weights_per_block = WORDS_PER_BLOCK * 32 // bits
    for position, layer in enumerate(layers):
        out_shape = layer.out_shape(shape)
        if isinstance(layer, Linear):
            fan_in = layer.fan_in(shape)
            columns = fan_in + (layer.bias == "prior")
            per_unit = -(-columns // weights_per_block)
            steps.append(Step(position, layer, shape, out_shape, fan_in, columns, block, per_unit))
            block += layer.units * per_unit
        else:
            steps.append(Step(position, layer, shape, out_shape))
        shape = out_shape
    return tuple(steps)


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
    return WORDS_PER_BLOCK * sum(
        step.linear.units * step.blocks_per_unit for step in steps if step.linear
    )


def n_weights(steps: Sequence[Step]) -> int:
    """Parameters drawn for one network."""
    return sum(step.linear.units * step.columns for step in steps if step.linear)


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
