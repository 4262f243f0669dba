"""Networks trained a second: the trainers against the published way, in one run.

LeNet 2/6 and ResNet4 2/6 on N = 16 samples, batches of 2, 60 epochs of plain SGD. The published way
trains many networks side by side in grouped convolutions, one group a network, dense layers being
1 x 1 convolutions and all networks' batch norms one, every network on the same batches; PyTorch
differentiates the sum of the losses.
Written afresh after the description in Peleg and Hein (ICML 2024), and tuned for the number of
networks at once. Its time is that of the epochs alone; the trainers' includes drawing the
initialisations and handing out the weights.

    python -m benchmarks training
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, cross_entropy, max_pool2d, relu

from biasgpu import priors, tasks
from biasgpu.architectures import Architecture, lenet, resnet4
from biasgpu.ensemble import Ensemble
from biasgpu.errors import BiasgpuError
from biasgpu.layers import BatchNorm2d, Conv2d, Flatten, Fork, Join, MaxPool2d, ReLU, Scale
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.task import Task
from biasgpu.training.order import epoch_order
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers import Trainer, make

WORKS: dict[str, Architecture] = {
    "train-lenet-2/6": lenet("2/6"),
    "train-resnet4-2/6": resnet4("2/6"),
}
N_TRAIN = 16
TARGETS = {"train-lenet-2/6": 10.0}  # times the published way, of engine cpu
INIT = "kaiming-uniform"
RECIPE = Recipe("sgd", 0.01, 2, 60)
AT_ONCE = (8, 16, 32, 64, 128, 256, 512)
TRAINERS = ("cpu", "torch")
TOLERANCE = 1e-5  # of weights after an epoch, in which they move by about 1e-2


class Published:
    """Networks that train in grouped convolutions.

    Args:
        steps: the layers, laid out.
        x: float32 `(samples, *shape)`.
        y: int64 `(samples,)`.
        flat: float32 `(networks, n_parameters)`, where they start.
        recipe: plain SGD.
    """

    def __init__(
        self, steps: tuple[Step, ...], x: Tensor, y: Tensor, flat: npt.NDArray, recipe: Recipe
    ) -> None:
        self.steps, self.recipe, self.networks = steps, recipe, len(flat)
        self.x = x.reshape(len(x), *(x.shape[1:] if x.ndim == 4 else (*x.shape[1:], 1, 1)))
        self.y = y
        self.parts: list[tuple[Tensor, ...]] = []
        for step, given in zip(steps, Packing(steps).unpack(flat), strict=True):
            found = tuple(torch.tensor(part).flatten() for part in given or ())
            if isinstance(step.layer, Conv2d):
                kernel = step.layer.weight_shape(step.in_shape)[1:]
                found = (found[0].reshape(-1, *kernel), *found[1:])
            elif step.linear:
                found = (found[0].reshape(-1, step.fan_in, 1, 1), *found[1:])
            for part in found[:2]:  # behind them are running statistics
                part.requires_grad_()
            self.parts.append(found)
        leaves = [part for parts in self.parts for part in parts if part.requires_grad]
        self.optimizer = torch.optim.SGD(leaves, lr=recipe.learning_rate)

    def epoch(self, order: Tensor) -> None:
        """One pass over the samples."""
        for batch in order.split(self.recipe.batch_size):
            logits = self._forward(self.x[batch].repeat(1, self.networks, 1, 1))
            logits = logits.view(len(batch) * self.networks, -1)
            labels = self.y[batch].repeat_interleave(self.networks)
            loss = cross_entropy(logits, labels, reduction="sum") / len(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def flat(self) -> npt.NDArray[np.float32]:
        """Where the networks are: float32 `(networks, n_parameters)`."""
        found = [p.detach().view(self.networks, -1) for parts in self.parts for p in parts]
        return torch.cat(found, dim=1).numpy()

    def _forward(self, h: Tensor) -> Tensor:
        forks: list[Tensor] = []
        for step, parts in zip(self.steps, self.parts, strict=True):
            match step.layer:
                case ReLU():
                    h = relu(h)
                case MaxPool2d(size=size):
                    h = max_pool2d(h, size) if len(step.in_shape) == 3 else h
                case Flatten():
                    h = h.reshape(len(h), -1, 1, 1)
                case BatchNorm2d():
                    weight, bias, mean, variance = parts
                    h = batch_norm(h, mean, variance, weight, bias, training=True)
                case Fork():
                    forks.append(h)
                case Join():
                    h = h + forks.pop()
                case Scale(factor=factor):
                    h = h * factor
                case _:
                    padding = step.layer.padding if isinstance(step.layer, Conv2d) else 0
                    weight, *biases = parts
                    bias = biases[0] if biases else None
                    h = conv2d(h, weight, bias, padding=padding, groups=self.networks)
        return h


@dataclass(frozen=True)
class Row:
    """A trainer measured.

    Attributes:
        work: the work and the trainer: "train-lenet-2/6 cpu".
        networks_per_s, low, high: the trainer: median, slowest and fastest turn.
        baseline_per_s, baseline_low, baseline_high, batch: the published way, at its best number of
            networks at once.
        ratio: of the medians.
    """

    work: str
    networks_per_s: float
    low: float
    high: float
    baseline_per_s: float
    baseline_low: float
    baseline_high: float
    batch: int
    ratio: float


def setting(work: str, seed: int = 1) -> tuple[Task, Ensemble]:
    """The training set and the networks of a work."""
    task = tasks.task("mnist", (7, 0), n_train=N_TRAIN, data_seed=200)
    return task, Ensemble(WORKS[work], priors.make(INIT), task.shape, task.n_classes, seed)


def trainers(work: str, recipe: Recipe, *, threads: int, seed: int = 1) -> dict[str, Trainer]:
    """Those of `TRAINERS` that can be made here."""
    task, ensemble = setting(work, seed)
    found: dict[str, Trainer] = {}
    for name in TRAINERS:
        try:
            found[name] = make(
                name, ensemble, task.x_train, task.y_train, recipe, device="cpu", threads=threads
            )
        except (ImportError, BiasgpuError):  # not installed
            continue
    return found


def published(work: str, networks: int, recipe: Recipe = RECIPE, seed: int = 1) -> Published:
    """The published way, at the first so many draws of the work's ensemble."""
    task, ensemble = setting(work, seed)
    packing = Packing(ensemble.steps)
    flat = np.stack([packing.pack(ensemble.parameters(draw)) for draw in range(networks)])
    x, y = torch.from_numpy(task.x_train), torch.from_numpy(task.y_train)
    return Published(ensemble.steps, x, y, flat, recipe)


def disagreements(work: str, networks: int = 16) -> list[str]:
    """Who is elsewhere after the first epoch than the law: names, the published way's too.

    Rounding may turn a maximum of two nearly equal numbers, and a network with it: a quarter of
    them may be anywhere.
    """
    recipe = Recipe(RECIPE.optimizer, RECIPE.learning_rate, RECIPE.batch_size, epochs=1)
    task, ensemble = setting(work, seed=2**40)
    draws = np.arange(networks, dtype=np.uint64)
    law = make("reference", ensemble, task.x_train, task.y_train, recipe).train(draws)
    found = {
        name: trainer.train(draws).weights[:, -1]
        for name, trainer in trainers(work, recipe, threads=1, seed=2**40).items()
    }
    other = published(work, networks, recipe, seed=2**40)
    other.epoch(torch.from_numpy(epoch_order(ensemble.seed, 1, task.n_train)))
    found["published"] = other.flat()
    right = law.weights[:, -1]
    return [
        name
        for name, flat in found.items()
        if (np.abs(flat - right).max(axis=1) < TOLERANCE).mean() < 0.75
    ]


def epochs_per_s(runner: Published, seconds: float) -> float:
    """Epochs a second, of all the runner's networks together: the median, after one to warm up."""
    n_train, times = len(runner.y), []
    runner.epoch(torch.randperm(n_train))
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 3:
        begin = time.perf_counter()
        runner.epoch(torch.randperm(n_train))
        times.append(time.perf_counter() - begin)
    return 1.0 / statistics.median(times)


def measure(
    work: str,
    *,
    threads: int,
    repeats: int = 5,
    seconds: float = 2.0,
    at_once: Sequence[int] = AT_ONCE,
) -> list[Row]:
    """Measure every trainer that is there against the published way.

    Args:
        work: its name in `WORKS`.
        threads: for all.
        repeats: turns each takes.
        seconds: how long a turn takes.
        at_once: numbers of networks at once to try for the published way.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    def rate(networks: int, seconds: float) -> float:
        return networks * epochs_per_s(published(work, networks), seconds) / RECIPE.epochs

    try:
        best = max(at_once, key=lambda networks: rate(networks, seconds / 2))
        sides = trainers(work, RECIPE, threads=threads)
        counts = {name: networks_for(trainer, seconds) for name, trainer in sides.items()}
        theirs: list[float] = []
        ours: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(repeats):
            for name, trainer in sides.items():
                n = counts[name]
                draws = np.arange(turn * n, (turn + 1) * n, dtype=np.uint64)
                start = time.perf_counter()
                trainer.train(draws)
                ours[name].append(n / (time.perf_counter() - start))
            theirs.append(rate(best, seconds))
        for trainer in sides.values():
            trainer.close()
    finally:
        torch.set_num_threads(before)
    other = statistics.median(theirs)
    return [
        Row(
            f"{work} {name}", statistics.median(speeds), min(speeds), max(speeds),
            other, min(theirs), max(theirs), best, statistics.median(speeds) / other,
        )
        for name, speeds in ours.items()
    ]  # fmt: skip


def networks_for(trainer: Trainer, seconds: float) -> int:
    """Whole groups of networks that take about so long; compiles on the way."""
    trainer.prepare()
    n = trainer.granularity
    trainer.train(np.arange(n, dtype=np.uint64))
    start = time.perf_counter()
    trainer.train(np.arange(n, dtype=np.uint64))
    return max(1, round(seconds / (time.perf_counter() - start))) * n
