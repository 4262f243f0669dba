"""Training with batch norms: the law against PyTorch's own, trainers against the law."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from biasgpu import priors
from biasgpu.architectures import Architecture, resnet4
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.kernels import train_plan
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Scale, residual
from biasgpu.measures.input_gradient import norms_by_law
from biasgpu.network import Network
from biasgpu.packing import Packing
from biasgpu.training import batch_norm, law
from biasgpu.training.recipe import ALONG_GRADIENTS, Recipe
from biasgpu.training.trainers import make
from biasgpu.training.trainers.base import Trainer, Trajectories
from biasgpu.training.trainers.reference import ReferenceTrainer
from biasgpu.training.trainers.torch import TorchTrainer
from biasgpu.training.trainers.triton import unsupported as triton_unsupported

DRAWS = np.arange(2**33, 2**33 + 4, dtype=np.uint64)
BLOCK = residual(Conv2d(3, "none", kernel=3, padding=1), BatchNorm2d(), ReLU())
# Everything once: a norm before any weights, biases trained and not there, a block around a block.
MIXED = Architecture(
    "mixed",
    [
        *residual(BatchNorm2d(), Conv2d(1, "prior", kernel=3, padding=1)),
        *(
            Conv2d(3, "none", kernel=3, padding=1),
            BatchNorm2d(),
            MaxPool2d(2),
            *residual(ReLU(), *BLOCK),
        ),
        *(Flatten(), Dense(4, "none"), ReLU(), Scale(0.5)),
    ],
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for further threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _task(shape: tuple[int, ...], n_train: int, classes: int) -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(n_train, *shape)).astype(np.float32)
    return x, np.arange(n_train) % classes


def _arguments(recipe: Recipe, n_train: int = 7, prior: str = "uniform") -> Any:
    ensemble = Ensemble(MIXED, priors.make(prior), (1, 8, 8), 3, seed=5)
    return ensemble, *_task((1, 8, 8), n_train, 3), recipe


# --- the law -----------------------------------------------------------------------------------


class Published(nn.Module):
    """The published network, written down once more."""

    def __init__(self, shape: tuple[int, ...], channels: list[int], depth: int) -> None:
        super().__init__()
        self.depth, self.last = depth, 2 if shape[1] == 28 else 4
        sizes = [shape[0], channels[0]]  # what each convolution takes; the last one gives
        for stage, width in zip([1, 2, 3][4 - depth :], channels[1:], strict=True):
            sizes += [width] * (1 if stage == 2 else 3)
        pairs = list(pairwise(sizes))
        self.convolutions = nn.ModuleList(nn.Conv2d(*p, 3, padding=1, bias=False) for p in pairs)
        side = shape[1] // 2 ** (depth - 1) // self.last
        self.norms = nn.ModuleList(nn.BatchNorm2d(p[1]) for p in pairs)
        self.linear = nn.Linear(channels[-1] * side**2, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        units = iter(zip(self.convolutions, self.norms, strict=True))

        def unit(x: torch.Tensor) -> torch.Tensor:
            convolution, norm = next(units)
            return functional.relu(norm(convolution(x)))

        x = unit(x)
        for stage in [1, 2, 3][4 - self.depth :]:
            x = functional.max_pool2d(unit(x), 2)
            x = x if stage == 2 else x + unit(unit(x))
        return 0.125 * self.linear(functional.max_pool2d(x, self.last).flatten(1))

    def load(self, steps: Any, flat: np.ndarray) -> list[torch.Tensor]:
        """Take a network's parameters; returns the tensors in the order of `Packing`."""
        mine: list[Any] = []
        for c, n in zip(self.convolutions, self.norms, strict=True):
            mine += [c.weight, n.weight, n.bias, n.running_mean, n.running_var]
        mine.append(self.linear.weight)
        given = [part for parts in Packing(steps).unpack(flat) for part in parts or ()]
        with torch.no_grad():
            for tensor, part in zip(mine, given, strict=True):
                tensor.copy_(torch.from_numpy(part))
        return mine


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize(("width", "depth", "channels"), [
    ("2/6", 4, [2, 4, 8, 16]), ("1/6", 3, [1, 4, 8]), ("1/6", 2, [1, 8]),
])  # fmt: skip
def test_gradients_are_pytorchs(
    shape: tuple[int, ...], width: str, depth: int, channels: list[int]
) -> None:
    ensemble = Ensemble(resnet4(width, depth), priors.make("uniform"), shape, 2, seed=depth)
    x, y = _task(shape, 5, 2)
    flat = Packing(ensemble.steps).pack(ensemble.parameters(3)).astype(np.float64)
    model = Published(shape, channels, depth).double()
    tensors = model.load(ensemble.steps, flat)
    inputs = torch.from_numpy(x).double()
    functional.cross_entropy(model(inputs), torch.from_numpy(y)).backward()
    right = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
    right = torch.cat([part.flatten() for part in right]).numpy()
    found = law.loss_and_gradient(ensemble.steps, flat, x, y)[1]
    # Both in float64, some 1e3 roundings deep.
    assert np.abs(found - right).max() <= 1e-12 * np.abs(right).max()
    tracked = batch_norm.track(
        ensemble.steps, flat, law.forward(ensemble.steps, flat, x, training=True)
    )
    seen = torch.cat([t.detach().flatten() for t in tensors]).numpy()
    assert np.abs(seen - flat).max() > 0.01 and np.allclose(tracked, seen, rtol=1e-12, atol=1e-14)
    # Afterwards: the running statistics, forwards and for measures.
    model.eval()
    logits = law.forward(ensemble.steps, seen, x)[-1]
    assert np.allclose(logits, model(inputs).detach().numpy(), rtol=1e-11, atol=1e-13)
    inputs.requires_grad_()
    outputs = model(inputs)
    (outputs[:, 1] - outputs[:, 0]).sum().backward()
    assert inputs.grad is not None
    norms = inputs.grad.flatten(1).norm(dim=1).numpy()
    rounded = seen.astype(np.float32)[None]  # what is kept of a trained network
    assert np.allclose(norms_by_law(ensemble.steps, rounded, x)[0], norms, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ALONG_GRADIENTS)
def test_training_is_what_a_user_of_pytorch_gets(optimizer: Any) -> None:
    recipe = Recipe(optimizer, 0.02, 2, epochs=3)
    ensemble, x, y, _ = _arguments(recipe, 6)
    found = ReferenceTrainer(ensemble, x, y, recipe).train(DRAWS[:1]).weights[0, 0]
    module = Network(ensemble, ensemble.n_arrangements * int(DRAWS[0])).module(torch.float64)
    assert not module.training
    module.train()
    makers: dict[str, Any] = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.02),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    }
    steps = makers[optimizer](module.parameters())
    for epoch in (1, 2, 3):
        for batch in law.batches(recipe, ensemble.seed, epoch, 6):
            steps.zero_grad()
            logits = module(torch.from_numpy(x[batch]).double())
            functional.cross_entropy(logits, torch.from_numpy(y[batch])).backward()
            steps.step()
    state = module.state_dict()
    names = [f"{s.position}.{name}" for s in ensemble.steps for name, _ in s.parts]
    right = torch.cat([state[name].flatten() for name in names]).numpy()
    # Nine steps in float64 amplify little; the law's are rounded to float32 in the end.
    assert (np.abs(found - right) <= 2.0**-24 * np.abs(right) + 1e-10).all()


# --- trainers ----------------------------------------------------------------------------------


def _same(found: Trajectories, right: Trajectories, atol: float, rtol: float) -> None:
    assert found.gradient_norms is not None and right.gradient_norms is not None
    assert np.array_equal(found.epochs, right.epochs)
    assert np.allclose(found.weights, right.weights, rtol=0, atol=atol)
    assert np.allclose(
        found.gradient_norms, right.gradient_norms, rtol=rtol, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("optimizer", ALONG_GRADIENTS)
@pytest.mark.parametrize("batch_size", [2, 5])
def test_torch_follows_the_law(optimizer: Any, batch_size: int) -> None:
    recipe = Recipe(optimizer, 0.02, batch_size, 3, keep_epochs=(0, 1))
    arguments = _arguments(recipe)
    right = ReferenceTrainer(*arguments, gradient_norms=True).train(DRAWS)
    exact = TorchTrainer(*arguments, gradient_norms=True, device="cpu", dtype="float64")
    _same(exact.train(DRAWS), right, 2.0**-21, 1e-9)  # numbers up to 4, rounded to float32
    near = TorchTrainer(*arguments, gradient_norms=True, device="cpu").train(DRAWS)
    _same(near, right, 2e-3, 2e-2)  # a tenth of a step
    assert np.array_equal(near.weights[:, 0], right.weights[:, 0])  # the initialisation: exactly


def test_stops_early_by_the_running_statistics() -> None:
    arguments = _arguments(Recipe("sgd", 0.05, 2, 12, stop_early=True), 6, "kaiming-uniform")
    right = ReferenceTrainer(*arguments, gradient_norms=True).train(DRAWS)
    exact = TorchTrainer(*arguments, gradient_norms=True, device="cpu", dtype="float64")
    _same(exact.train(DRAWS), right, 1e-5, 1e-6)
    assert len({*right.epochs.tolist()}) > 1  # it had a choice
    ensemble, x, y, _ = arguments
    for flat, epochs in zip(right.weights[:, 0], right.epochs, strict=True):
        fits = (law.forward(ensemble.steps, flat, x)[-1].argmax(axis=1) == y).all()
        assert fits or epochs == 12


@pytest.mark.parametrize("trainer", [ReferenceTrainer, TorchTrainer])
def test_gradient_norms_leave_running_statistics_alone(trainer: type[Trainer]) -> None:
    arguments = _arguments(Recipe("adam", 0.02, 3, epochs=2))
    with_norms = trainer(*arguments, gradient_norms=True).train(DRAWS)
    assert np.array_equal(with_norms.weights, trainer(*arguments).train(DRAWS).weights)


def test_gradient_norms_are_of_the_training_set_as_one_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("biasgpu.training.trainers.torch.BLOCK", 3)  # no batch norm is cut by it
    recipe = Recipe(batch_size=7, epochs=0)
    ensemble, x, y, _ = _arguments(recipe)
    found = TorchTrainer(ensemble, x, y, recipe, gradient_norms=True, device="cpu").train(DRAWS)
    assert found.gradient_norms is not None
    for flat, norm in zip(found.weights[:, 0], found.gradient_norms[:, 0], strict=True):
        gradient = law.loss_and_gradient(ensemble.steps, flat.astype(np.float64), x, y)[1]
        assert abs(np.linalg.norm(gradient) - norm) <= 1e-4 * norm


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", [ReferenceTrainer, TorchTrainer])
@pytest.mark.parametrize(("n_train", "batch_size", "fix"), [
    (7, 2, "batch_size=4 "), (3, 1, "batch_size=3 "), (1, 2, "n_train=2 "),
])  # fmt: skip
def test_one_number_a_channel_is_refused(
    trainer: type[Trainer], n_train: int, batch_size: int, fix: str
) -> None:
    layers = [Conv2d(2, "none", kernel=8), BatchNorm2d(), Flatten()]
    ensemble = Ensemble(Architecture("dot", layers), priors.make("uniform"), (1, 8, 8), 2, 1)
    x, y = _task((1, 8, 8), n_train, 2)
    with pytest.raises(UsageError, match="one number a channel") as caught:
        trainer(ensemble, x, y, Recipe(batch_size=batch_size))
    assert fix in str(caught.value.fix)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Network(ensemble, 0).module().train()(torch.from_numpy(x[:1]))
    x, y = _task((1, 8, 8), 6, 2)
    trainer(ensemble, x, y, Recipe(batch_size=4))


def test_compiled_trainers_say_what_they_do_not_take() -> None:
    arguments = _arguments(Recipe())
    assert make("auto", *arguments).name == "cpu"
    assert "no kernel for Fork" in str(triton_unsupported(arguments[0], Recipe()))
    plain = Architecture("plain", [Flatten(), Dense(3), ReLU()], bias="none")
    ensemble = Ensemble(plain, priors.make("uniform"), (1, 8, 8), 3, 1)
    assert make("auto", ensemble, *arguments[1:]).name == "cpu"
    with pytest.raises(ValueError, match="biases"):
        train_plan.make(ensemble.steps, 2, "sgd")
