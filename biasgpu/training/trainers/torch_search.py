"""Searches by PyTorch: many networks side by side, each with proposals of its own.

A round evaluates one proposal of every network in one forward pass. The random words are the law's;
on a GPU the normals may be those next to it (see `biasgpu.engines.torch_weights`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines.torch_weights import normal, philox
from biasgpu.rng import STREAM_SEARCH, WORDS_PER_BLOCK
from biasgpu.training.trainers import torch_layers
from biasgpu.training.trainers.base import Trajectories
from biasgpu.training.trainers.torch import BLOCK, TorchTrainer
from biasgpu.training.trainers.torch_state import halves, initial

NORMALS = 2**20  # made at once: their temporaries are a dozen float64 numbers each


class TorchSearchTrainer(TorchTrainer):
    """Trains by pattern search or greedy random search. See `TorchTrainer`.

    Losses are those of float32 logits, averaged in float64.
    """

    def _bytes_each(self) -> int:
        """About what a network takes while it is trained."""
        samples = min(len(self._y), BLOCK)
        weights = 4 * 4 * self._packing.n_parameters  # as they are, changed, noise, one to spare
        each = weights + samples * torch_layers.bytes_per_sample(self.ensemble.steps)
        return each * (2 if self._dtype == torch.float64 else 1)

    def _train_chunk(self, draws: npt.NDArray[np.uint64], place: int, result: Trajectories) -> None:
        recipe = self.recipe
        rows = np.arange(place, place + len(draws))  # of the networks that are still trained
        low, high = halves(draws, self._device)
        first = initial(self.ensemble, draws, recipe, self._device, self._dtype).leaves
        state = _State(self, torch.cat([leaf.flatten(1) for leaf in first], dim=1), low, high)
        result.epochs[rows] = recipe.epochs
        for epoch in range(recipe.epochs + 1):
            if epoch:
                for _ in range(recipe.n_proposals):
                    state.advance()
            stopped = np.zeros(len(rows), dtype=bool)
            if recipe.stop_early and epoch:
                stopped = self._fits(self._parts(state.flat.double()))
                result.epochs[rows[stopped]] = epoch
            if epoch in recipe.kept or stopped.any():
                flat = state.flat.float().cpu().numpy()
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

    def losses(self, flat: Tensor) -> Tensor:
        """The law's loss of each network: float64 `(networks,)`, infinite where it is no number."""
        layers = self._parts(flat)
        weights = [parts[0].flatten(1).double() for parts in layers if parts]
        norms = [torch.linalg.vector_norm(weight, dim=1) for weight in weights]
        scale = torch.stack(norms).div_(3.0).prod(dim=0)
        total = torch.zeros(len(flat), dtype=torch.float64, device=flat.device)
        for samples in torch.arange(len(self._y), device=flat.device).split(BLOCK):
            logits = torch_layers.forward(self.ensemble.steps, layers, self._x[samples])
            logits = logits.double() / scale[:, None]
            if logits.shape[2] == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], dim=2)
            labels = self._y[samples, None, None].expand(-1, len(flat), 1)
            total -= logits.log_softmax(dim=2).gather(2, labels)[..., 0].sum(dim=0)
        total /= len(self._y)
        return torch.where(total.isfinite(), total, torch.inf)

    def _parts(self, flat: Tensor) -> list[torch_layers.Parts | None]:
        """The layers' parameters, views of `(networks, n_parameters)`."""
        layers: list[torch_layers.Parts | None] = []
        for step, places in zip(self.ensemble.steps, self._packing.offsets, strict=True):
            parts = [
                flat[:, start:end].reshape(len(flat), *shape)
                for (_, shape), start, end in zip(step.parts, places, places[1:], strict=False)
            ]
            layers.append(tuple(parts) or None)
        return layers


class _State:
    """Networks in a search: `biasgpu.training.search_law.Search`, many at once.

    Args:
        trainer: evaluates them.
        flat: `(networks, n_parameters)`, the initialisations.
        low, high: int64 `(networks,)`, the halves of the draw numbers.
    """

    def __init__(self, trainer: TorchSearchTrainer, flat: Tensor, low: Tensor, high: Tensor):
        self.trainer, self.flat, self.low, self.high = trainer, flat, low, high
        self.losses = trainer.losses(flat)
        self.step = torch.full_like(self.losses, trainer.recipe.learning_rate).float()
        self.failed = torch.zeros_like(self.low)
        self.n_proposals = 0

    def advance(self) -> None:
        """One proposal of every network."""
        self.n_proposals += 1
        changed = self._proposed()
        losses = self.trainer.losses(changed)
        better = losses < self.losses
        self.flat = torch.where(better[:, None], changed, self.flat)
        self.losses = torch.where(better, losses, self.losses)
        self.failed = torch.where(better, 0, self.failed + 1)
        done = self.failed == self.trainer.recipe.tries
        self.step = torch.where(done, 0.5 * self.step, self.step)
        self.failed = torch.where(done, 0, self.failed)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the networks."""
        for name in ("flat", "low", "high", "losses", "step", "failed"):
            setattr(self, name, getattr(self, name)[rows])

    def _proposed(self) -> Tensor:
        """The weights that the next proposals lead to.

        Steps times normals and sums are rounded one by one to float32, as the law's are.
        """
        seed, stream = self.trainer.ensemble.seed, STREAM_SEARCH + self.n_proposals
        n, n_parameters = self.flat.shape
        if self.trainer.recipe.optimizer == "pattern-search":
            block = torch.zeros(1, dtype=torch.int64, device=self.flat.device)
            words = philox(seed, self.low, self.high, block, stream)[:, 0]
            places = ((words[:, 0] * n_parameters) >> 32)[:, None]
            signed = torch.where(words[:, 1] >= 2**31, -self.step, self.step)[:, None]
            moved = self.flat.gather(1, places).float() + signed
            return self.flat.scatter(1, places, moved.to(self.flat.dtype))
        blocks = torch.arange(-(-n_parameters // WORDS_PER_BLOCK), device=self.flat.device)
        changed = torch.empty_like(self.flat)
        at_once = max(1, NORMALS // n_parameters)
        for i in range(0, n, at_once):
            part = slice(i, i + at_once)
            words = philox(seed, self.low[part], self.high[part], blocks, stream)
            noise = normal(words.flatten(1)[:, :n_parameters]).float()
            noise = noise * self.step[part, None]
            changed[part] = (self.flat[part].float() + noise).to(self.flat.dtype)
        return changed
