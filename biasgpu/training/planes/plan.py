"""An ensemble laid out for training a network at a time: for each operation a row of integers.

Where tensors lie depends on how many samples are in a batch, so there is a layout, with memory of
its own, for each number of samples that occurs: margins stay zero for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu import batch_norm_program
from biasgpu.ensemble import Ensemble
from biasgpu.layers import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Fork,
    Join,
    Layer,
    MaxPool2d,
    ReLU,
    Scale,
    Shape,
)
from biasgpu.layout import Step
from biasgpu.training.cpu.plan import STATES
from biasgpu.training.planes import columns as c
from biasgpu.training.planes.grid import LANES, Grid, flat_mask, grids, whole
from biasgpu.training.planes.places import Places, place, row_length
from biasgpu.training.recipe import Recipe

BEYOND = 64  # numbers that may be read or set to zero behind a tensor, besides its taps' reach
MAX_BYTES = 4 << 30  # that a thread may hold
KINDS: dict[type[Layer], int] = {
    Conv2d: c.CONV, Dense: c.DENSE, BatchNorm2d: c.NORM, ReLU: c.RELU, Scale: c.SCALE,
    Join: c.JOIN, MaxPool2d: c.POOL, Flatten: c.FLATTEN,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """What a layer takes or gives, for all samples of a batch."""

    shape: Shape
    grid: Grid | None
    start: int
    plane: int  # numbers
    planes: int
    mask: int  # where its mask begins


@dataclass
class Shared:
    """What all layouts put their tables into."""

    masks: list[npt.NDArray[np.uint16]] = field(default_factory=list)
    table: list[npt.NDArray[np.int64]] = field(default_factory=list)
    n_masks: int = 0
    n_table: int = 0
    n_values: int = 0

    def add_mask(self, mask: npt.NDArray[np.uint16]) -> int:
        self.masks.append(mask)
        self.n_masks += len(mask)
        return self.n_masks - len(mask)

    def add_taps(self, taps: npt.NDArray[np.int64]) -> int:
        self.table.append(taps.reshape(-1))
        self.n_table += taps.size
        return self.n_table - taps.size

    def tensor(self, shape: Shape, grid: Grid | None, n: int) -> Tensor:
        """A place for a tensor, with zeros around it."""
        if grid is None:
            plane, planes, mask = whole(shape[0]), n, flat_mask(shape[0])
            around = BEYOND
        else:
            plane, planes, mask = grid.plane(n), shape[0], grid.mask(n, *shape[1:])
            around = whole(grid.reach) + BEYOND
        start = self.n_values + around
        self.n_values = start + planes * plane + around
        return Tensor(shape, grid, start, plane, planes, self.add_mask(mask))


@dataclass(frozen=True)
class Plan:
    """What the compiled trainer needs to know of an ensemble and a recipe.

    Attributes:
        sizes: int64, samples of the batches that have a layout.
        ops: int64 `(len(sizes), n_ops, N_COLUMNS)`.
        factors: float64 `(n_ops,)`, of scales.
        masks, table: of all operations; the table holds taps, in bytes: where an input lies, and
            where its weight.
        places: of the parameters.
        n_values: numbers of all tensors of all layouts.
        logits: int64 `(len(sizes), 2)`: where logits begin, and how far apart samples are.
        n_outputs: logits of a sample.
        grid: of the inputs, or None if they are flat.
    """

    sizes: npt.NDArray[np.int64]
    ops: npt.NDArray[np.int64]
    factors: npt.NDArray[np.float64]
    masks: npt.NDArray[np.uint16]
    table: npt.NDArray[np.int64]
    places: Places
    n_values: int
    logits: npt.NDArray[np.int64]
    n_outputs: int
    grid: Grid | None

    def inputs(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Samples on their grid: float32 `(samples, planes, numbers)`."""
        if self.grid is None:
            return np.pad(x, ((0, 0), (0, whole(x.shape[1]) - x.shape[1])))[:, None]
        rows, columns = self.grid.rows - x.shape[2], self.grid.stride - x.shape[3]
        padded = np.pad(x, ((0, 0), (0, 0), (0, rows), (0, columns)))
        return np.ascontiguousarray(padded.reshape(*x.shape[:2], -1))


def batch_sizes(recipe: Recipe, n_train: int, norms: bool) -> list[int]:
    """Numbers of samples that go through a network together: batches, a last one, all for norms."""
    size = min(recipe.batch_size, n_train)
    found = [size, n_train % size or size, n_train if norms else size]
    return list(dict.fromkeys(found))


def needed(steps: Sequence[Step]) -> bool:
    """Whether something is in a network that sixteen side by side have no code for."""
    return any(
        isinstance(step.layer, BatchNorm2d | Fork | Scale)
        or (step.linear is not None and step.linear.bias == "none")
        for step in steps
    )


def unsupported(ensemble: Ensemble, recipe: Recipe, n_train: int = 2) -> str | None:
    """Why a network at a time cannot be trained by compiled code, or None if it can.

    Args:
        ensemble: which networks.
        recipe: how.
        n_train: training samples.
    """
    if recipe.searches:
        return f"{recipe.optimizer} has no compiled form for batch norms and residual blocks"
    reason = batch_norm_program.unsupported(ensemble.steps, ensemble.prior)
    if reason:
        return reason
    numbers = place(ensemble.steps).n_numbers * (2 + STATES[recipe.optimizer])
    for n in batch_sizes(recipe, n_train, norms=True):
        numbers += 2 * n * sum(math.prod(step.out_shape) for step in ensemble.steps)
    if 4 * numbers > MAX_BYTES:
        return (
            f"a network, its activations and their gradients take {4 * numbers / 1e9:.1f} GB a "
            f"thread, more than {MAX_BYTES / 1e9:.1f} GB"
        )
    return None


def lay_out(ensemble: Ensemble, recipe: Recipe, n_train: int, *, norms: bool) -> Plan:
    """The plan for an ensemble that `unsupported` has nothing against.

    Args:
        ensemble: which networks.
        recipe: how they are trained.
        n_train: training samples.
        norms: whether all of them have to go through a network together.
    """
    steps, shared, places = ensemble.steps, Shared(), place(ensemble.steps)
    sizes = batch_sizes(recipe, n_train, norms)
    found = [_layout(steps, n, places, shared) for n in sizes]
    factors = [
        float(step.layer.factor) if isinstance(step.layer, Scale) else 1.0
        for step in steps
        if _kind(step) is not None
    ]
    table = np.concatenate(shared.table) if shared.table else np.zeros(0, np.int64)
    return Plan(
        sizes=np.array(sizes, np.int64),
        ops=np.stack([ops for ops, _ in found]),
        factors=np.array(factors),
        masks=np.concatenate(shared.masks),
        table=table,
        places=places,
        n_values=shared.n_values,
        logits=np.array([[last.start, last.plane] for _, last in found], np.int64),
        n_outputs=steps[-1].out_shape[0],
        grid=grids(steps)[0],
    )


def _kind(step: Step) -> int | None:
    """The operation of a layer, or None if it hands on what it takes."""
    if isinstance(step.layer, MaxPool2d | Flatten) and len(step.in_shape) == 1:
        return None
    return next((kind for layer, kind in KINDS.items() if isinstance(step.layer, layer)), None)


def _layout(
    steps: Sequence[Step], n: int, places: Places, shared: Shared
) -> tuple[npt.NDArray[np.int64], Tensor]:
    """The operations for `n` samples, and the logits."""
    on = grids(steps)
    here = shared.tensor(steps[0].in_shape, on[0], n)
    forks: list[Tensor] = []
    rows: list[npt.NDArray[np.int64]] = []
    wanted: set[int] = set()  # tensors, by where they begin, behind something that is trained
    for k, step in enumerate(steps):
        kind = _kind(step)
        if isinstance(step.layer, Fork):
            forks.append(here)
        if kind is None:
            continue
        there = shared.tensor(step.out_shape, on[k + 1], n)
        row = np.zeros(c.N_COLUMNS, np.int64)
        row[c.KIND], row[c.SAMPLES] = kind, n
        _about(row, here, there)
        row[c.DOWN] = here.start in wanted
        if step.parts:
            row[c.WEIGHT], row[c.BIAS] = places.weight[k], places.bias[k]
            row[c.RUNNING], row[c.SLOT] = places.running[k], places.slot[k]
        if kind == c.JOIN:
            row[c.OTHER] = forks.pop().start
            row[c.OTHER_DOWN] = row[c.OTHER] in wanted
        elif isinstance(step.layer, Conv2d):
            _taps(row, step.layer, here, there, shared)
        elif isinstance(step.layer, MaxPool2d):
            row[c.SIZE] = step.layer.size
        if step.linear:  # planes of flat tensors are samples
            row[c.UNITS], row[c.FAN_IN], row[c.ROW] = step.units, step.fan_in, row_length(step)
        if step.parts or row[c.DOWN] or row[c.OTHER_DOWN]:
            wanted.add(there.start)
        rows.append(row)
        here = there
    _mark_additions(rows)
    return np.stack(rows), here


def _about(row: npt.NDArray[np.int64], here: Tensor, there: Tensor) -> None:
    row[c.PLANES], row[c.UNITS], row[c.SRC], row[c.DST] = (
        here.planes, there.planes, here.start, there.start,
    )  # fmt: skip
    row[c.SRC_PLANE], row[c.DST_PLANE] = here.plane, there.plane
    row[c.SRC_VECTORS], row[c.DST_VECTORS] = here.plane // LANES, there.plane // LANES
    row[c.SRC_MASK], row[c.DST_MASK] = here.mask, there.mask
    if here.grid:
        row[c.HEIGHT], row[c.WIDTH] = here.shape[1:]
        row[c.SAMPLE], row[c.STRIDE] = here.grid.sample, here.grid.stride
        row[c.COUNT] = row[c.SAMPLES] * math.prod(here.shape[1:])
    if there.grid:
        row[c.OUT_HEIGHT], row[c.OUT_WIDTH] = there.shape[1:]
        row[c.OUT_SAMPLE], row[c.OUT_STRIDE] = there.grid.sample, there.grid.stride
    else:
        row[c.FEATURES] = there.shape[0]


def _taps(
    row: npt.NDArray[np.int64], layer: Conv2d, here: Tensor, there: Tensor, shared: Shared
) -> None:
    """Offsets of a convolution's taps, forward and back, as (input, weight) in bytes."""
    kernel, grid, channels = layer.kernel, here.grid, here.shape[0]
    assert grid is not None
    square = kernel**2
    channel, i, j = np.indices((channels, kernel, kernel)).reshape(3, -1)
    shift = (i - layer.padding) * grid.stride + j - layer.padding
    number = np.arange(channels * square)
    forward = np.stack([channel * here.plane + shift, number], axis=1)
    # Blocks of taps may end behind the last one: it is simply there more often.
    forward = np.pad(forward, ((0, whole(len(forward)) - len(forward)), (0, 0)), mode="edge")
    unit, i, j = np.indices((layer.units, kernel, kernel)).reshape(3, -1)
    shift = (i - layer.padding) * grid.stride + j - layer.padding
    weight = unit * whole(channels * square) + i * kernel + j
    back = np.stack([unit * there.plane - shift, weight], axis=1)
    row[c.SQUARE], row[c.N_BACK] = square, len(back)
    row[c.TAPS], row[c.BACK_TAPS] = shared.add_taps(4 * forward), shared.add_taps(4 * back)


def _mark_additions(rows: list[npt.NDArray[np.int64]]) -> None:
    """Going back, who comes first to a gradient writes it, and the others add to it."""
    written: set[int] = set()
    for row in reversed(rows):
        for tensor, add, down in ((c.OTHER, c.OTHER_ADD, c.OTHER_DOWN), (c.SRC, c.ADD, c.DOWN)):
            if row[down]:
                row[add] = int(row[tensor]) in written
                written.add(int(row[tensor]))
