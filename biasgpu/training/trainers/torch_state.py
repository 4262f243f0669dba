"""Networks in training on a torch device: parameters, running statistics, moments of gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu import rng
from biasgpu.engines.torch_weights import draw_parameters
from biasgpu.ensemble import Ensemble
from biasgpu.layers import BatchNorm2d
from biasgpu.layout import Step
from biasgpu.priors import UniformPrior
from biasgpu.training.recipe import BETA_1, BETA_2, EPSILON, MOMENTUM, Recipe
from biasgpu.training.trainers.torch_layers import Parts


@dataclass
class State:
    """Networks in training, and what the optimiser keeps of each.

    Args:
        recipe: which optimiser.
        parts: for each step its parts (`Step.parts`), `(networks, ...)` each, or None.
        statistics: for each step whether its last two parts are running statistics, which the
            optimiser leaves alone.
    """

    recipe: Recipe
    parts: list[Parts | None]
    statistics: tuple[bool, ...]
    n_steps: int = 0

    def __post_init__(self) -> None:
        kept = {"momentum": 1, "adam": 2}.get(self.recipe.optimizer, 0)
        self.moments = [[torch.zeros_like(leaf) for leaf in self.leaves] for _ in range(kept)]

    @property
    def leaves(self) -> list[Tensor]:
        """The parameters proper, layer after layer."""
        return [
            part
            for parts, tracked in zip(self.parts, self.statistics, strict=True)
            for part in (parts or ())[: 2 if tracked else None]
        ]

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
        self.parts = [parts and tuple(part[rows] for part in parts) for parts in self.parts]
        self.moments = [[moment[rows] for moment in moments] for moments in self.moments]

    def double(self) -> list[Parts | None]:
        """The parts in float64."""
        return [parts and tuple(part.double() for part in parts) for parts in self.parts]

    def flat(self) -> npt.NDArray[np.float32]:
        """`(networks, n_parameters)`, as `biasgpu.packing.Packing` lays them out."""
        every = [part.flatten(1) for parts in self.parts for part in parts or ()]
        return torch.cat(every, dim=1).float().cpu().numpy()


def initial(
    ensemble: Ensemble,
    draws: npt.NDArray[np.uint64],
    recipe: Recipe,
    device: torch.device,
    dtype: torch.dtype,
) -> State:
    """The state that some draws begin training in.

    Args:
        ensemble: which networks.
        draws: uint64 `(n,)`.
        recipe: which optimiser.
        device, dtype: of the tensors.
    """
    # On a GPU, other priors might give the float32 next to the canonical one.
    exact = type(ensemble.prior) is UniformPrior
    where = device if exact else torch.device("cpu")
    low, high = halves(draws, where)
    parts: list[Parts | None] = []
    for step in ensemble.steps:
        layer = step.linear
        if layer is not None:
            weight, bias = draw_parameters(ensemble, step, low, high)
            found = [weight.view(len(draws), *layer.weight_shape(step.in_shape))]
            if len(step.parts) > 1:
                found.append(weight.new_zeros(len(draws), layer.units) if bias is None else bias)
        elif step.units:
            found = _batch_norm(ensemble, step, draws)
        else:
            found = []
        parts.append(tuple(part.to(device, dtype).contiguous() for part in found) or None)
    tracked = tuple(isinstance(step.layer, BatchNorm2d) for step in ensemble.steps)
    return State(recipe, parts, tracked)


def halves(draws: npt.NDArray[np.uint64], device: torch.device) -> tuple[Tensor, Tensor]:
    """The low and the high halves of draw numbers, int64 `(n,)` on a device."""
    low, high = draws & np.uint64(0xFFFFFFFF), draws >> np.uint64(32)
    return (
        torch.from_numpy(low.astype(np.int64)).to(device),
        torch.from_numpy(high.astype(np.int64)).to(device),
    )


def _batch_norm(ensemble: Ensemble, step: Step, draws: npt.NDArray[np.uint64]) -> list[Tensor]:
    """Weight and bias, and running statistics: a mean of 0 and a variance of 1."""
    blocks = step.first_block + np.arange(step.units * step.blocks_per_unit)
    words = rng.words_of(ensemble.seed, draws, blocks).reshape(len(draws), step.units, -1)
    weight, bias = (torch.from_numpy(part) for part in ensemble.prior.normalizer(words))
    return [weight, bias, torch.zeros_like(weight), torch.ones_like(weight)]
