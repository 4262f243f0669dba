"""The compiled trainer's gradients and steps, held to the law."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from numba import njit

from biasgpu import lenet, mlp, priors
from biasgpu.architectures import Architecture, paper_mlp
from biasgpu.engines.cpu.memory import address_of
from biasgpu.engines.cpu.workspace import aligned
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.packing import Packing
from biasgpu.training import law
from biasgpu.training.cpu import lanes, update, winners
from biasgpu.training.cpu.plan import BY_WINNERS, LANES, STATES
from biasgpu.training.recipe import ALONG_GRADIENTS, Optimizer, Recipe
from biasgpu.training.trainers.cpu import CpuTrainer, unsupported
from tests.strategies import Case, cases
from tests.training_bounds import UNIT, bound, gamma

ANY = [
    Conv2d(4, "prior", kernel=2, padding=1), MaxPool2d(3), ReLU(),
    Conv2d(5, kernel=3, padding=2), ReLU(), MaxPool2d(2), Conv2d(3, kernel=1), ReLU(),
    MaxPool2d(1), Flatten(), ReLU(), Dense(7, "prior"), Dense(3), ReLU(),
]  # fmt: skip


def initial(ensemble: Ensemble, draw: int) -> npt.NDArray[np.float64]:
    return Packing(ensemble.steps).pack(ensemble.parameters(draw)).astype(np.float64)


def check_step(
    ensemble: Ensemble, x: npt.NDArray, y: npt.NDArray, draws: npt.NDArray, rate: float
) -> int:
    """One full-batch step of every draw is the law's within the bound; returns how many count."""
    recipe = Recipe(learning_rate=rate, batch_size=len(y), epochs=1, keep_epochs=(0,))
    assert unsupported(ensemble, recipe) is None
    trainer = CpuTrainer(ensemble, x, y, recipe, gradient_norms=True, threads=1)
    result = trainer.train(draws)
    trainer.close()
    assert result.epochs.tolist() == [1] * len(draws)
    assert result.gradient_norms is not None
    counted = 0
    for row, draw in enumerate(draws.tolist()):
        flat = initial(ensemble, draw)
        assert (result.weights[row, 0] == flat).all()
        derived = bound(ensemble.steps, flat, x, y)
        if not derived.decided:
            continue
        counted += 1
        after = flat - rate * derived.gradient
        slack = rate * derived.error + 3 * UNIT * (np.abs(flat) + np.abs(after)) + 1e-37
        found = result.weights[row, 1].astype(np.float64)
        assert (np.abs(found - after) <= slack).all(), np.max(np.abs(found - after) / slack)
        norm = np.linalg.norm(derived.gradient)
        error = np.linalg.norm(derived.error) + 4 * UNIT * norm
        assert abs(result.gradient_norms[row, 0] - norm) <= error
    return counted


@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(cases())
def test_a_step_on_anything(case: Case) -> None:
    if unsupported(case.ensemble, Recipe()) is not None:
        return
    draws = np.array([case.first_draw, case.first_draw + case.n_draws - 1], np.uint64)
    size = max(1.0, float(np.abs(case.x_train).max()))
    check_step(case.ensemble, case.x_train, case.y_train, draws, 0.1 / size**2)


@pytest.mark.parametrize(
    ("architecture", "shape", "n_classes", "n"),
    [
        (lenet("1/6"), (1, 28, 28), 2, 3),
        (lenet("2/6"), (1, 28, 28), 2, 2),
        (lenet("2/6", depth="1c-1f"), (1, 28, 28), 2, 3),
        (lenet("1/6"), (3, 32, 32), 2, 2),
        (paper_mlp("1/6"), (1, 28, 28), 2, 5),
        (mlp(9, 2, bias="prior"), (1, 28, 28), 3, 7),
        (mlp(5, 1, head="one-logit"), (6,), 2, 5),
        (Architecture("any", ANY), (2, 13, 11), 4, 3),
    ],
)
@pytest.mark.parametrize("prior", ["kaiming-uniform", "kaiming-normal"])
def test_a_step(architecture: Any, shape: Any, n_classes: int, n: int, prior: str) -> None:
    ensemble = Ensemble(architecture, priors.make(prior), shape, n_classes, 2**40 + 1)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, *shape)).astype(np.float32)
    draws = np.array([*range(5), 2**50], np.uint64)
    assert check_step(ensemble, x, np.arange(n) % n_classes, draws, 0.5) >= 2


def test_a_step_against_autograd() -> None:
    torch = pytest.importorskip("torch")
    ensemble = Ensemble(lenet("1/6"), priors.make("kaiming-uniform"), (1, 28, 28), 2, 3)
    x = np.random.default_rng(1).normal(size=(4, 1, 28, 28)).astype(np.float32)
    y = np.arange(4) % 2
    recipe = Recipe(learning_rate=1.0, batch_size=4, epochs=1, keep_epochs=(0,))
    trainer = CpuTrainer(ensemble, x, y, recipe, threads=1)
    weights = trainer.train(np.arange(3, dtype=np.uint64)).weights
    functional, counted = torch.nn.functional, 0
    for first, second in weights.astype(np.float64):
        derived = bound(ensemble.steps, first, x, y)
        flat = torch.tensor(first, requires_grad=True)
        pairs = iter(p for p in Packing(ensemble.steps).unpack(flat) if p)  # type: ignore[arg-type]
        z = torch.tensor(x.astype(np.float64))
        for step in ensemble.steps:
            match step.layer:
                case Conv2d():
                    z = functional.conv2d(z, *next(pairs))
                case Dense():
                    z = functional.linear(z, *next(pairs))
                case MaxPool2d():
                    z = functional.max_pool2d(z, 2)
                case ReLU():
                    z = functional.relu(z)
                case Flatten():
                    z = z.flatten(1)
        functional.cross_entropy(z, torch.tensor(y)).backward()
        expected = flat.grad.numpy()
        if derived.decided:
            counted += 1
            slack = derived.error + 3 * UNIT * (np.abs(first) + np.abs(second))
            assert (np.abs(first - second - expected) <= slack).all()
    assert counted >= 2


@cache
def _compiled_step() -> Any:
    @njit
    def run(optimizer: int, w: Any, gradients: Any, state: Any, rate: float, active: int) -> None:
        n = len(w) // 16
        for t in range(len(gradients)):
            g = gradients[t]
            update.step(
                optimizer, address_of(w), address_of(g), address_of(state), n, 0, n, rate, t + 1,
                active,
            )  # fmt: skip

    return run


@pytest.mark.parametrize("optimizer", ALONG_GRADIENTS)
def test_optimizers(optimizer: Optimizer) -> None:
    """Ten steps of given gradients, within a few roundings a step; lane 3 is not trained."""
    n, steps, rate = 5, 10, 0.03
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(steps, n * LANES)) * 10.0 ** rng.uniform(-12, 3, n * LANES)
    gradients = gradients.astype(np.float32)
    gradients[:, 7] = 0.0
    start = rng.normal(size=n * LANES).astype(np.float32)
    w, state = aligned(n * LANES, np.float32), aligned(2 * n * LANES, np.float32)
    w[:] = start
    active = lanes.ALL & ~(1 << 3)
    _compiled_step()(STATES[optimizer], w, gradients, state, rate, active)
    expected = start.astype(np.float64)
    method = law.Optimizer(Recipe(optimizer=optimizer, learning_rate=rate), n * LANES)
    moved = np.zeros(n * LANES)
    most = np.abs(expected)
    mean = np.zeros(n * LANES)
    for gradient in gradients.astype(np.float64):
        after = method.step(expected, gradient)
        # A mean of both signs cancels: its error is relative to that of the absolute values.
        mean = 0.9 * mean + np.abs(gradient)
        scale = rate * (10.0 if optimizer == "adam" else mean)
        moved += scale
        most = np.maximum(most, np.abs(after))
        expected = after
    # Adam divides by a root of at least the mean over ten: 1 / sqrt(0.001) bounds the ratio.
    slack = gamma(8 * steps) * (4 * moved if optimizer == "adam" else moved)
    slack += steps * UNIT * most
    lane = np.arange(n * LANES) % LANES
    assert (np.abs(w - expected) <= slack)[lane != 3].all()
    assert (w == start)[lane == 3].all()


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("units", [1, 2, 3, 5])
@pytest.mark.parametrize("density", [0.2, 1.0])
def test_a_step_by_every_way_of_a_first_convolution(
    kernel: int, units: int, density: float
) -> None:
    """Lists or not, winners or not, all blocks of channels; two channels, pooled with a rest."""
    layers = [
        Conv2d(units, "prior", kernel=kernel), ReLU(), MaxPool2d(2),
        Conv2d(2, kernel=kernel, padding=2), Flatten(),
    ]  # fmt: skip
    prior = priors.make("kaiming-uniform")
    ensemble = Ensemble(Architecture("first", layers), prior, (2, 11, 12), 2, units)
    rng = np.random.default_rng(units)
    x = rng.normal(size=(5, 2, 11, 12)) * (rng.random((5, 2, 11, 12)) < density) - 0.4
    x = x.astype(np.float32)
    y = np.arange(5) % 2
    trainer = CpuTrainer(ensemble, x, y, Recipe(), threads=1)
    assert trainer._lists.used == (density < 1)
    by_winners = bool(trainer.plan.ops[0, BY_WINNERS])
    assert by_winners == (kernel == 5 and winners.available())
    counted = check_step(ensemble, x, y, np.arange(16, dtype=np.uint64), 0.3)
    assert counted >= (1 if density < 1 else 8)
