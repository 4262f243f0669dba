"""The law as a trainer: float64, one network after the other; its weights are rounded at the end.

For tests, and for whoever wants to see what the others should do.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.decision import predictions
from biasgpu.packing import Packing
from biasgpu.training import law
from biasgpu.training.search_law import Search
from biasgpu.training.trainers.base import Trainer, Trajectories


class ReferenceTrainer(Trainer):
    """Trains by the law. See `Trainer` for the arguments."""

    name: ClassVar[str] = "reference"

    def train(self, draws: npt.NDArray[np.uint64]) -> Trajectories:
        """As `Trainer.train`."""
        recipe, packing = self.recipe, Packing(self.ensemble.steps)
        kept = np.empty((len(draws), len(recipe.kept), packing.n_parameters), np.float32)
        epochs = np.empty(len(draws), np.int64)
        norms = np.full((len(draws), recipe.epochs + 1), np.nan)
        for row, draw in enumerate(draws.tolist()):
            epochs[row] = self._train_one(draw, kept[row], norms[row], packing)
        return Trajectories(kept, epochs, norms if self.gradient_norms else None)

    def _train_one(
        self,
        draw: int,
        kept: npt.NDArray[np.float32],
        norms: npt.NDArray[np.float64],
        packing: Packing,
    ) -> int:
        """Fill the rows of one draw; returns how many epochs it was trained."""
        recipe, steps = self.recipe, self.ensemble.steps
        x, y = self.x_train, self.y_train
        flat = packing.pack(self.ensemble.parameters(draw)).astype(np.float64)
        optimizer = law.Optimizer(recipe, packing.n_parameters)
        search = None
        if recipe.searches:
            start = flat.astype(np.float32)
            search = Search(recipe, self.ensemble.seed, draw, steps, x, y, start)
        with np.errstate(over="ignore", invalid="ignore"):
            for epoch in range(recipe.epochs + 1):
                if epoch and search is not None:
                    for _ in range(recipe.n_proposals):
                        search.advance()
                    flat = search.flat.astype(np.float64)
                elif epoch:
                    for batch in law.batches(recipe, self.ensemble.seed, epoch, len(y)):
                        flat = law.learn(steps, flat, x[batch], y[batch], optimizer)
                if self.gradient_norms:
                    norms[epoch] = np.linalg.norm(law.loss_and_gradient(steps, flat, x, y)[1])
                for place, mark in enumerate(recipe.kept):
                    if mark >= epoch:
                        kept[place] = flat  # later ones overwrite it, unless it stops here
                if recipe.stop_early and epoch and self._fits(flat):
                    return epoch
        return recipe.epochs

    def _fits(self, flat: npt.NDArray[np.float64]) -> bool:
        logits = law.forward(self.ensemble.steps, flat, self.x_train)[-1]
        if not np.isfinite(logits).all():
            return False
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        return bool((predictions(logits) == self.y_train).all())
