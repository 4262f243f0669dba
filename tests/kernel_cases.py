"""What the kernel tests share: the device, and Triton ensembles beside the law."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")
pytest.importorskip("torch", reason="torch is not installed")

import torch

from biasgpu import priors
from biasgpu.architectures import Architecture
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.triton_engine import TritonDeferredEngine

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class DeferredCase:
    """An ensemble of method "deferred", a training set and some draws."""

    architecture: Architecture
    shape: tuple[int, ...] = (5,)
    n_classes: int = 2
    n_train: int = 5
    first_draw: int = 0
    n_draws: int = 10
    seed: int = 1
    prior: str = "kaiming-normal"
    kind: str = "normal"
    labels: tuple[int, ...] = field(default=())

    @property
    def x_train(self) -> npt.NDArray[np.float32]:
        rng = np.random.default_rng(3)
        x = rng.normal(size=(self.n_train, *self.shape))
        if self.kind == "one twice":
            x[2] = x[0]
        elif self.kind == "zero":
            x[0] = 0.0
        elif self.kind == "large":
            x *= 1e25
        return x.astype(np.float32)

    @property
    def y_train(self) -> npt.NDArray[np.int64]:
        if self.labels:
            return np.array(self.labels, dtype=np.int64)
        return np.arange(self.n_train, dtype=np.int64) % self.n_classes

    @property
    def ensemble(self) -> DeferredEnsemble:
        x_test = np.random.default_rng(4).normal(size=(3, *self.shape)).astype(np.float32)
        prior = priors.make(self.prior)
        return DeferredEnsemble(
            self.architecture, prior, self.shape, self.n_classes, self.seed, self.x_train, x_test
        )

    def engine(self, memory_bytes: int | None = None) -> TritonDeferredEngine:
        return TritonDeferredEngine(
            self.ensemble, self.x_train, self.y_train, memory_bytes=memory_bytes
        )

    def law(self) -> npt.NDArray[np.uint16]:
        reference = ReferenceEngine(self.ensemble, self.x_train, self.y_train)
        return reference.screen(self.first_draw, self.n_draws)
