"""The published architectures against models of them written down in `torch.nn`, in float64.

The models know nothing of biasgpu's lists of layers: they take a draw's parameters in order.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biasgpu import lenet, mlp, paper_mlp, priors, resnet4
from biasgpu.architectures import Architecture
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines.torch_batch_norm import bounded_logits
from biasgpu.ensemble import Ensemble
from biasgpu.layers import BatchNorm2d, Fork, Join, Scale
from biasgpu.margins import gamma, layer_constants
from biasgpu.packing import Packing

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
SHAPES = pytest.mark.parametrize("shape", [MNIST, CIFAR], ids=["mnist", "cifar"])
U = 2.0**-53


class LeNet(nn.Module):
    """Convolutions of 5x5, each pooled; one convolution is pooled twice; dense layers."""

    def __init__(self, shape: tuple[int, ...], channels: list[int], units: list[int]) -> None:
        super().__init__()
        sizes = [shape[0], *channels]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 5) for a, b in pairwise(sizes))
        size = shape[1]
        for _ in channels:
            size = (size - 4) // 2
        size = size // 2 if len(channels) == 1 else size
        sizes = [channels[-1] * size * size, *units, 2]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        if len(self.convolutions) == 1:
            x = F.max_pool2d(x, 2)
        x = x.flatten(1)
        for layer in list(self.dense)[:-1]:
            x = F.relu(layer(x))
        return self.dense[-1](x)


class MLP(nn.Module):
    """Dense layers, behind a pooling of the image or not."""

    def __init__(self, shape: tuple[int, ...], units: list[int], *, pool: bool) -> None:
        super().__init__()
        self.pool = pool
        size = shape[1] // 2 if pool else shape[1]
        sizes = [shape[0] * size * size, *units, 2]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        x = (F.max_pool2d(x, 2) if self.pool else x).flatten(1)
        for layer in list(self.dense)[:-1]:
            x = F.relu(layer(x))
        return self.dense[-1](x)


class Unit(nn.Module):
    """Convolution, batch norm, rectifier."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x)))


class Stage(nn.Module):
    """A unit, a pooling, and perhaps a residual block of two units."""

    def __init__(self, before: int, channels: int, *, block: bool) -> None:
        super().__init__()
        self.unit = Unit(before, channels)
        self.block = nn.ModuleList(Unit(channels, channels) for _ in range(2 if block else 0))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.unit(x), 2)
        if not len(self.block):
            return x
        first, second = self.block
        return x + second(first(x))


class ResNet4(nn.Module):
    """`prep`, then stages; stages 1 and 3 have blocks; the logits times 0.125."""

    def __init__(self, shape: tuple[int, ...], factor: int, depth: int) -> None:
        super().__init__()
        prep, *channels = (int(n * factor / 6) for n in (6, 12, 24, 48))
        self.prep = Unit(shape[0], prep)
        self.stages = nn.ModuleList()
        before = prep
        for stage, width in enumerate(channels, start=1):
            if stage > 4 - depth:
                self.stages.append(Stage(before, width, block=stage != 2))
                before = width
        self.last = 2 if shape == MNIST else 4
        size = shape[1] // 2 ** (depth - 1) // self.last
        self.linear = nn.Linear(before * size * size, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prep(x)
        for stage in self.stages:
            x = stage(x)
        return 0.125 * self.linear(F.max_pool2d(x, self.last).flatten(1))


def filled(model: nn.Module, ensemble: Ensemble, draw: int) -> nn.Module:
    """The model in float64 with a draw's weights and biases, taken in order."""
    model = model.double()
    given = [part for pair in ensemble.parameters(draw) for part in pair or () if part is not None]
    zero = ensemble.architecture.bias != "prior" and not isinstance(model, ResNet4)
    named = [(n, p) for n, p in model.named_parameters() if not (zero and n.endswith("bias"))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for (_, parameter), part in zip(named, given, strict=True):
            parameter.copy_(torch.from_numpy(part))
    return model


def answers(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(x).double()).numpy()


def constant_bound(ensemble: Ensemble, settled: Any, x: np.ndarray) -> float:
    """How far apart two float64 passes with the same statistics may end, in the largest norm."""
    from biasgpu import reference

    h, forks, error = x.astype(np.float64), list[tuple[np.ndarray, float]](), 0.0
    for step, pair in zip(ensemble.steps, settled, strict=True):
        hmax = max(1.0, float(np.abs(h).max())) + error
        if step.linear:
            constants = layer_constants(step.fan_in, dtype="float64")
            sums = np.abs(pair[0]).reshape(step.units, -1).sum(axis=1)
            rho = float((sums if pair[1] is None else sums + np.abs(pair[1])).max())
            error = rho * (constants.gain * error + constants.inject * hmax) + constants.tiny
        elif isinstance(step.layer, BatchNorm2d):
            a, b = (float(np.abs(part).max()) for part in pair)
            # The model subtracts the mean first, which is |b| + |bias| over a at most.
            error = a * error + 2 * gamma(8, U) * (a * hmax + 2 * b + 2.0)
        elif isinstance(step.layer, Fork):
            forks.append((h, error))
        elif isinstance(step.layer, Join):
            other, before = forks.pop()
            error += before + 2 * U * (hmax + float(np.abs(other).max()) + before)
            h = h + other
        elif isinstance(step.layer, Scale):
            error = abs(step.layer.factor) * (error + 2 * U * hmax)
        if not isinstance(step.layer, (Fork, Join)):
            h = reference.apply(step.layer, h, *(pair or ()))
    return error * (1.0 + 2.0**-20)


PLAIN: list[tuple[Architecture, Any]] = [
    *(
        (lenet(f"{w}/6"), lambda shape, w=w: LeNet(shape, [w, 16 * w // 6], [20 * w, 14 * w]))
        for w in (1, 2, 3, 4, 6)
    ),
    (lenet("1/6,1/6,1/24,1/24"), lambda shape: LeNet(shape, [1, 2], [5, 3])),
    (lenet("2/6", "2c-2f"), lambda shape: LeNet(shape, [2, 5], [28])),
    (lenet("2/6", "2c-1f"), lambda shape: LeNet(shape, [2, 5], [])),
    (lenet("2/6", "1c-1f"), lambda shape: LeNet(shape, [2], [])),
    *(
        (
            paper_mlp(f"{w}/6", depth),
            lambda shape, w=w, depth=depth: MLP(
                shape, [20 * w, 10 * w, 5 * w, 2 * w][4 - depth :], pool=True
            ),
        )
        for w, depth in ((1, 4), (2, 4), (4, 4), (6, 4), (2, 3), (2, 2), (2, 1))
    ),
    (mlp(48, 0), lambda shape: MLP(shape, [], pool=False)),
    (mlp(48, 3, bias="prior"), lambda shape: MLP(shape, [48] * 3, pool=False)),
]


@SHAPES
@pytest.mark.parametrize(("architecture", "model"), PLAIN, ids=[str(one) for one, _ in PLAIN])
def test_plain_architectures(architecture: Architecture, model: Any, shape: Any) -> None:
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    ensemble = Ensemble(architecture, priors.make("uniform"), shape, 2, 2**33 + 1)
    # The first of some draws that is not dead, as many of the narrowest are.
    draw = next(n for n in range(2**41 + 6, 2**41 + 40) if ensemble.logits(n, x).any())
    found, logits = answers(filled(model(shape), ensemble, draw), x), ensemble.logits(draw, x)
    bound = constant_bound(ensemble, ensemble.settled(draw), x)
    assert found.shape == (3, 2)
    assert np.abs(found - logits).max() <= bound < 1e-6 * np.abs(logits).max()


@SHAPES
@pytest.mark.parametrize(
    ("factor", "depth"), [(1, 4), (2, 4), (3, 4), (4, 4), (6, 4), (2, 3), (2, 2), (6, 2)]
)
def test_resnet4(factor: int, depth: int, shape: tuple[int, ...]) -> None:
    architecture = resnet4(f"{factor}/6", depth)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    others = rng.normal(size=(2, *shape)).astype(np.float32)
    draw = 2**41 + 7
    prior = priors.make("uniform")  # whose batch norms have weights and biases of their own
    ensemble = BatchNormEnsemble(architecture, prior, shape, 2, 2**33 + 1, x)
    model = filled(ResNet4(shape, factor, depth), ensemble, draw)

    # While training, a batch norm's statistics are those of what it sees: of the training set here.
    model.train()
    logits = ensemble.logits(draw, x)
    drawn: Any = [
        None if pair is None else tuple(
            None if part is None else torch.from_numpy(part)[None] for part in pair
        )
        for pair in ensemble.parameters(draw)
    ]  # fmt: skip
    shaped: Any = [
        (pair[0].flatten(2), pair[1]) if step.linear and pair else pair
        for step, pair in zip(ensemble.steps, drawn, strict=True)
    ]
    last = torch.from_numpy(np.moveaxis(x, 0, -1).copy())[None].double()
    ours = bounded_logits(ensemble.steps, shaped, last)
    bound = float(ours.error.max())
    assert np.abs(answers(model, x) - logits).max() <= bound < 1e-3 * np.abs(logits).max()
    assert np.abs(ours.h[0].T.numpy() - logits).max() <= bound

    # Afterwards, those of the training set whatever it sees.
    statistics = ensemble.statistics(draw)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module, (mean, variance) in zip(norms, statistics.values(), strict=True):
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.copy_(torch.from_numpy(mean))
        module.running_var.copy_(torch.from_numpy(variance))
    found, expected = answers(model.eval(), others), ensemble.logits(draw, others)
    bound = constant_bound(ensemble, ensemble.settled(draw), others)
    assert np.abs(found - expected).max() <= bound < 1e-2 * np.abs(expected).max()
    assert Packing(ensemble.steps).n_parameters == sum(
        tensor.numel() for name, tensor in model.state_dict().items() if "batches" not in name
    )
