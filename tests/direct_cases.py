"""What the tests of method "direct" on the GPU share: ensembles and their training sets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")
pytest.importorskip("torch", reason="torch is not installed")

import torch

from biasgpu import priors
from biasgpu.architectures import Architecture, mlp, paper_mlp
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.triton_direct import TritonDirectEngine
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels.direct_launch import Names
from biasgpu.layers import Bias, Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU
from tests.kernel_cases import DEVICE

FIRST = 2**40 + 11  # the draws that single kernels are given
SEED = 2**33 + 5


@dataclass(frozen=True)
class DirectCase:
    """An ensemble of method "direct", a training set and some draws."""

    architecture: Architecture
    shape: tuple[int, ...] = (3,)
    prior: str = "uniform"
    n_classes: int = 2
    n_train: int = 6
    first_draw: int = 0
    n_draws: int = 64
    seed: int = 1
    kind: str = "normal"
    labels: tuple[int, ...] = field(default=())

    @property
    def x_train(self) -> npt.NDArray[np.float32]:
        x = np.random.default_rng(3).normal(size=(self.n_train, *self.shape))
        if self.kind == "zero":
            x[0] = 0.0
        elif self.kind == "one twice":
            x[1] = x[0]
        elif self.kind == "large":
            x *= 1e25
        return x.astype(np.float32)

    @property
    def y_train(self) -> npt.NDArray[np.int64]:
        if self.labels:
            return np.array(self.labels, dtype=np.int64)
        return np.arange(self.n_train, dtype=np.int64) % self.n_classes

    @property
    def ensemble(self) -> Ensemble:
        prior = priors.make(self.prior)
        return Ensemble(self.architecture, prior, self.shape, self.n_classes, self.seed)

    def engine(self, memory_bytes: int | None = None) -> TritonDirectEngine:
        return TritonDirectEngine(
            self.ensemble, self.x_train, self.y_train, memory_bytes=memory_bytes
        )

    def law(self) -> npt.NDArray[np.uint16]:
        reference = ReferenceEngine(self.ensemble, self.x_train, self.y_train)
        return reference.screen(self.first_draw, self.n_draws)


def small_lenet(bias: Bias = "zero", last_pool: bool = False) -> Architecture:
    """Two convolutions with pools and a dense layer, small enough for Triton's interpreter."""
    layers: list[Layer] = [Conv2d(3, bias, kernel=2), ReLU(), MaxPool2d(2)]
    if last_pool:  # a pool that no convolution takes along
        return Architecture("1c", [*layers, MaxPool2d(2), Flatten()])
    second = [Conv2d(2, bias, kernel=2), MaxPool2d(2), ReLU(), Flatten(), Dense(4, bias), ReLU()]
    return Architecture("2c", [*layers, *second])


CASES = {
    "points": DirectCase(
        mlp(8, 1, bias="prior"), (2,), n_train=9, seed=2**63 + 3, first_draw=2**41 + 180
    ),
    "one logit": DirectCase(
        mlp(5, 1, head="one-logit", bias="prior"), prior="uniform8", n_train=5, n_draws=65
    ),
    "three classes": DirectCase(
        mlp(5, 2, bias="prior"), prior="uniform16", n_classes=3, first_draw=2**60, seed=5
    ),
    "normal": DirectCase(mlp(5, 1), prior="kaiming-normal", n_classes=3, seed=2**33, n_draws=63),
    "kaiming": DirectCase(mlp(3, 3), prior="kaiming-uniform", first_draw=2**50),
    "linear": DirectCase(
        mlp(4, 0), (40,), prior="normal:0.3", n_train=15, seed=2**64 - 1, first_draw=100
    ),
    "pooled input": DirectCase(paper_mlp("1/6", 1), (1, 4, 6), prior="uniform:0.2", n_train=4),
    "not rectified": DirectCase(
        Architecture("odd", [Flatten(), Dense(3), Dense(5, "prior"), ReLU()], bias="prior"),
        n_classes=4,
        n_train=8,
    ),
    "convolutions": DirectCase(small_lenet(), (2, 8, 7), n_train=4, seed=2**40),
    "biased convolutions": DirectCase(
        small_lenet("prior"), (1, 7, 7), prior="kaiming-normal", n_train=3, first_draw=2**45
    ),
    "pools of pools": DirectCase(small_lenet(last_pool=True), (1, 9, 7), n_train=2),
    "fixed outputs": DirectCase(mlp(4, 1), labels=(1, 0, 0, 1, 1), n_train=5, n_draws=7),
    "zero input": DirectCase(mlp(3, 2), n_train=4, kind="zero"),
    "zero input, bias": DirectCase(mlp(3, 1, bias="prior"), n_train=4, kind="zero"),
    "one twice": DirectCase(mlp(4, 1), n_train=4, kind="one twice"),
    "large": DirectCase(mlp(3, 1), prior="normal:1e9", n_train=4, kind="large"),
    "one sample": DirectCase(mlp(3, 1), n_train=1, n_draws=5),
}


def shorter(name: str, n_draws: int) -> DirectCase:
    """A case with fewer draws."""
    return replace(CASES[name], n_draws=n_draws)


def tensor(values: npt.NDArray[Any]) -> torch.Tensor:
    """On the device."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(DEVICE)


def names(n: int = 3, states: int = -1) -> Names:
    """Draws from `FIRST` on, in a state."""
    bits = np.array([SEED, FIRST], dtype=np.uint64).view(np.int64)
    places = np.arange(n, dtype=np.int64)
    lanes = torch.arange(plan.BLOCK, dtype=torch.int32, device=DEVICE)
    return Names(tensor(bits), tensor(places), tensor(np.full(n, states, np.int64)), lanes)
