"""What deferred decisions ask of each layer, and where the answers' random words come from.

Directions are numbered j = 0, 1, ... in the order of the inputs that bring them. The hidden layers'
normals of direction j lie one layer after the other in `blocks` Philox blocks from block
`j * blocks` on, a layer starting at a multiple of 16; the output layer's are word `j * units + c`
of a stream of their own. What is left of a layer once all is asked of it has a stream, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from biasgpu.errors import UsageError
from biasgpu.layers import (
    BatchNorm2d,
    Dense,
    Flatten,
    Fork,
    InfiniteDense,
    Join,
    MaxPool2d,
    ReLU,
    Scale,
)
from biasgpu.layout import Step
from biasgpu.priors import NormalPrior, Prior

LANES = 16  # blocks whose first words lie next to each other, then their second words, ...
GROUP = 4 * LANES  # normals of so many blocks
NORMAL_COST = 16  # of a random normal, in products


@dataclass(frozen=True)
class Layer:
    """A dense layer whose weights are never drawn as a whole.

    Attributes:
        n_in: inputs; the constant 1 that stands before a drawn bias is not counted.
        bias: whether the biases are drawn.
        units: outputs.
        std: of the weights and biases.
        rectified: whether a ReLU follows.
        offset: of unit 0 among a direction's normals; 0 in the output layer.
        n_asked: inputs that are asked one by one; the others meet the weights as a whole.
    """

    n_in: int
    bias: bool
    units: int
    std: float
    rectified: bool
    offset: int
    n_asked: int

    @property
    def columns(self) -> int:
        """Weights of a unit, its bias included."""
        return self.n_in + self.bias


@dataclass(frozen=True)
class Plan:
    """An ensemble as deferred decisions see it.

    Attributes:
        front: the steps before the first dense layer. Its convolutions are drawn as they are.
        layers: the dense layers; the last one gives the logits.
        n_train, n_test: inputs, in this order.
        blocks: Philox blocks of one direction, over all hidden layers.
        shared: whether the first dense layer's inputs are the same for every draw.
        infinite: for each infinitely wide layer whether its biases are drawn; such networks have no
            other hidden layers.
    """

    front: tuple[Step, ...]
    layers: tuple[Layer, ...]
    n_train: int
    n_test: int
    blocks: int
    shared: bool
    infinite: tuple[bool, ...] = ()

    @property
    def n_inputs(self) -> int:
        """Training and test inputs."""
        return self.n_train + self.n_test

    @property
    def hidden(self) -> tuple[Layer, ...]:
        """All dense layers but the last."""
        return self.layers[:-1]

    @property
    def front_channels(self) -> int:
        """Channels of what the front's last convolution gives."""
        return next(step.linear.units for step in reversed(self.front) if step.linear)

    @property
    def n_outputs(self) -> int:
        """Logits."""
        return self.layers[-1].units


def unsupported(steps: Sequence[Step], prior: Prior) -> str | None:
    """Why deferred decisions cannot take an ensemble, or None if they can."""
    if type(prior) is not NormalPrior:  # a subclass may draw otherwise
        return f"the prior {prior} is not Gaussian"
    for step in steps:  # what is in front of the first dense layer is drawn, input by input
        if isinstance(step.layer, (BatchNorm2d, Fork, Join, Scale)):
            return f"it has no rule for the layer {type(step.layer).__name__}"
    first = _first_dense(steps)
    tail = steps[first:]
    for step in tail:
        flat = isinstance(step.layer, (Flatten, MaxPool2d)) and step.in_shape == step.out_shape
        if not flat and not isinstance(step.layer, (Dense, InfiniteDense, ReLU)):
            return f"the layer {type(step.layer).__name__} follows a dense one"
    infinite = [step for step in tail if isinstance(step.layer, InfiniteDense)]
    if not infinite:
        return None
    if len(infinite) != sum(isinstance(step.layer, Dense) for step in tail[:-1]) + len(infinite):
        return "finite and infinite layers are mixed"
    if any(step.layer.has_weights for step in steps[:first]):
        return "convolutions stand before infinite layers"
    for step in infinite:
        after = next((s.layer for s in tail if s.position == step.position + 1), None)
        if not isinstance(after, ReLU):
            return "an infinite layer without a ReLU behind it"
    limit = limit_variance(prior)
    if limit is None:
        return (
            f"the prior {prior} has no limit of infinite width: its weights do not shrink like "
            "1 / sqrt(fan-in), as those of kaiming-normal do"
        )
    return None


def limit_variance(prior: NormalPrior) -> float | None:
    """The limit of fan-in times the weights' variance as the width grows; None if there is none."""
    near, far = (float(prior.scale(2**k)) ** 2 * 2.0**k for k in (40, 50))
    return far if far > 0 and abs(near - far) <= 1e-6 * far else None


def make_plan(steps: Sequence[Step], prior: Prior, n_train: int, n_test: int) -> Plan:
    """The plan of an ensemble that `unsupported` has nothing against.

    Raises:
        UsageError: more directions than a draw can name.
    """
    assert isinstance(prior, NormalPrior)
    first = _first_dense(steps)
    front, tail = tuple(steps[:first]), steps[first:]
    shared = not any(step.layer.has_weights for step in front)
    infinite = tuple(
        step.layer.bias == "prior" for step in tail if isinstance(step.layer, InfiniteDense)
    )
    n_inputs, offset = n_train + n_test, 0
    layers: list[Layer] = []
    for place, step in enumerate(tail):
        if not isinstance(step.layer, Dense):
            continue
        output = place == len(tail) - 1
        n_in, units = step.fan_in, step.layer.units
        n_asked = _n_asked(n_in, units, n_train, n_test, shared and not layers)
        layers.append(
            Layer(
                n_in=n_inputs if infinite else n_in,
                bias=step.layer.bias == "prior" and not infinite,
                units=units,
                std=1.0 if infinite else float(prior.scale(n_in)),
                rectified=_rectified(tail[place + 1 :]),
                offset=0 if output else offset,
                n_asked=n_inputs if infinite else n_asked,
            )
        )
        if not output:
            offset += -(-units // LANES) * LANES
    blocks = LANES * -(-offset // GROUP)
    if blocks * n_inputs >= 2**32:
        raise UsageError(
            f"{offset:,} hidden units are asked for the images of {n_inputs:,} inputs.",
            why="a draw names at most 2**32 blocks of random words.",
            fix="use a smaller width or fewer test inputs.",
        )
    return Plan(front, tuple(layers), n_train, n_test, blocks, shared, infinite)


def _first_dense(steps: Sequence[Step]) -> int:
    return next(i for i, s in enumerate(steps) if isinstance(s.layer, (Dense, InfiniteDense)))


def _rectified(behind: Sequence[Step]) -> bool:
    """Whether a ReLU stands before the next dense layer; what else may stand there does nothing."""
    between = takewhile(lambda step: not isinstance(step.layer, (Dense, InfiniteDense)), behind)
    return any(isinstance(step.layer, ReLU) for step in between)


def _n_asked(n_in: int, units: int, n_train: int, n_test: int, shared: bool) -> int:
    """Whether the test inputs are asked one by one as well: where that takes fewer products.

    A part of the law: which of two equally random ways draws a network decides which one it is.
    """
    whole = units * n_in * (n_test + NORMAL_COST)
    asked = units * n_test * (n_test // 2 + NORMAL_COST)
    if not shared:
        asked += 2 * n_in * n_test * n_test
    return n_train + n_test if asked < whole else n_train
