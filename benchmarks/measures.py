"""Seconds for the Lipschitz constants of 2,000 LeNets, against batched autograd in PyTorch.

Both take the largest norm of the gradient of (logit 1 - logit 0) by the input over the embedded
test set (600 images). PyTorch runs the networks side by side in grouped convolutions, each with
inputs of its own to take gradients by, float32; how many at once, and on how many images, is tuned
first. It is timed on a part of the work; its seconds are for the whole.

    python -m benchmarks lipschitz-lenet-2/6
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from biasgpu import measures, priors, tasks
from biasgpu.architectures import lenet
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Flatten, MaxPool2d, ReLU
from biasgpu.networks import GivenNetworks
from biasgpu.packing import Packing

WIDTHS = {"lipschitz-lenet-2/6": "2/6", "lipschitz-lenet-4/6": "4/6"}
N_NETWORKS = 2000
SHAPES = ((10, 20), (20, 20), (50, 20), (100, 20), (50, 60), (100, 60), (200, 20))
WRONG = 1e-3  # share of norms that may be of a neighbouring linear piece, in either float32


@dataclass(frozen=True)
class Row:
    """One work measured.

    Attributes:
        work: its name in `WIDTHS`.
        elapsed_s, low, high: for all networks and images: median, fastest and slowest repeat.
        baseline_s: PyTorch's, at its best batch, from a part of the work.
        batch: its networks at once.
        batch_samples: its images at once.
        ratio: of the seconds.
    """

    work: str
    elapsed_s: float
    low: float
    high: float
    baseline_s: float
    batch: int
    batch_samples: int
    ratio: float


class Autograd:
    """Networks side by side, one group each.

    Args:
        networks: which.
    """

    def __init__(self, networks: GivenNetworks) -> None:
        self.steps, self.n = networks.steps, len(networks)
        self.layers: list[tuple[Tensor, Tensor] | None] = []
        pairs = Packing(self.steps).unpack(networks.flat)
        for step, pair in zip(self.steps, pairs, strict=True):
            if pair is None:
                self.layers.append(None)
                continue
            shape = pair[0].shape[2:] if isinstance(step.layer, Conv2d) else (step.fan_in, 1, 1)
            weight = torch.tensor(pair[0]).reshape(-1, *shape)
            self.layers.append((weight, torch.tensor(pair[1]).reshape(-1)))

    def norms(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The norms for images `(samples, channels, height, width)`: `(samples, n)`."""
        inputs = torch.tensor(x).repeat(1, self.n, 1, 1).requires_grad_()
        h: Tensor = inputs
        for step, pair in zip(self.steps, self.layers, strict=True):
            match step.layer:
                case ReLU():
                    h = relu(h)
                case MaxPool2d(size=size):
                    h = max_pool2d(h, size)
                case Flatten():
                    h = h.reshape(len(h), -1, 1, 1)
                case _:
                    assert pair is not None
                    h = conv2d(h, *pair, groups=self.n)
        logits = h.reshape(len(x), self.n, 2)
        (gradient,) = torch.autograd.grad((logits[..., 1] - logits[..., 0]).sum(), inputs)
        return gradient.reshape(len(x), self.n, -1).norm(dim=2).numpy()


def networks_of(work: str, n: int = N_NETWORKS) -> GivenNetworks:
    """LeNets from Kaiming uniform, on MNIST 7 vs 0."""
    task = tasks.task("mnist", (7, 0), n_train=16, data_seed=200)
    prior = priors.make("kaiming-uniform")
    ensemble = Ensemble(lenet(width=WIDTHS[work]), prior, task.shape, 2, 0)
    packing = Packing(ensemble.steps)
    flat = np.stack([packing.pack(ensemble.parameters(draw)) for draw in range(n)])
    return GivenNetworks(task, ensemble.steps, flat.astype(np.float32))


def disagreement(work: str, n: int = 20) -> float:
    """The share of norms in which the two differ by more than 1e-4 of them."""
    networks = networks_of(work, n)
    x = networks.task.x_test[:50]
    theirs = Autograd(networks).norms(x).T
    ours = measures.input_gradient_norms(networks, x)
    return float((np.abs(ours - theirs) > 1e-4 * theirs).mean())


def measure(work: str, threads: int, *, repeats: int = 5, seconds: float = 2.0) -> Row:
    """Time both. What has to be compiled once should be by now.

    Args:
        work: which.
        threads: CPU threads.
        repeats: of the whole work by `biasgpu.measures.lipschitz`.
        seconds: how long PyTorch is timed at each batch size.
    """
    networks = networks_of(work)
    times: list[float] = []
    for _ in range(repeats):
        begin = time.perf_counter()
        measures.lipschitz(networks, threads=threads)
        times.append(time.perf_counter() - begin)
    baseline_s, (batch, samples) = _baseline(networks, threads, seconds)
    middle = statistics.median(times)
    return Row(
        work, middle, min(times), max(times), baseline_s, batch, samples, baseline_s / middle
    )


def _baseline(
    networks: GivenNetworks, threads: int, seconds: float
) -> tuple[float, tuple[int, int]]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x = networks.task.x_test
    total = len(networks) * len(x)
    found: dict[tuple[int, int], float] = {}
    try:
        for batch, samples in SHAPES:
            part = GivenNetworks(networks.task, networks.steps, networks.flat[:batch])
            runner, times = Autograd(part), []
            runner.norms(x[:samples])
            start = time.perf_counter()
            while time.perf_counter() - start < seconds or len(times) < 3:
                begin = time.perf_counter()
                runner.norms(x[:samples])
                times.append(time.perf_counter() - begin)
            found[batch, samples] = statistics.median(times) * total / (batch * samples)
    finally:
        torch.set_num_threads(before)
    best = min(found, key=lambda shape: found[shape])
    return found[best], best
