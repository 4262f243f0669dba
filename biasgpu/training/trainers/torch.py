"""The portable trainer: any architecture with a rule for each layer, on the CPU or a GPU, by
PyTorch.

Networks train side by side, each layer's weights in one tensor, on the same batches. The sum of
their losses has the gradients of each, since no network's loss depends on another's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines.torch_engine import find_device, out_of_memory, plain_float32
from biasgpu.engines.torch_weights import draw_parameters
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.packing import Packing
from biasgpu.priors import UniformPrior
from biasgpu.training.order import epoch_order
from biasgpu.training.recipe import BETA_1, BETA_2, EPSILON, MOMENTUM, Recipe
from biasgpu.training.trainers import torch_layers
from biasgpu.training.trainers.base import Trainer, Trajectories

CPU_BYTES = 64 * 2**20
CUDA_BYTES = 8 * 2**30
BLOCK = 64  # samples at once, where a step or a norm takes more of them


def unsupported(ensemble: Ensemble, recipe: Recipe) -> str | None:
    """Why the trainer does not take some networks, or None if it does."""
    for step in ensemble.steps:
        if torch_layers.rule(step.layer) is None:
            return f"it has no rule for {step.layer}"
    return None


class TorchTrainer(Trainer):
    """Trains by batched products and grouped convolutions. See `Trainer`.

    Everything is computed in float32 proper (no TF32). Which networks are trained beside it changes
    a network's result by no more than the rounding of sums: PyTorch may add the same terms in
    another order. The same draws on the same machine, threads and versions give the same bits on
    the CPU.

    Args:
        ensemble, x_train, y_train, recipe, gradient_norms: as for `Trainer`.
        device: "cpu", "cuda", "cuda:1"; None takes a GPU if there is one.
        threads: CPU threads; None leaves it to PyTorch.
        dtype: "float32", or "float64" to see what rounding does.
        memory_bytes: about how much the networks that are trained at the same time may take.

    Raises:
        UsageError: a layer without a rule, or an unknown device.
        ResourceError: a GPU is asked for and there is none.
    """

    name: ClassVar[str] = "torch"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        recipe: Recipe,
        *,
        gradient_norms: bool = False,
        device: str | None = None,
        threads: int | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        memory_bytes: int | None = None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train, recipe, gradient_norms=gradient_norms)
        reason = unsupported(ensemble, recipe)
        if reason:
            raise UsageError(
                f"the torch trainer does not take {ensemble.architecture.name}: {reason}.",
                why="it computes a layer by a rule for its kind.",
                fix="add one to biasgpu.training.trainers.torch_layers.RULES, "
                "or use engine='reference' (--engine reference).",
            )
        self._device = find_device(device)
        self.device = str(self._device)
        self._threads = threads
        self._dtype = torch.float64 if dtype == "float64" else torch.float32
        self._packing = Packing(ensemble.steps)
        self._x = torch.from_numpy(x_train).to(self._device, self._dtype)
        self._y = torch.from_numpy(y_train).to(self._device)
        budget = memory_bytes or (CUDA_BYTES if self._device.type == "cuda" else CPU_BYTES)
        self._chunk = max(1, min(budget // self._bytes_each(), 2**20))

    @property
    def granularity(self) -> int:
        """Networks that are trained at the same time."""
        return self._chunk

    def train(self, draws: npt.NDArray[np.uint64]) -> Trajectories:
        """As `Trainer.train`.

        Raises:
            ResourceError: not even one network fits the device's memory.
        """
        recipe, n = self.recipe, len(draws)
        result = Trajectories(
            np.empty((n, len(recipe.kept), self._packing.n_parameters), np.float32),
            np.empty(n, np.int64),
            np.full((n, recipe.epochs + 1), np.nan) if self.gradient_norms else None,
        )
        done = 0
        with torch.no_grad(), plain_float32(self._threads):
            while done < n:
                chunk = draws[done : done + self._chunk]
                if self._within_memory(chunk, done, result):
                    done += len(chunk)
        return result

    def _bytes_each(self) -> int:
        """About what a network takes while it is trained."""
        samples = min(len(self._y) if self.gradient_norms else self.recipe.batch_size, BLOCK)
        weights = 4 * 5 * self._packing.n_parameters  # gradients, the optimiser's, one to spare
        each = weights + samples * torch_layers.bytes_per_sample(self.ensemble.steps)
        return each * (2 if self._dtype == torch.float64 else 1)

    def _within_memory(
        self, draws: npt.NDArray[np.uint64], place: int, result: Trajectories
    ) -> bool:
        """`_train_chunk`, or False (and smaller chunks from now on) where memory ran out."""
        try:
            self._train_chunk(draws, place, result)
            return True
        except (RuntimeError, MemoryError) as error:  # OutOfMemoryError is a RuntimeError
            if not out_of_memory(error):
                raise
        if len(draws) == 1:
            raise ResourceError(
                f"one network does not fit the memory of {self.device}.",
                why=f"it has {self._packing.n_parameters:,} parameters.",
                fix="use a smaller width (--width) or smaller batches: batch_size=2 "
                "(--batch-size 2).",
            )
        self._chunk = max(1, len(draws) // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return False

    def _train_chunk(self, draws: npt.NDArray[np.uint64], place: int, result: Trajectories) -> None:
        """Train some draws and fill their rows of `result`, which begin at `place`."""
        recipe = self.recipe
        rows = np.arange(place, place + len(draws))  # of the networks that are still trained
        state = _State(recipe, self._initial(draws))
        result.epochs[rows] = recipe.epochs
        for epoch in range(recipe.epochs + 1):
            if epoch:
                order = torch.from_numpy(epoch_order(self.ensemble.seed, epoch, len(self._y)))
                for batch in order.to(self._device).split(recipe.batch_size):
                    state.step(self._gradients(state.leaves, batch))
            if result.gradient_norms is not None:
                gradients = self._gradients(state.leaves, torch.arange(len(self._y)))
                result.gradient_norms[rows, epoch] = _norms(gradients)
            stopped = np.zeros(len(rows), dtype=bool)
            if recipe.stop_early and epoch:
                stopped = self._fits(state.leaves)
                result.epochs[rows[stopped]] = epoch
            if epoch in recipe.kept or stopped.any():
                flat = self._flat(state.leaves)
                for k, mark in enumerate(recipe.kept):
                    if mark == epoch:
                        result.weights[rows, k] = flat
                    elif mark > epoch:
                        result.weights[rows[stopped], k] = flat[stopped]
            if stopped.all():
                return
            if stopped.any():
                rows = rows[~stopped]
                state.keep(torch.from_numpy(np.flatnonzero(~stopped)).to(self._device))

    def _initial(self, draws: npt.NDArray[np.uint64]) -> list[Tensor]:
        """Weights and biases of the layers that have them, one after the other."""
        # On a GPU, other priors might give the float32 next to the canonical one.
        exact = type(self.ensemble.prior) is UniformPrior
        where = self._device if exact else torch.device("cpu")
        low, high = halves(draws, where)
        leaves: list[Tensor] = []
        for step in self.ensemble.steps:
            layer = step.linear
            if layer is None:
                continue
            weight, bias = draw_parameters(self.ensemble, step, low, high)
            weight = weight.view(len(draws), *layer.weight_shape(step.in_shape))
            bias = weight.new_zeros(len(draws), layer.units) if bias is None else bias
            leaves += [weight.to(self._device, self._dtype), bias.to(self._device, self._dtype)]
        return leaves

    def _forward(self, leaves: list[Tensor], x: Tensor) -> Tensor:
        pairs = iter(zip(leaves[::2], leaves[1::2], strict=True))
        steps = self.ensemble.steps
        return torch_layers.forward(steps, [next(pairs) if s.linear else None for s in steps], x)

    def _gradients(self, leaves: list[Tensor], samples: Tensor) -> list[Tensor]:
        """The gradient of each network's mean loss over some samples."""
        total: list[Tensor] = []
        for block in samples.split(BLOCK):
            found = self._block_gradients(leaves, block, len(block) / len(samples))
            for sum_, part in zip(total, found, strict=False):
                sum_ += part
            total = total or found
        return total

    def _block_gradients(self, leaves: list[Tensor], samples: Tensor, share: float) -> list[Tensor]:
        for leaf in leaves:
            leaf.requires_grad_()
        with torch.enable_grad():
            logits = self._forward(leaves, self._x[samples])
        upstream = torch_layers.logit_gradient(logits.detach(), self._y[samples])
        found = torch.autograd.grad(logits, leaves, upstream if share == 1 else share * upstream)
        for leaf in leaves:
            leaf.requires_grad_(False)
        return list(found)

    def _fits(self, leaves: list[Tensor]) -> npt.NDArray[np.bool_]:
        """Which networks have no training error, in float64."""
        exact = [leaf.double() for leaf in leaves]
        good = torch.ones(len(leaves[0]), dtype=torch.bool, device=self._device)
        for samples in torch.arange(len(self._y)).split(BLOCK):
            logits = self._forward(exact, self._x[samples].double())
            good &= (torch_layers.predictions(logits) == self._y[samples, None]).all(dim=0)
        return good.cpu().numpy()

    def _flat(self, leaves: list[Tensor]) -> npt.NDArray[np.float32]:
        """`(networks, n_parameters)`, as `Packing` lays them out."""
        return torch.cat([leaf.flatten(1) for leaf in leaves], dim=1).float().cpu().numpy()


@dataclass
class _State:
    """Parameters of networks in training, and what the optimiser keeps of each.

    Args:
        recipe: which optimiser.
        leaves: `(networks, ...)`, weights and biases.
    """

    recipe: Recipe
    leaves: list[Tensor]
    n_steps: int = 0

    def __post_init__(self) -> None:
        kept = {"momentum": 1, "adam": 2}.get(self.recipe.optimizer, 0)
        self.moments = [[torch.zeros_like(leaf) for leaf in self.leaves] for _ in range(kept)]

    def step(self, gradients: list[Tensor]) -> None:
        """Take one step; the formulas are those of `law.Optimizer`."""
        rate = self.recipe.learning_rate
        self.n_steps += 1
        for leaf, gradient, *moments in zip(self.leaves, gradients, *self.moments, strict=True):
            if self.recipe.optimizer == "sgd":
                leaf.sub_(gradient, alpha=rate)
            elif self.recipe.optimizer == "momentum":
                moments[0].mul_(MOMENTUM).add_(gradient)
                leaf.sub_(moments[0], alpha=rate)
            else:
                first, second = moments
                first.mul_(BETA_1).add_(gradient, alpha=1.0 - BETA_1)
                second.mul_(BETA_2).addcmul_(gradient, gradient, value=1.0 - BETA_2)
                spread = (second / (1.0 - BETA_2**self.n_steps)).sqrt_().add_(EPSILON)
                leaf.addcdiv_(first, spread, value=-rate / (1.0 - BETA_1**self.n_steps))

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the networks."""
        self.leaves = [leaf[rows] for leaf in self.leaves]
        self.moments = [[moment[rows] for moment in moments] for moments in self.moments]


def halves(draws: npt.NDArray[np.uint64], device: torch.device) -> tuple[Tensor, Tensor]:
    """The low and the high halves of draw numbers, int64 `(n,)` on a device."""
    low, high = draws & np.uint64(0xFFFFFFFF), draws >> np.uint64(32)
    return (
        torch.from_numpy(low.astype(np.int64)).to(device),
        torch.from_numpy(high.astype(np.int64)).to(device),
    )


def _norms(gradients: list[Tensor]) -> npt.NDArray[np.float64]:
    """The Euclidean norm of each network's gradient: float64 `(networks,)`."""
    norms = [torch.linalg.vector_norm(g.flatten(1).double(), dim=1) for g in gradients]
    return torch.stack(norms).norm(dim=0).cpu().numpy()
