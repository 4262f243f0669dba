"""The law of searches: pattern search and greedy random search, one network in plain float64.

The loss is the weight-normalised one over the whole training set, as in the published study: of the
logits divided by the product over layers of (Frobenius norm / 3), so that no proposal is kept for
its scale alone. A proposal is kept if its loss is below that of the weights it starts from. After
`tries` proposals in a row that were not kept, the step is halved. A loss that is no number counts
as infinite. Weights are float32 after each step (see `biasgpu.training.search`), losses float64.

Since a decision is a matter of yes or no, two engines agree to the last bit as long as no loss of
theirs lies nearer to the one that it is held against than rounding reaches, and may part for good
where one does.

Source: Chiang et al., ICLR 2023, and the code that its authors published: steps begin at 1 and
are halved; a pattern search goes over both signs of every parameter in random order, from the start
again after each improvement, and halves its step when none is left; a greedy random search keeps
the best of many perturbations at once, and halves its step after 100 such rounds in vain. Here
proposals come one by one, and parameters with replacement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.training import law, search
from biasgpu.training.recipe import Recipe

Weights = npt.NDArray[np.float32]


def search_loss(
    steps: Sequence[Step], flat: Weights, x: npt.NDArray, labels: npt.NDArray[np.int64]
) -> float:
    """The weight-normalised loss that searches lower.

    Args:
        steps: the layers in their places.
        flat: float32 `(n_parameters,)`.
        x: `(samples, *shape)`, the whole training set.
        labels: int64 `(samples,)`.

    Returns:
        in nats; infinite where it is no number.
    """
    wide = flat.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale = math.prod(
            float(np.linalg.norm(pair[0])) / 3.0
            for pair in Packing(tuple(steps)).unpack(wide)
            if pair is not None
        )
        logits = law.forward(steps, wide, x)[-1] / np.float64(scale)
        loss = law.logit_gradient(logits, labels)[0]
    return loss if math.isfinite(loss) else math.inf


@dataclass
class Search:
    """One network on its way.

    Args:
        recipe: of a search.
        seed, draw: the network's name.
        steps: the layers in their places.
        x, labels: the training set.
        flat: float32 `(n_parameters,)`, the initialisation.

    Attributes:
        step: by how far the next proposal goes.
        failed: proposals in a row that were not kept.
        n_proposals: made so far.
        loss: of the weights as they are.
    """

    recipe: Recipe
    seed: int
    draw: int
    steps: tuple[Step, ...]
    x: npt.NDArray
    labels: npt.NDArray[np.int64]
    flat: Weights
    step: np.float32 = field(init=False)
    failed: int = 0
    n_proposals: int = 0
    loss: float = field(init=False)

    def __post_init__(self) -> None:
        self.step = np.float32(self.recipe.learning_rate)
        self.loss = search_loss(self.steps, self.flat, self.x, self.labels)

    def propose(self) -> Weights:
        """The weights that the next proposal leads to: float32 `(n_parameters,)`."""
        draws = np.array([self.draw], np.uint64)
        number, n = self.n_proposals + 1, len(self.flat)
        if self.recipe.optimizer == "pattern-search":
            places, signs = search.parameter_and_sign(self.seed, draws, number, n)
            changed = self.flat.copy()
            changed[places[0]] += self.step * signs[0]
            return changed
        return self.flat + self.step * search.directions(self.seed, draws, number, n)[0]

    def advance(self) -> bool:
        """Make one proposal; returns whether it was kept."""
        changed = self.propose()
        loss = search_loss(self.steps, changed, self.x, self.labels)
        self.n_proposals += 1
        if loss < self.loss:
            self.flat, self.loss, self.failed = changed, loss, 0
            return True
        self.failed += 1
        if self.failed == self.recipe.tries:
            self.step, self.failed = np.float32(0.5) * self.step, 0
        return False
