"""An architecture with batch norms, or residual blocks, as passes of Triton kernels.

Activations lie in buffers that passes hand to each other. A convolution leaves its outputs as they
are before their batch norm and ReLU, which whoever reads them applies: a `Tensor` says so. The
weight of a drawn batch norm is above zero, so pooling commutes with both, and comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels.direct_plan import MAX_SAMPLES
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
from biasgpu.priors import NormalPrior, UniformPrior

Image = tuple[int, int, int]
KNOWN = (BatchNorm2d, Conv2d, Dense, Flatten, Fork, Join, MaxPool2d, ReLU, Scale)
SHARED = -1  # the buffer of the inputs, which all draws share


@dataclass(frozen=True)
class Tensor:
    """Activations of all samples.

    Attributes:
        buffer: its number, or `SHARED`.
        shape: channels, rows, columns; those of flat data are as many channels of one number, but
            what was an image keeps its channels.
        bound: number of its bounds.
        slot: number of the batch norm that is still to be applied, or None.
        rectified: a ReLU is still to be applied, behind that.
    """

    buffer: int
    shape: Image
    bound: int
    slot: int | None = None
    rectified: bool = False

    @property
    def size(self) -> int:
        """Numbers of a sample."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Pass:
    """Numbers from one tensor to another.

    Attributes:
        source, made: tensors.
        step: the linear layer, or None of a pass over numbers one by one.
        norm: the batch norm whose sums are added up on the way.
        fork: what joins.
        pooled: a max-pool of 2 is part of a convolution.
        after: a ReLU follows what joins.
        size: of a max-pool, else 1.
        factor: what all is multiplied with at last.
    """

    source: Tensor
    made: Tensor
    step: Step | None = None
    norm: Step | None = None
    fork: Tensor | None = None
    pooled: bool = False
    after: bool = False
    size: int = 1
    factor: float | None = None

    @property
    def kernel(self) -> int:
        """Rows of a convolution's kernel, else 0."""
        layer = self.step.layer if self.step else None
        return layer.kernel if isinstance(layer, Conv2d) else 0

    @property
    def biased(self) -> bool:
        """Whether its biases are drawn."""
        return self.step is not None and self.step.columns > self.step.fan_in

    @property
    def out_shape(self) -> Image:
        """Of a convolution before it is pooled."""
        assert self.step is not None
        return as_image(self.step.out_shape)

    def tile(self, n_samples: int) -> plan.Tile:
        """Of a convolution."""
        units, rows, columns = self.out_shape
        return plan.tile(units, rows, columns, n_samples, self.pooled)

    def numbers(self, n_samples: int) -> tuple[int, int]:
        """What lanes are given: windows or numbers (of a channel), and how many at a time."""
        if self.kernel:
            tile = self.tile(n_samples)
            return n_samples * plan.n_windows(*self.out_shape[1:], tile.side), tile.windows
        return n_samples * math.prod(self.made.shape[1:]), plan.NUMBERS

    def tiles(self, n_samples: int) -> int:
        """Programs that share a channel's numbers, or a unit tile's windows."""
        return plan.tiles(*self.numbers(n_samples))


@dataclass
class Lowering:
    """What `lower` made.

    Attributes:
        passes: in order; the last one makes the logits.
        leading: steps that are applied to the inputs, once.
        in_shape: of what comes out of them.
        passes: in order; the last one makes the logits.
        sizes: numbers of a sample in each buffer.
        bounds, norms: channels of each tensor's bounds and of each batch norm, by number.
    """

    leading: tuple[Step, ...]
    in_shape: Image
    passes: list[Pass] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    bounds: list[int] = field(default_factory=list)
    norms: list[int] = field(default_factory=list)


def as_image(shape: Shape) -> Image:
    """A shape as channels, rows, columns; flat data as so many channels of one number."""
    channels, rows, columns = shape if len(shape) == 3 else (math.prod(shape), 1, 1)
    return channels, rows, columns


def lower(steps: Sequence[Step]) -> Lowering:
    """The passes of an architecture that `unsupported` has nothing against."""
    first = next(i for i, step in enumerate(steps) if step.parts or isinstance(step.layer, Fork))
    made = Lowering(tuple(steps[:first]), as_image(steps[first].in_shape))
    builder = _Builder(list(steps), made, Tensor(SHARED, made.in_shape, 0))
    made.bounds.append(made.in_shape[0])
    place = first
    if not isinstance(steps[first].layer, (Conv2d, Dense)):
        builder.expand()
    while place < len(steps):
        place += builder.add(place)
    return made


@dataclass
class _Builder:
    steps: list[Step]
    made: Lowering
    now: Tensor
    forks: list[Tensor] = field(default_factory=list)
    free: list[int] = field(default_factory=list)

    def expand(self) -> None:
        """Copies of the inputs for every draw: some layers are not made for shared ones."""
        self._push(Pass(self.now, self._tensor(self.now.shape)))

    def add(self, place: int) -> int:
        """Lower the step at `place` and those it can swallow; returns how many."""
        match self.steps[place].layer:
            case Flatten():
                return 1
            case Fork():
                self.forks.append(self.now)
                return 1
            case Conv2d() | Dense():
                return self._linear(place)
            case _:
                return self._element(place)

    def _follows(self, place: int, kind: type) -> bool:
        return place < len(self.steps) and isinstance(self.steps[place].layer, kind)

    def _linear(self, place: int) -> int:
        """A convolution with batch norm, ReLU and pool, as far as they follow; a dense layer."""
        step = self.steps[place]
        last = place + 1
        norm = self.steps[last] if self._follows(last, BatchNorm2d) else None
        last += norm is not None
        rectified = self._follows(last, ReLU)
        last += rectified
        pool = self.steps[last].layer if last < len(self.steps) else None
        pooled = isinstance(step.layer, Conv2d) and isinstance(pool, MaxPool2d) and pool.size == 2
        last += pooled
        image = as_image(self.steps[last - 1].out_shape)
        made = self._tensor(image)
        if norm is not None:
            made = self._normed(made)
        made = replace(made, rectified=rectified)
        self._push(Pass(self.now, made, step, norm, pooled=pooled))
        return last - place

    def _normed(self, made: Tensor) -> Tensor:
        self.made.norms.append(made.shape[0])
        return replace(made, slot=len(self.made.norms) - 1)

    def _element(self, place: int) -> int:
        """One pass: ReLU, what joins, ReLU, a max-pool, a factor, in this order; then sums."""
        source, last, shape = self.now, place, self.now.shape
        if self._follows(last, ReLU):
            source, last = replace(source, rectified=True), last + 1
        fork, after = None, False
        if self._follows(last, Join):
            fork, last = self.forks.pop(), last + 1
            if self._follows(last, ReLU):
                after, last = True, last + 1
        size, factor = 1, None
        if self._follows(last, MaxPool2d):
            step, last = self.steps[last], last + 1
            if len(step.in_shape) == 3:
                layer = step.layer
                assert isinstance(layer, MaxPool2d)
                size, shape = layer.size, as_image(step.out_shape)
        while self._follows(last, Flatten):
            last += 1
        if self._follows(last, Scale):
            layer, last = self.steps[last].layer, last + 1
            assert isinstance(layer, Scale)
            factor = float(layer.factor)
        norm = self.steps[last] if self._follows(last, BatchNorm2d) else None
        last += norm is not None
        made = self._tensor(shape)
        if norm is not None:
            made = self._normed(made)
        self._push(
            Pass(source, made, norm=norm, fork=fork, after=after, size=size, factor=factor), fork
        )
        return last - place

    def _tensor(self, shape: Image) -> Tensor:
        if not self.free:
            self.free.append(len(self.made.sizes))
            self.made.sizes.append(0)
        made = Tensor(self.free.pop(), shape, len(self.made.bounds))
        self.made.bounds.append(shape[0])
        self.made.sizes[made.buffer] = max(self.made.sizes[made.buffer], made.size)
        return made

    def _push(self, one: Pass, fork: Tensor | None = None) -> None:
        self.made.passes.append(one)
        self.now = one.made
        held = {tensor.buffer for tensor in self.forks} | {self.now.buffer, SHARED}
        for buffer in {one.source.buffer} | ({fork.buffer} if fork else set()):
            if buffer not in held:
                self.free.append(buffer)


def unsupported(ensemble: Ensemble) -> str | None:
    """Why the kernels cannot take an ensemble, or None if they can."""
    # Exactly these: a subclass may draw otherwise.
    if type(ensemble.prior) not in (UniformPrior, NormalPrior):
        return f"the prior {ensemble.prior} is known by its NumPy code alone"
    for step in ensemble.steps:
        if type(step.layer) not in KNOWN:
            return f"there is no kernel for {type(step.layer).__name__}"
    if not isinstance(ensemble.steps[-1].layer, Dense):
        return f"the last layer is a {type(ensemble.steps[-1].layer).__name__}, not a Dense"
    made = lower(ensemble.steps)
    for one in made.passes:
        if one.fork is not None and one.fork.shape != one.source.shape:
            return "what joins is grouped into other channels than what it is added to"
        if one.step is not None and one.step.units * one.step.columns > plan.MAX_OFFSET:
            return f"a layer has more than {plan.MAX_OFFSET:,} weights"
    n = len(ensemble.x_train) if isinstance(ensemble, BatchNormEnsemble) else MAX_SAMPLES
    if n * max(math.prod(made.in_shape), *made.sizes) > plan.MAX_OFFSET:
        return f"a layer has more than {plan.MAX_OFFSET // max(n, 1):,} inputs or outputs"
    return None
