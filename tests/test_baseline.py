"""The published way computes what it should: its counts are those of separate networks."""

from __future__ import annotations

import pytest
import torch

from benchmarks.baseline import WORKS, Baseline, inputs, measure
from biasgpu import architectures
from biasgpu.layers import Conv2d, Flatten, ReLU


@pytest.mark.parametrize("work", WORKS)
def test_counts_are_those_of_separate_networks(work: str) -> None:
    architecture, _, shape = WORKS[work]
    n_train = 2
    x, y = inputs(n_train, shape)
    runner = Baseline(architecture, x, y, batch=60)
    torch.manual_seed(0)
    found = runner.run()
    fits = 0
    for i in range(60):
        h = x
        for step, pair in zip(runner.steps, runner.weights, strict=True):
            if pair is None:
                if isinstance(step.layer, Flatten):
                    h = h.flatten(1)
                elif isinstance(step.layer, ReLU):
                    h = torch.relu(h)
                else:
                    h = torch.nn.functional.max_pool2d(h, 2)
                continue
            weight, bias = (None if values is None else values.chunk(60)[i] for values in pair)
            assert weight is not None
            if isinstance(step.layer, Conv2d):
                h = torch.nn.functional.conv2d(h, weight, bias)
            else:
                h = torch.nn.functional.linear(h, weight.flatten(1), bias)
        predicted = (h[:, 0] > 0).long() if h.shape[1] == 1 else h.argmax(1)
        fits += int((predicted == y).all())
    assert found == fits
    assert 0 < fits < 60


def test_measure_sweeps_the_batch_size() -> None:
    architecture = architectures.mlp(2, 1)
    threads = torch.get_num_threads()
    speed = measure(
        architecture, *inputs(2, (3,)), threads=1, batches=(2, 16), repeats=3, seconds=0.01
    )
    assert set(speed.sweep) == {2, 16}
    assert speed.batch in speed.sweep
    assert 0 < speed.low <= speed.networks_per_s <= speed.high
    assert torch.get_num_threads() == threads
