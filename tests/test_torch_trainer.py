"""The torch trainer: gradients, optimisers and options, held to the law."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from biasgpu import priors
from biasgpu.architectures import Architecture, lenet
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU, Shape
from biasgpu.packing import Packing
from biasgpu.training import law
from biasgpu.training.recipe import ALONG_GRADIENTS, Recipe
from biasgpu.training.trainers import make, torch_layers
from biasgpu.training.trainers.reference import ReferenceTrainer
from biasgpu.training.trainers.torch import TorchTrainer
from tests.running_error import Kink, U, gradient_error
from tests.strategies import PRIORS, Case, cases, ensembles, strokes

SETTINGS = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TINY_NET = Architecture(
    "tiny", [Conv2d(3, "prior", kernel=3, padding=1), ReLU(), MaxPool2d(2), Flatten(), Dense(5)]
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for further threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _draws(first: int, n: int) -> npt.NDArray[np.uint64]:
    return np.uint64(first) + np.arange(n, dtype=np.uint64)


def _tiny(n_train: int = 6, classes: int = 3) -> Any:
    ensemble = Ensemble(TINY_NET, priors.make("kaiming-uniform"), (1, 6, 6), classes, seed=5)
    x = np.random.default_rng(0).normal(size=(n_train, 1, 6, 6)).astype(np.float32)
    return ensemble, x, np.arange(n_train) % classes


def _arguments(recipe: Recipe, n_train: int = 6) -> Any:
    return (*_tiny(n_train), recipe)


# --- gradients ---------------------------------------------------------------------------------


def _autograd(case: Case, flat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gradients of the networks of `flat`, one a row, by the trainer's rules in float64."""
    steps = case.ensemble.steps
    pairs: list[Any] = []
    for pair in Packing(steps).unpack(flat):
        tensors = None
        if pair is not None:
            tensors = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in pair]
        pairs.append(tensors)
    leaves = [leaf for pair in pairs if pair is not None for leaf in pair]
    logits = torch_layers.forward(steps, pairs, torch.from_numpy(case.x_train).double())
    upstream = torch_layers.logit_gradient(logits.detach(), torch.from_numpy(case.y_train))
    found = torch.autograd.grad(logits, leaves, upstream)
    return torch.cat([gradient.flatten(1) for gradient in found], dim=1).numpy()


@SETTINGS
@given(cases())
def test_gradients_are_the_laws(case: Case) -> None:
    packing = Packing(case.ensemble.steps)
    flat = np.stack(
        [
            packing.pack(case.ensemble.parameters(case.first_draw + k)).astype(np.float64)
            for k in range(min(case.n_draws, 3))
        ]
    )
    found = _autograd(case, flat)
    for row, weights in zip(found, flat, strict=True):
        right = law.loss_and_gradient(packing.steps, weights, case.x_train, case.y_train)[1]
        assert np.abs(row - right).max() <= 1e-12 * max(1.0, np.abs(right).max())


@SETTINGS
@given(ensembles(), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_float32_step_stays_within_the_rounding_bound(
    ensemble: Ensemble, n_train: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_train, *ensemble.shape)).astype(np.float32)
    y = np.arange(n_train) % ensemble.n_classes
    rate, packing = 0.01, Packing(ensemble.steps)
    recipe = Recipe(learning_rate=rate, batch_size=n_train, epochs=1)
    found = TorchTrainer(ensemble, x, y, recipe, device="cpu").train(_draws(3, 4))
    kinks = 0
    for k, weights in enumerate(found.weights[:, 0].astype(np.float64)):
        flat = packing.pack(ensemble.parameters(3 + k)).astype(np.float64)
        try:
            bound = gradient_error(ensemble.steps, flat, x, y)
        except Kink:
            kinks += 1
            continue
        gradient = law.loss_and_gradient(ensemble.steps, flat, x, y)[1]
        step = rate * np.abs(gradient)
        slack = rate * bound + 4.0 * U * (np.abs(flat) + step) + 1e-36
        assert (np.abs(weights - (flat - rate * gradient)) <= slack).all()
    if kinks == 4:
        reject()


def test_the_rounding_bound_says_something() -> None:
    ensemble, x, y = _tiny()
    flat = Packing(ensemble.steps).pack(ensemble.parameters(0)).astype(np.float64)
    gradient = law.loss_and_gradient(ensemble.steps, flat, x, y)[1]
    assert gradient_error(ensemble.steps, flat, x, y).max() < 1e-3 * np.abs(gradient).max()


# --- following the law -------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ALONG_GRADIENTS)
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_follows_the_reference(optimizer: Any, batch_size: int) -> None:
    recipe = Recipe(optimizer, 0.05, batch_size, epochs=4, keep_epochs=(0, 1, 3))
    arguments, draws = _arguments(recipe), _draws(2**33, 5)
    right = ReferenceTrainer(*arguments, gradient_norms=True).train(draws)
    found = TorchTrainer(*arguments, gradient_norms=True, device="cpu", dtype="float64").train(
        draws
    )
    assert right.gradient_norms is not None and found.gradient_norms is not None
    # Both in float64: the same float32 numbers, but where a rounding falls between two.
    assert np.abs(found.weights - right.weights).max() <= 2.0**-23
    assert (found.weights == right.weights).mean() > 0.99
    assert np.allclose(found.gradient_norms, right.gradient_norms, rtol=1e-9, atol=0)
    assert np.array_equal(found.epochs, right.epochs)
    # And in float32 the same way; a hundredth of a step, where rounding has done its worst.
    near = TorchTrainer(*arguments, gradient_norms=True, device="cpu").train(draws)
    assert near.gradient_norms is not None
    assert np.abs(near.weights - right.weights).max() < 5e-4
    assert np.allclose(near.gradient_norms, right.gradient_norms, rtol=1e-3)
    assert np.array_equal(near.weights[:, 0], right.weights[:, 0])  # the initialisation: exactly


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_starts_from_the_canonical_weights(prior: priors.Prior) -> None:
    architecture = lenet("1/6,2/6,1/24,1/24", bias="prior")
    ensemble = Ensemble(architecture, prior, (1, 20, 20), 2, 2**40 + 9)
    draws = np.array([0, 2**32, 2**62 + 123], dtype=np.uint64)
    x, y = strokes(2, 20), np.arange(2)
    found = TorchTrainer(ensemble, x, y, Recipe(epochs=0), device="cpu").train(draws)
    for row, draw in zip(found.weights, draws.tolist(), strict=True):
        assert np.array_equal(row[0], Packing(ensemble.steps).pack(ensemble.parameters(draw)))


def test_large_batches_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = _arguments(Recipe(batch_size=7, epochs=3, stop_early=True), 7)
    draws = _draws(0, 3)
    whole = TorchTrainer(*arguments, gradient_norms=True, device="cpu", dtype="float64")
    right = whole.train(draws)
    monkeypatch.setattr("biasgpu.training.trainers.torch.BLOCK", 3)
    found = whole.train(draws)
    assert right.gradient_norms is not None and found.gradient_norms is not None
    assert np.allclose(found.weights, right.weights, rtol=0, atol=2.0**-23)
    assert np.allclose(found.gradient_norms, right.gradient_norms, rtol=1e-12)


# --- options -----------------------------------------------------------------------------------


def test_stops_early_where_the_reference_does() -> None:
    recipe = Recipe("sgd", 0.004, 2, 30, keep_epochs=(0, 5, 12), stop_early=True)
    arguments, draws = _arguments(recipe), _draws(0, 24)
    right = ReferenceTrainer(*arguments, gradient_norms=True).train(draws)
    found = TorchTrainer(*arguments, gradient_norms=True, device="cpu", dtype="float64").train(
        draws
    )
    assert np.array_equal(found.epochs, right.epochs)
    assert len({*found.epochs.tolist()}) > 5 and found.epochs.max() == 30  # it had a choice
    assert np.abs(found.weights - right.weights).max() <= 2.0**-20
    assert right.gradient_norms is not None and found.gradient_norms is not None
    assert np.allclose(found.gradient_norms, right.gradient_norms, rtol=1e-7, equal_nan=True)


def test_a_network_that_runs_away_harms_no_other() -> None:
    ensemble, x, y = _tiny()
    recipe = Recipe("sgd", 0.1, 2, epochs=2, stop_early=True)
    x = x * np.float32(1e25)  # products overflow in float32 in every network: none fits
    found = TorchTrainer(ensemble, x, y, recipe, device="cpu").train(_draws(0, 3))
    assert not np.isfinite(found.weights).all() and (found.epochs == 2).all()


def test_chunks_change_no_more_than_rounding() -> None:
    arguments, draws = _arguments(Recipe("momentum", 0.02, epochs=5)), _draws(7, 9)
    whole = TorchTrainer(*arguments, device="cpu")
    one_by_one = TorchTrainer(*arguments, device="cpu", memory_bytes=1)
    assert whole.granularity >= 9 and one_by_one.granularity == 1
    found = whole.train(draws).weights
    assert np.allclose(one_by_one.train(draws).weights, found, rtol=0, atol=1e-5)
    assert np.array_equal(whole.train(draws).weights, found)  # the same call, the same bits
    assert whole.train(draws[:0]).weights.shape == (0, *found.shape[1:])


def test_memory_that_runs_out_makes_chunks_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = TorchTrainer(*_arguments(Recipe(epochs=2)), device="cpu")
    right = trainer.train(_draws(0, 8)).weights
    train_chunk, limit = trainer._train_chunk, 2

    def short(draws: npt.NDArray[np.uint64], *rest: Any) -> None:
        if len(draws) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        train_chunk(draws, *rest)

    monkeypatch.setattr(trainer, "_train_chunk", short)
    assert np.allclose(trainer.train(_draws(0, 8)).weights, right, rtol=0, atol=1e-6)
    assert trainer.granularity == 2
    limit = 0
    with pytest.raises(ResourceError, match="does not fit"):
        trainer.train(_draws(0, 1))


# --- layers of a user's own --------------------------------------------------------------------


class Negate(Layer):
    def out_shape(self, shape: Shape) -> Shape:
        return shape


def test_a_layer_needs_one_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, x, y = _tiny()
    layers = [Negate(), *TINY_NET.layers[:2], Negate(), Negate(), *TINY_NET.layers[2:]]
    odd = Ensemble(Architecture("odd", layers), plain.prior, plain.shape, 3, plain.seed)
    with pytest.raises(UsageError, match="no rule for Negate"):
        TorchTrainer(odd, x, y, Recipe(), device="cpu")
    monkeypatch.setitem(torch_layers.RULES, Negate, lambda step, pair, h: -h)
    recipe = Recipe(epochs=3)
    found = TorchTrainer(odd, x, y, recipe, device="cpu").train(_draws(0, 4))
    right = TorchTrainer(plain, -x, y, recipe, device="cpu").train(_draws(0, 4))
    assert np.array_equal(found.weights, right.weights)


def test_is_made_by_its_name() -> None:
    trainer = make("torch", *_arguments(Recipe(epochs=1)), device="cpu", threads=2)
    assert isinstance(trainer, TorchTrainer) and trainer.device == "cpu"
    threads = torch.get_num_threads()
    trainer.train(_draws(0, 1))
    assert torch.get_num_threads() == threads
    with pytest.raises(UsageError, match="unknown device"):
        make("torch", *_arguments(Recipe()), device="abacus")
