"""The published way with batch norms computes what it should, and the engine it is beside, too."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks import batch_norm
from benchmarks.baseline import Baseline, inputs
from biasgpu.architectures import resnet4
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, Fork, Join, MaxPool2d, ReLU, Scale


def test_counts_are_those_of_separate_networks() -> None:
    x, y = inputs(3, (2, 16, 16))
    runner = Baseline(resnet4("1/6"), x, y, batch=40)
    torch.manual_seed(0)
    found = runner.run()
    fits = 0
    for i in range(40):
        h, forks = x, []
        for step, pair in zip(runner.steps, runner.weights, strict=True):
            parts = [None if values is None else values.chunk(40)[i] for values in pair or ()]
            match step.layer:
                case Conv2d(padding=padding):
                    assert parts[0] is not None
                    h = functional.conv2d(h, parts[0], padding=padding)
                case BatchNorm2d():
                    assert parts[0] is not None and parts[1] is not None
                    assert 0.9 <= float(parts[0].min()) <= float(parts[0].max()) <= 1.1
                    assert float(parts[1].abs().max()) <= 0.05
                    mean, variance = h.mean((0, 2, 3)), h.var((0, 2, 3), correction=0)
                    h = functional.batch_norm(h, mean, variance, parts[0], parts[1])
                case Dense():
                    assert parts[0] is not None
                    h = functional.linear(h, parts[0].flatten(1))
                case ReLU():
                    h = torch.relu(h)
                case MaxPool2d(size=size):
                    h = functional.max_pool2d(h, size)
                case Fork():
                    forks.append(h)
                case Join():
                    h = h + forks.pop()
                case Scale(factor=factor):
                    h = h * factor
                case Flatten():
                    h = h.flatten(1)
        fits += int((h.argmax(1) == y).all())
    assert found == fits
    assert 0 < fits < 40


def test_nothing_is_measured_while_the_engine_is_wrong() -> None:
    assert batch_norm.disagreements("resnet4-2/6", n_draws=2) == []
