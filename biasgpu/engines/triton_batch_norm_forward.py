"""The kernels of a forward pass of networks with batch norms, one after the other, not waiting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from biasgpu import reference
from biasgpu.engines.triton_batch_norm_program import SHARED, Pass, Tensor, lower
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import batch_norm_launch as launch
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels.batch_norm_numbers import Numbers
from biasgpu.kernels.direct_launch import Activations, Names, Weights
from biasgpu.kernels.direct_plan import Stage
from biasgpu.layers import Conv2d
from biasgpu.layout import Step
from biasgpu.margins import UNIT_ROUNDOFF, gamma
from biasgpu.priors import NORM_BIAS, NORM_WEIGHT, NormalPrior, UniformPrior

ROUNDOFF = UNIT_ROUNDOFF["float64"]
SLACK = 1 + 2.0**-20


class Program:
    """An ensemble for the kernels.

    Args:
        ensemble: which networks; `triton_batch_norm_program.unsupported` has nothing against it.
        x_train: float32 `(n_train, *shape)`.
    """

    def __init__(self, ensemble: Ensemble, x_train: npt.NDArray[np.float32]) -> None:
        self.ensemble = ensemble
        made = lower(ensemble.steps)
        x = x_train.astype(np.float64)
        for step in made.leading:
            x = reference.apply(step.layer, x)
        self._x = x.reshape(len(x), *made.in_shape)
        self.passes, self.sizes, self.bounds, self.norms = (
            made.passes, made.sizes, made.bounds, made.norms,
        )  # fmt: skip
        prior = ensemble.prior
        self.random_norms = isinstance(prior, UniformPrior) and prior.random_norms

    def shared(self, stage: Stage) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The inputs of a stage's samples, and each channel's reach, their norm."""
        x = self._x[stage.first : stage.end]
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt((x * x).sum(axis=(0, 2, 3))) * SLACK
        return x, norms

    def weights(self, step: Step) -> Weights:
        """How the parameters of a layer are drawn."""
        prior = self.ensemble.prior
        place = (step.units, step.first_block, step.blocks_per_unit)
        return Weights(prior.bits, isinstance(prior, NormalPrior), *place)

    def scale(self, one: Pass) -> npt.NDArray[np.float64]:
        """What a pass's drawn weights are multiplied with, or its numbers: float64 `(1,)`."""
        if one.step is None:
            return np.array([one.factor or 1.0])
        prior, fan_in = self.ensemble.prior, one.step.fan_in
        if isinstance(prior, UniformPrior):
            return np.array([float(prior.step(fan_in))])
        assert isinstance(prior, NormalPrior)
        return np.array([float(prior.scale(fan_in))])

    def constants(self, one: Pass, n_samples: int) -> npt.NDArray[np.float64]:
        """What bounds are computed with: see `batch_norm_settle._settle_kernel`."""
        found = np.zeros(launch.N_CONSTANTS)
        if one.step is not None:
            found[0] = 2 * gamma(one.step.fan_in + 2, ROUNDOFF) * SLACK
            found[1] = math.sqrt(n_samples * math.prod(one.out_shape[1:])) * SLACK
        if one.norm is not None:
            _, rows, columns = one.norm.in_shape
            count = n_samples * rows * columns
            law = columns + n_samples * rows
            own = plan.depth(*one.numbers(n_samples))
            found[2:5] = count, math.sqrt(count), gamma(max(law, own) + 8, ROUNDOFF)
            unit = np.float32(2.0 ** -min(self.ensemble.prior.bits, 24))
            found[5:7] = [float(np.float32(half) * unit) for half in (NORM_WEIGHT, NORM_BIAS)]
        found[7] = one.kernel or 1
        return found

    def sums(self, n_samples: int) -> int:
        """The most numbers of a draw that sums are in."""
        return max(
            (2 * one.tiles(n_samples) * one.made.shape[0] for one in self.passes if one.norm),
            default=0,
        )

    @property
    def n_parameters(self) -> int:
        """The most weights, biases included, that a layer has."""
        return max(one.step.units * one.step.columns for one in self.passes if one.step)

    def bytes_per_draw(self, samples: int, wide: bool = True) -> int:
        """Working space of a draw in a stage of so many samples (`wide`: there is but float64)."""
        settled = sum(self.bounds) + len(self.bounds) + 2 * sum(self.norms)
        logits = 2 * samples * self.ensemble.n_outputs
        numbers = samples * sum(self.sizes) + 2 * self.n_parameters + self.sums(samples)
        matrices = (
            4 * self.units + self.products + plan.product_tiles(min(self.units, plan.MAX_ROWS))
        )
        return 8 * (numbers + settled + logits + matrices)

    @property
    def units(self) -> int:
        """The most units, or channels, of a pass."""
        return max(one.made.shape[0] for one in self.passes)

    @property
    def products(self) -> int:
        """The most elements of a matrix whose norm is computed."""
        units = [one.made.shape[0] for one in self.passes if one.step]
        return max((n * n for n in units if n <= plan.MAX_ROWS), default=0)

    def cost(self, n_samples: int) -> plan.Cost:
        """The model of what a draw takes in a stage of so many samples."""
        total = plan.Cost(0, 0, 0)
        for one in self.passes:
            n_made, n_read = n_samples * one.made.size, n_samples * one.source.size
            shared = one.source.buffer == SHARED
            if one.step is not None:
                step = one.step
                total += plan.weights_cost(step.units, step.blocks_per_unit, step.columns)
            if one.norm is not None:
                total += plan.weights_cost(one.norm.units, one.norm.blocks_per_unit, 0)
            if one.kernel:
                tile, normed = one.tile(n_samples), one.source.slot is not None
                total += plan.convolution_cost(
                    tile, one.source.shape[0], one.made.shape[0], 0 if shared else n_read,
                    one.numbers(n_samples)[0], n_made, kernel=one.kernel, normed=normed,
                )  # fmt: skip
            elif one.step is not None:
                total += plan.Cost(0, n_samples * one.step.units * one.step.fan_in, 8 * n_read)
            else:
                forked = n_read if one.fork is not None else 0
                total += plan.element_cost(n_read + forked, n_made)
        return total


@dataclass(frozen=True)
class Space:
    """Memory for up to `capacity` draws: activations, weights, what they are settled by, logits."""

    capacity: int
    buffers: tuple[torch.Tensor, ...]
    reaches: tuple[torch.Tensor, ...]
    totals: tuple[torch.Tensor, ...]
    affines: tuple[torch.Tensor, ...]
    weights: torch.Tensor
    turned: torch.Tensor
    sums: torch.Tensor
    units: torch.Tensor
    products: torch.Tensor
    powers: torch.Tensor
    logits: Activations

    @classmethod
    def make(
        cls, program: Program, samples: int, padded: int, capacity: int, device: torch.device
    ) -> Space:
        """Allocate it: `Program.bytes_per_draw` for each draw.

        Args:
            program: whose passes are to fit.
            samples: of a stage; `padded` to a power of two.
            capacity: draws, a multiple of a block of the kernel that decides.
            device: where.
        """

        def empty(entries: int) -> torch.Tensor:
            return torch.empty(entries * capacity, dtype=torch.float64, device=device)

        logits, errors = (empty(padded * program.ensemble.n_outputs) for _ in range(2))
        return cls(
            capacity,
            tuple(empty(samples * size) for size in program.sizes),
            tuple(empty(channels) for channels in program.bounds),
            tuple(empty(1) for _ in program.bounds),
            tuple(empty(2 * channels) for channels in program.norms),
            empty(program.n_parameters),
            empty(program.n_parameters),
            empty(program.sums(samples)),
            empty(4 * program.units),
            empty(program.products),
            empty(plan.product_tiles(min(program.units, plan.MAX_ROWS))),
            Activations(logits, errors, errors, shared=False),
        )

    def numbers(self, tensor: Tensor, n_samples: int) -> Numbers:
        """A tensor in this memory."""
        affine = None if tensor.slot is None else self.affines[tensor.slot]
        values, bound = self.buffers[tensor.buffer], tensor.bound
        return Numbers(
            tensor.shape, n_samples, values, self.reaches[bound], self.totals[bound], affine,
            tensor.rectified,
        )  # fmt: skip


class Forward:
    """A program on a device. Call it for the logits of some draws.

    Args:
        program: the passes, and the inputs that all draws share.
        device: where.
    """

    def __init__(self, program: Program, device: torch.device) -> None:
        self._program = program
        self._device = device
        self._shared: dict[Stage, Numbers] = {}
        self._kept: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, batch: Names, stage: Stage, wide: bool, space: Space) -> Activations:
        """Start the kernels of a batch on a stage's samples.

        Returns:
            The logits, with their error bounds in place of slack; in `space`, until its next use.
        """
        for number, one in enumerate(self._program.passes):
            shared = one.source.buffer == SHARED
            source = (
                self._first_inputs(stage, one) if shared else space.numbers(one.source, stage.n)
            )
            self._pass(number, batch, stage, source, space)
        return space.logits

    def _pass(self, number: int, batch: Names, stage: Stage, source: Numbers, space: Space) -> None:
        program, n = self._program, stage.n
        one = program.passes[number]
        made = space.numbers(one.made, n)
        scale, constants = self._constants(number, n)
        sums = space.sums if one.norm is not None else None
        step, last = one.step, number + 1 == len(program.passes)
        turned = None
        if step is not None:
            turned = space.turned
            launch.parameters(
                batch, program.weights(step), scale, space.weights, turned, columns=step.columns
            )
        if step is None:
            fork = None if one.fork is None else space.numbers(one.fork, n)
            launch.elements(
                batch, source, made, scale, fork=fork, after=one.after, size=one.size,
                sums=sums,
            )  # fmt: skip
        elif one.kernel:
            assert isinstance(step.layer, Conv2d)
            launch.images(
                batch, space.weights, source, made, sums, kernel=one.kernel,
                padding=step.layer.padding, biased=one.biased, pooled=one.pooled,
            )  # fmt: skip
        if step is not None or one.norm is not None:
            before = source if step is not None else made
            launch.settle(
                batch, before, made, space.units, constants, turned=turned, kernel=one.kernel,
                biased=one.biased, sums=sums, tiles=one.tiles(n),
                norms=program.weights(one.norm) if one.norm is not None else None,
                random=program.random_norms,
            )  # fmt: skip
            if not last:
                launch.totals(
                    batch, before, made, space.units, constants, turned=turned,
                    columns=step.columns if step is not None else 0, products=space.products,
                    powers=space.powers,
                )  # fmt: skip
        if step is not None and not one.kernel:
            launch.features(
                batch, space.weights, source, made, space.units, biased=one.biased,
                padded=stage.padded,
                logits=(space.logits.values, space.logits.slack) if last else None,
            )  # fmt: skip

    def _first_inputs(self, stage: Stage, one: Pass) -> Numbers:
        if stage not in self._shared:
            x, reach = self._program.shared(stage)
            values = (self._to_device(part.reshape(-1)) for part in (x, reach, np.zeros(1)))
            self._shared[stage] = Numbers(
                one.source.shape, stage.n, *values, rectified=one.source.rectified, shared=True
            )
        return self._shared[stage]

    def _constants(self, number: int, n_samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        key = (number, n_samples)
        if key not in self._kept:
            one = self._program.passes[number]
            parts = (self._program.scale(one), self._program.constants(one, n_samples))
            scale, constants = (self._to_device(part) for part in parts)
            self._kept[key] = scale, constants
        return self._kept[key]

    def _to_device(self, values: npt.NDArray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
