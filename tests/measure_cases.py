"""Networks of many shapes, and what torch says of them, to hold measures to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU
from biasgpu.layout import Step, lay_out
from biasgpu.networks import GivenNetworks
from biasgpu.packing import Packing
from biasgpu.task import Task

Architectures = dict[str, tuple[Sequence[Layer], tuple[int, ...]]]
ARCHITECTURES: Architectures = {
    "linear": ([Dense(2)], (7,)),
    "one logit": ([Dense(6), ReLU(), Dense(5), ReLU(), Dense(1)], (9,)),
    "no rectifier": ([Dense(5), Dense(3), ReLU(), ReLU(), Dense(2)], (6,)),
    "four classes": ([Dense(7), ReLU(), Dense(4)], (5,)),
    "rectifier first": ([ReLU(), Flatten(), Dense(6), ReLU(), Dense(2)], (2, 3, 3)),
    "pools first": ([MaxPool2d(2), ReLU(), Flatten(), Dense(9), ReLU(), Dense(2)], (1, 9, 7)),
    "pool, then padding": (
        [MaxPool2d(2), Conv2d(3, kernel=3, padding=1), ReLU(), Flatten(), Dense(2)],
        (2, 9, 8),
    ),
    "lenet": (
        [
            Conv2d(3, kernel=3), ReLU(), MaxPool2d(2), Conv2d(5, kernel=2), ReLU(), MaxPool2d(2),
            Flatten(), Dense(6), ReLU(), Dense(2),
        ],
        (1, 12, 11),
    ),
    "padded": (
        [
            Conv2d(4, kernel=3, padding=1), MaxPool2d(3), ReLU(), Conv2d(3, kernel=2, padding=2),
            ReLU(), Conv2d(2, kernel=3), MaxPool2d(2), Flatten(), Dense(3),
        ],
        (3, 11, 13),
    ),
    "colour images, convolutions": (
        [
            Conv2d(1, kernel=5), ReLU(), MaxPool2d(2), Conv2d(2, kernel=5), ReLU(), MaxPool2d(2),
            Flatten(), Dense(20), ReLU(), Dense(14), ReLU(), Dense(2),
        ],
        (3, 32, 32),
    ),
    "colour images, pooled first": (
        [MaxPool2d(2), Flatten(), Dense(20), ReLU(), Dense(10), ReLU(), Dense(2)],
        (3, 32, 32),
    ),
    "a pool of one": (
        [Conv2d(2, kernel=1), MaxPool2d(1), ReLU(), MaxPool2d(2), Flatten(), Dense(1)],
        (3, 5, 4),
    ),
}  # fmt: skip


def steps_of(name: str) -> tuple[Step, ...]:
    layers, shape = ARCHITECTURES[name]
    return lay_out(layers, shape, 32)


def task_of(name: str, n_test: int = 11, n_train: int = 6, *, whole: bool = False) -> Task:
    """Random inputs; small whole numbers with many zeros and ties, if `whole`."""
    layers, shape = ARCHITECTURES[name]
    n_classes = max(2, layers[-1].units)  # type: ignore[attr-defined]
    rng = np.random.default_rng(n_test)
    x = rng.normal(size=(n_train + n_test, *shape))
    if whole:
        x = rng.integers(-2, 3, size=x.shape) * (rng.random(x.shape) < 0.6)
        x.reshape(len(x), -1)[:, 0] = np.arange(len(x))  # no input twice
    x = x.astype(np.float32)
    y = np.arange(n_train + n_test, dtype=np.int64) % n_classes
    names = tuple(f"c{c}" for c in range(n_classes))
    return Task(name, x[:n_train], y[:n_train], x[n_train:], y[n_train:], names)


def networks_of(name: str, n: int, *, whole: bool = False, **sizes: int) -> GivenNetworks:
    """Random networks; parameters are small whole numbers, if `whole`."""
    steps = steps_of(name)
    rng = np.random.default_rng(n)
    size = (n, Packing(steps).n_parameters)
    flat = rng.integers(-2, 3, size=size) if whole else rng.normal(size=size)
    return GivenNetworks(task_of(name, whole=whole, **sizes), steps, flat.astype(np.float32))


def module_of(steps: Sequence[Step], flat: npt.NDArray[np.float32]) -> Any:
    """A network as a float64 torch module."""
    import torch
    from torch import nn

    kinds: dict[type[Layer], Any] = {
        ReLU: lambda step: nn.ReLU(),
        Flatten: lambda step: nn.Flatten(),
        MaxPool2d: lambda step: nn.MaxPool2d(step.layer.size),
        Dense: lambda step: nn.Linear(step.fan_in, step.layer.units),
        Conv2d: lambda step: nn.Conv2d(
            step.in_shape[0], step.layer.units, step.layer.kernel, padding=step.layer.padding
        ),
    }
    module = nn.Sequential(*(kinds[type(step.layer)](step) for step in steps)).double()
    for layer, pair in zip(module, Packing(tuple(steps)).unpack(flat), strict=True):
        if pair is not None:
            for parameter, values in zip((layer.weight, layer.bias), pair, strict=True):
                parameter.data = torch.tensor(values.astype(np.float64))
    return module


def torch_logits(module: Any, x: Any) -> Any:
    """Logits by class, with their graph."""
    import torch

    z = module(x if isinstance(x, torch.Tensor) else torch.tensor(x.astype(np.float64)))
    return torch.cat([torch.zeros_like(z), z], dim=1) if z.shape[1] == 1 else z


def torch_gradients(module: Any, x: npt.NDArray, low: int, high: int) -> npt.NDArray[np.float64]:
    """The gradients of (logit `high` - logit `low`) by each input."""
    import torch

    inputs = torch.tensor(x.astype(np.float64), requires_grad=True)
    z = torch_logits(module, inputs)
    (z[:, high] - z[:, low]).sum().backward()
    assert inputs.grad is not None
    return inputs.grad.numpy()
