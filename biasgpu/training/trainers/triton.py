"""The GPU trainer: groups of networks, each trained from its name to the end by one program."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines.triton_device import (
    budget_bytes,
    find_device,
    on_device,
    out_of_memory,
    release_memory,
)
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.kernels import train_plan
from biasgpu.kernels.train_launch import Inputs, train_groups
from biasgpu.priors import NormalPrior, UniformPrior
from biasgpu.training.order import orders
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers.base import Trainer, Trajectories

MAX_PROGRAMS = 1 << 14  # of a launch, so that it ends in time
# Kept weights, epochs and gradient norms of some networks.
Found = tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.float64]]


def unsupported(ensemble: Ensemble, recipe: Recipe) -> str | None:
    """Why the kernel does not take some networks or a recipe, or None if it does."""
    if type(ensemble.prior) not in (UniformPrior, NormalPrior):
        return f"it makes uniform and normal weights, not those of {ensemble.prior}"
    if recipe.searches:
        return f"it trains along gradients, and {recipe.optimizer} takes none"
    try:
        train_plan.make(ensemble.steps, recipe.batch_size, recipe.optimizer)
    except ValueError as error:
        return str(error)
    return None


class TritonTrainer(Trainer):
    """Trains on a GPU, a whole trajectory in one launch. See `Trainer`.

    Everything is computed in float32; a network's bits do not depend on which others are trained.
    So is, with `stop_early`, whether a network has no training error yet: one with a margin within
    rounding of zero may stop an epoch before or after the law would have it. Whether it counts in
    the end is decided in float64, here as of any trainer.
    Uniform weights start canonical; about one normal weight in 10^6 starts as the float32 next to
    the canonical one.

    Args:
        ensemble, x_train, y_train, recipe, gradient_norms: as for `Trainer`.
        device: "cuda", "cuda:1"; None takes the first GPU.
        memory_bytes: about how much a launch may take; None for a share of what is free.

    Raises:
        UsageError: an ensemble or a recipe the kernel does not take.
        ResourceError: there is no GPU.
    """

    name: ClassVar[str] = "triton"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        recipe: Recipe,
        *,
        gradient_norms: bool = False,
        device: str | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train, recipe, gradient_norms=gradient_norms)
        reason = unsupported(ensemble, recipe)
        if reason:
            raise UsageError(
                f"the triton trainer does not take this: {reason}.",
                why="its kernel holds what the published studies train, and no more.",
                fix="engine='torch' (--engine torch).",
            )
        self._device = find_device(device)
        self.device = str(self._device)
        self._memory = memory_bytes
        self._batch = min(recipe.batch_size, len(y_train))
        self._plan = train_plan.make(
            ensemble.steps, self._batch, recipe.optimizer, gradient_norms=gradient_norms
        )
        self._programs = MAX_PROGRAMS
        rows = np.array([op.row for op in self._plan.operations])
        scales = np.array([self._scale(n) if n else 0.0 for n in self._plan.fan_ins])
        shuffled = orders(ensemble.seed, recipe.epochs, len(y_train))
        in_order = np.arange(len(y_train))[None]  # for looks between epochs
        seed = np.array([ensemble.seed], np.uint64).view(np.int64)
        self._inputs = Inputs(
            self._to_device(seed, np.int64),
            self._to_device(rows, np.int32),
            self._to_device(scales, np.float64),
            self._to_device(x_train, np.float32),
            self._to_device(y_train, np.int32),
            self._to_device(np.concatenate([in_order, shuffled]), np.int32),
            self._to_device(np.array(recipe.kept), np.int32),
        )

    @property
    def granularity(self) -> int:
        """Networks that keep a GPU busy: two programs for each of an H200's processors."""
        return 2 * 132 * train_plan.GROUP

    def train(self, draws: npt.NDArray[np.uint64]) -> Trajectories:
        """As `Trainer.train`.

        Raises:
            ResourceError: not even one group fits the device's memory.
        """
        n = len(draws)
        kept = np.empty((n, len(self.recipe.kept), self._plan.n_parameters), np.float32)
        epochs = np.empty(n, np.int64)
        norms = np.empty((n, self.recipe.epochs + 1 if self.gradient_norms else 0))
        done = 0
        with on_device(self._device):
            while done < n:
                chunk = draws[done : done + self._capacity() * train_plan.GROUP]
                found = self._within_memory(chunk)
                if found is not None:
                    part = slice(done, done + len(chunk))
                    kept[part], epochs[part], norms[part] = found
                    done += len(chunk)
        return Trajectories(kept, epochs, norms if self.gradient_norms else None)

    def _scale(self, fan_in: int) -> float:
        prior = self.ensemble.prior
        if isinstance(prior, UniformPrior):
            return float(prior.step(fan_in))
        assert isinstance(prior, NormalPrior)
        return float(prior.scale(fan_in))

    def _capacity(self) -> int:
        """Programs of a launch."""
        budget = budget_bytes(self._device) if self._memory is None else self._memory
        kept = 4 * train_plan.GROUP * self._plan.n_parameters * len(self.recipe.kept)
        kept += 8 * train_plan.GROUP * (self.recipe.epochs + 1) * self._plan.n_sums
        return max(1, min(self._programs, budget // (self._plan.bytes_per_program + 2 * kept)))

    def _within_memory(self, draws: npt.NDArray[np.uint64]) -> Found | None:
        """`_launch`, or None (and fewer programs from now on) where memory ran out."""
        try:
            return self._launch(draws)
        except (RuntimeError, MemoryError) as error:  # OutOfMemoryError is a RuntimeError
            if not out_of_memory(error):
                raise
        programs = -(-len(draws) // train_plan.GROUP)
        if programs == 1:
            raise ResourceError(
                f"{train_plan.GROUP} networks do not fit the memory of {self.device}.",
                why=f"their training takes {self._plan.bytes_per_program:,} bytes.",
                fix="use a smaller width (--width), or engine='torch' (--engine torch).",
            )
        self._programs = programs // 2
        release_memory(self._device)
        return None

    def _launch(self, draws: npt.NDArray[np.uint64]) -> Found:
        """Train some draws."""
        plan, group = self._plan, train_plan.GROUP
        programs = -(-len(draws) // group)
        filled = np.resize(draws, programs * group)  # repeated to a whole group
        work, kept = (
            torch.empty(programs * size, dtype=torch.float32, device=self._device)
            for size in (
                plan.values_per_program,
                len(self.recipe.kept) * plan.n_parameters * group,
            )
        )
        ended = torch.zeros(programs * group, dtype=torch.int32, device=self._device)
        moments = self.recipe.epochs + 1
        norms = torch.full(  # of one number where nobody asks for them
            (max(1, programs * moments * group * plan.n_sums),), float("nan"),
            dtype=torch.float64, device=self._device,
        )  # fmt: skip
        train_groups(
            self._inputs, self._to_device(filled.view(np.int64), np.int64), work, kept, ended,
            norms,
            plan=plan, batch_size=self._batch, rate=float(self.recipe.learning_rate),
            bits=self.ensemble.prior.bits, normal=isinstance(self.ensemble.prior, NormalPrior),
            stop_early=self.recipe.stop_early,
        )  # fmt: skip
        shape = (programs, len(self.recipe.kept), plan.n_parameters, group)
        ordered = kept.view(shape).permute(0, 3, 1, 2).reshape(programs * group, *shape[1:3])
        size = moments * plan.n_sums
        by_group = norms[: programs * size * group].view(programs, size, group)
        rows = by_group.permute(0, 2, 1).reshape(programs * group, size)
        n = len(draws)
        return ordered[:n].cpu().numpy(), ended[:n].cpu().numpy(), rows[:n].sqrt().cpu().numpy()

    def _to_device(self, values: npt.NDArray, dtype: npt.DTypeLike) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype)).to(self._device)
