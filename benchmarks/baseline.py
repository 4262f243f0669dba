"""The published way to guess and check, as the thing to beat.

All networks of a batch run side by side in grouped convolutions, one group a network, dense layers
being 1 x 1 convolutions; each batch overwrites the weights by `uniform_(-1, 1)`; every network sees
every training sample; those without an error are counted. Written afresh after the description in
Chiang et al. (ICLR 2023) and Peleg and Hein (ICML 2024), whose code does the same.

    python -m benchmarks.baseline --threads 2
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, max_pool2d, relu

from biasgpu import architectures
from biasgpu.architectures.base import Architecture
from biasgpu.layers import BatchNorm2d, Conv2d, Flatten, Fork, Join, MaxPool2d, ReLU, Scale, Shape
from biasgpu.layout import Step, lay_out
from biasgpu.priors import NORM_BIAS, NORM_WEIGHT

BATCHES = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
MAX_BYTES = 2**30  # of the largest activation; a larger batch is not tried


class Runner(Protocol):
    """Draws and tests so many networks at a time."""

    batch: int

    def run(self) -> int:
        """A batch: how many fits it has."""
        ...


class Baseline:
    """Batches of fresh networks, tested on a training set.

    Args:
        architecture: the layers.
        x: float32 `(samples, *shape)`.
        y: int64 `(samples,)`.
        batch: networks at once.
        device: where.
    """

    def __init__(
        self, architecture: Architecture, x: Tensor, y: Tensor, batch: int, device: str = "cpu"
    ) -> None:
        shape = tuple(x.shape[1:])
        self.batch = batch
        self.steps = lay_out(architecture.resolve(shape, 2), shape, 32)
        self.y = y.to(device)
        # Every group has the inputs as its own channels.
        image = x.reshape(len(x), *(shape if len(shape) == 3 else (*shape, 1, 1)))
        self.x = image.to(device).repeat(1, batch, 1, 1)
        self.weights: list[tuple[Tensor, Tensor | None] | None] = []
        for step in self.steps:
            layer = step.linear
            if isinstance(step.layer, BatchNorm2d):
                weight = torch.empty(batch * step.units, device=device)
                self.weights.append((weight, torch.empty_like(weight)))
                continue
            if layer is None:
                self.weights.append(None)
                continue
            if isinstance(layer, Conv2d):
                kernel = (step.in_shape[0], layer.kernel, layer.kernel)
            else:
                kernel = (step.fan_in, 1, 1)
            weight = torch.empty((batch * layer.units, *kernel), device=device)
            bias = torch.empty(batch * layer.units, device=device)
            self.weights.append((weight, bias if layer.bias == "prior" else None))

    @torch.inference_mode()
    def run(self) -> int:
        """Draw a batch and test it: how many of its networks have no training error."""
        for step, pair in zip(self.steps, self.weights, strict=True):
            if pair is None:
                continue
            weight, bias = pair
            if isinstance(step.layer, BatchNorm2d) and bias is not None:
                weight.uniform_(1.0 - NORM_WEIGHT, 1.0 + NORM_WEIGHT)
                bias.uniform_(-NORM_BIAS, NORM_BIAS)
                continue
            weight.uniform_(-1.0, 1.0)
            if bias is not None:
                bias.uniform_(-1.0, 1.0)
        h, forks = self.x, []
        for step, pair in zip(self.steps, self.weights, strict=True):
            if isinstance(step.layer, Fork):
                forks.append(h)
            elif isinstance(step.layer, Join):
                h = h + forks.pop()
            else:
                h = self._apply(step, pair, h)
        logits = h.view(len(h), self.batch, -1)
        predicted = (logits[..., 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(-1)
        return int((predicted == self.y[:, None]).all(dim=0).sum())

    def _apply(self, step: Step, pair: tuple[Tensor, Tensor | None] | None, h: Tensor) -> Tensor:
        match step.layer:
            case ReLU():
                return relu(h)
            case MaxPool2d(size=size):
                return max_pool2d(h, size) if len(step.in_shape) == 3 else h
            case Flatten():
                return h.reshape(len(h), -1, 1, 1)
            case Scale(factor=factor):
                return h * factor
            case BatchNorm2d():
                assert pair is not None
                return batch_norm(h, None, None, *pair, training=True)
            case _:
                assert pair is not None
                padding = step.layer.padding if isinstance(step.layer, Conv2d) else 0
                return conv2d(h, *pair, padding=padding, groups=self.batch)


@dataclass(frozen=True)
class Speed:
    """Networks a second at the best batch size.

    Attributes:
        networks_per_s: median over the repeats.
        low, high: slowest and fastest repeat.
        batch: networks at once.
        sweep: the median of a shorter measurement for every batch size tried.
    """

    networks_per_s: float
    low: float
    high: float
    batch: int
    sweep: dict[int, float]


def measure(
    architecture: Architecture,
    x: Tensor,
    y: Tensor,
    *,
    threads: int = 2,
    batches: Sequence[int] = BATCHES,
    repeats: int = 5,
    seconds: float = 1.0,
) -> Speed:
    """The speed on the CPU, at the best batch size of a sweep.

    Args:
        architecture: the layers.
        x: float32 `(samples, *shape)`.
        y: int64 `(samples,)`.
        threads: CPU threads.
        batches: batch sizes to try; those of more than `MAX_BYTES` an activation are left out.
        repeats: measurements at the best batch size.
        seconds: how long each takes; half of it for each size of the sweep.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sweep: dict[int, float] = {}
        for batch in batches:
            if batch * _largest(architecture, tuple(x.shape[1:])) * len(x) * 4 > MAX_BYTES:
                break
            sweep[batch] = rate(Baseline(architecture, x, y, batch), seconds / 2)
        best = max(sweep, key=lambda batch: sweep[batch])
        runner = Baseline(architecture, x, y, best)
        rates = [rate(runner, seconds) for _ in range(repeats)]
    finally:
        torch.set_num_threads(before)
    return Speed(statistics.median(rates), min(rates), max(rates), best, sweep)


def rate(runner: Runner, seconds: float) -> float:
    """Networks a second: the median over batches, after one to warm up."""
    runner.run()
    times: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 3:
        begin = time.perf_counter()
        runner.run()
        times.append(time.perf_counter() - begin)
    return runner.batch / statistics.median(times)


def _largest(architecture: Architecture, shape: Shape) -> int:
    steps = lay_out(architecture.resolve(shape, 2), shape, 32)
    return max(math.prod(s) for step in steps for s in (step.in_shape, step.out_shape))


WORKS: dict[str, tuple[Architecture, int, Shape]] = {
    "lenet-1/6": (architectures.lenet("1/6"), 16, (1, 28, 28)),
    "lenet-2/6": (architectures.lenet("2/6"), 16, (1, 28, 28)),
    "lenet-4/6": (architectures.lenet("4/6"), 16, (1, 28, 28)),
    "paper-mlp-2/6": (architectures.paper_mlp("2/6"), 16, (1, 28, 28)),
    "mlp-2-8-1": (architectures.mlp(8, 1, head="one-logit", bias="prior"), 60, (2,)),
}


def inputs(n_train: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Normal inputs with alternating labels; the work does not depend on their values."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_train, *shape, generator=generator), torch.arange(n_train) % 2


def main() -> None:
    """Measure every work, or those named."""
    parser = argparse.ArgumentParser(description="Speed of the published way on this CPU.")
    parser.add_argument("works", nargs="*", default=list(WORKS), help=", ".join(WORKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    for name in options.works:
        architecture, n_train, shape = WORKS[name]
        speed = measure(
            architecture,
            *inputs(n_train, shape),
            threads=options.threads,
            repeats=options.repeats,
            seconds=options.seconds,
        )
        sys.stdout.write(
            f"{name}: {speed.networks_per_s:,.0f} networks a second "
            f"({speed.low:,.0f} to {speed.high:,.0f}), {speed.batch} at once\n"
        )


if __name__ == "__main__":
    main()
