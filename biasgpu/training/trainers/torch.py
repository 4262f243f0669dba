"""The portable trainer: any architecture with a rule for each layer, on the CPU or a GPU, by
PyTorch.

Networks train side by side, each layer's weights in one tensor, on the same batches. The sum of
their losses has the gradients of each, since no network's loss depends on another's weights.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines.torch_engine import find_device, out_of_memory, plain_float32
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.layout import coupled
from biasgpu.packing import Packing
from biasgpu.training.order import epoch_order
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers import torch_layers
from biasgpu.training.trainers.base import Trainer, Trajectories
from biasgpu.training.trainers.torch_state import State, initial

CPU_BYTES = 64 * 2**20
CUDA_BYTES = 8 * 2**30
BLOCK = 64  # samples at once, where a step or a norm takes more of them, and can be taken apart


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
    same_bits: ClassVar[bool] = False

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
        # Batch norms see a batch as a whole.
        self._block = len(y_train) if coupled(ensemble.steps) else BLOCK
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
        samples = min(len(self._y) if self.gradient_norms else self.recipe.batch_size, self._block)
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
        state = initial(self.ensemble, draws, recipe, self._device, self._dtype)
        result.epochs[rows] = recipe.epochs
        for epoch in range(recipe.epochs + 1):
            if epoch:
                order = torch.from_numpy(epoch_order(self.ensemble.seed, epoch, len(self._y)))
                for batch in order.to(self._device).split(recipe.batch_size):
                    state.step(self._gradients(state, batch, track=True))
            if result.gradient_norms is not None:
                gradients = self._gradients(state, torch.arange(len(self._y)))
                result.gradient_norms[rows, epoch] = _norms(gradients)
            stopped = np.zeros(len(rows), dtype=bool)
            if recipe.stop_early and epoch:
                stopped = self._fits(state.double())
                result.epochs[rows[stopped]] = epoch
            if epoch in recipe.kept or stopped.any():
                flat = state.flat()
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

    def _gradients(self, state: State, samples: Tensor, *, track: bool = False) -> list[Tensor]:
        """The gradient of each network's mean loss over some samples, which with `track` running
        statistics have seen then."""
        total: list[Tensor] = []
        for block in samples.split(self._block):
            found = self._block_gradients(state, block, len(block) / len(samples), track)
            for sum_, part in zip(total, found, strict=False):
                sum_ += part
            total = total or found
        return total

    def _block_gradients(
        self, state: State, samples: Tensor, share: float, track: bool
    ) -> list[Tensor]:
        leaves, steps = state.leaves, self.ensemble.steps
        for leaf in leaves:
            leaf.requires_grad_()
        with torch.enable_grad():
            x = self._x[samples]
            logits = torch_layers.forward(steps, state.parts, x, training=True, track=track)
        upstream = torch_layers.logit_gradient(logits.detach(), self._y[samples])
        found = torch.autograd.grad(logits, leaves, upstream if share == 1 else share * upstream)
        for leaf in leaves:
            leaf.requires_grad_(False)
        return list(found)

    def _fits(self, exact: list[torch_layers.Parts | None]) -> npt.NDArray[np.bool_]:
        """Which networks have no training error; their parts in float64."""
        good: Tensor = torch.tensor(True, device=self._device)
        for samples in torch.arange(len(self._y)).split(BLOCK):
            logits = torch_layers.forward(self.ensemble.steps, exact, self._x[samples].double())
            right = torch_layers.predictions(logits) == self._y[samples, None]
            good = good & right.all(dim=0)
        return good.cpu().numpy()


def _norms(gradients: list[Tensor]) -> npt.NDArray[np.float64]:
    """The Euclidean norm of each network's gradient: float64 `(networks,)`."""
    norms = [torch.linalg.vector_norm(g.flatten(1).double(), dim=1) for g in gradients]
    return torch.stack(norms).norm(dim=0).cpu().numpy()
