"""The compiled trainer: a network's result depends on its name alone, and follows the law's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from biasgpu import lenet, mlp, priors
from biasgpu.architectures import Architecture
from biasgpu.engines.cpu import digest as engine_digest
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.packing import Packing
from biasgpu.training import law, trainers
from biasgpu.training.cpu import digest, plan
from biasgpu.training.recipe import ALONG_GRADIENTS, Optimizer, Recipe
from biasgpu.training.trainers.cpu import CpuTrainer, unsupported
from biasgpu.training.trainers.reference import ReferenceTrainer
from tests.strategies import Lopsided, strokes

SMALL = [
    Conv2d(3, kernel=3, padding=1), ReLU(), MaxPool2d(2), Conv2d(2, kernel=2), MaxPool2d(3), ReLU(),
    Flatten(), Dense(6), ReLU(),
]  # fmt: skip
DRAWS = np.array([*range(35), 2**40, 2**60 + 1], np.uint64)  # three tiles of lanes, one in part


def small(seed: int = 7, prior: str = "kaiming-uniform", n_classes: int = 2) -> Ensemble:
    return Ensemble(Architecture("small", SMALL), priors.make(prior), (1, 9, 8), n_classes, seed)


def task(n: int = 7, n_classes: int = 2) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 1, 9, 8)).astype(np.float32)
    return x, np.arange(n) % n_classes


def train(ensemble: Ensemble, recipe: Recipe, draws: npt.NDArray, **options: Any) -> Any:
    """Trajectories of draws; untyped, since norms are there only on request."""
    n_train = options.pop("n_train", 7)
    trainer = CpuTrainer(ensemble, *task(n_train, ensemble.n_classes), recipe, **options)
    result = trainer.train(draws)
    trainer.close()
    return result


def bits(x: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(x).view(np.int32)


RECIPES = [
    Recipe(learning_rate=0.05, epochs=4, keep_epochs=(0, 2)),
    Recipe("momentum", learning_rate=0.02, batch_size=3, epochs=3, keep_epochs=(1,)),
    Recipe("adam", learning_rate=0.01, batch_size=99, epochs=5, stop_early=True),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=[r.optimizer for r in RECIPES])
def test_lanes_threads_and_batches_change_nothing(recipe: Recipe) -> None:
    whole = train(small(), recipe, DRAWS, threads=1, gradient_norms=True)
    assert whole.weights.shape[:2] == (len(DRAWS), len(recipe.kept))
    order = np.random.default_rng(0).permutation(len(DRAWS))
    shuffled = train(small(), recipe, DRAWS[order], threads=3, gradient_norms=True)
    for some in (np.arange(len(DRAWS))[order], [4], [33, 36, 2]):
        part = shuffled if len(some) > 3 else train(
            small(), recipe, DRAWS[some], threads=2, gradient_norms=True
        )  # fmt: skip
        assert (bits(part.weights) == bits(whole.weights[some])).all()
        assert (part.epochs == whole.epochs[some]).all()
        np.testing.assert_array_equal(part.gradient_norms, whole.gradient_norms[some])
    plain = train(small(), recipe, DRAWS[:3])
    assert (bits(plain.weights) == bits(whole.weights[:3])).all()
    assert plain.gradient_norms is None


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_what_is_kept_is_what_shorter_training_ends_with(epochs: int) -> None:
    recipe = replace(RECIPES[0], epochs=5, keep_epochs=(0, 1, 3))
    long = train(small(), recipe, DRAWS[:5])
    short = train(small(), Recipe(learning_rate=0.05, epochs=epochs), DRAWS[:5])
    assert (short.weights[:, 0] == long.weights[:, recipe.kept.index(epochs)]).all()
    assert short.epochs.tolist() == [epochs] * 5


def perturbed(ensemble: Ensemble, recipe: Recipe, draw: int, times: int) -> npt.NDArray[np.float64]:
    """How far the law goes astray if weights are moved by a rounding before every step."""
    x, y = task(7, ensemble.n_classes)
    packing, rng = Packing(ensemble.steps), np.random.default_rng(draw)
    start = packing.pack(ensemble.parameters(draw)).astype(np.float64)
    ends = []
    for time in range(times + 1):
        flat, method = start, law.Optimizer(recipe, packing.n_parameters)
        for epoch in range(1, recipe.epochs + 1):
            for batch in law.batches(recipe, ensemble.seed, epoch, len(y)):
                if time:
                    flat = flat * (1.0 + 2.0**-24 * rng.choice([-1, 1], size=flat.shape))
                gradient = law.loss_and_gradient(ensemble.steps, flat, x[batch], y[batch])[1]
                flat = method.step(flat, gradient)
        ends.append(flat)
    return np.abs(np.array(ends[1:]) - ends[0]).max(axis=0)


@pytest.mark.parametrize("optimizer", ALONG_GRADIENTS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_first_epochs_follow_the_law(optimizer: Optimizer, n_classes: int) -> None:
    """float32 rounds some twenty times where the perturbed law does once: 64 deviations of it."""
    recipe = Recipe(optimizer, learning_rate=0.01, batch_size=3, epochs=2)
    ensemble = small(n_classes=n_classes)
    x, y = task(7, n_classes)
    draws = np.arange(6, dtype=np.uint64)
    found = train(ensemble, recipe, draws).weights[:, 0]
    expected = ReferenceTrainer(ensemble, x, y, recipe).train(draws).weights[:, 0]
    for row, draw in enumerate(draws.tolist()):
        deviation = perturbed(ensemble, recipe, draw, 6)
        scale = deviation.max() + 2.0**-24 * np.abs(expected[row])
        assert (np.abs(found[row] - expected[row]) <= 64 * scale).all()


def test_stopping_early_is_the_laws() -> None:
    recipe = Recipe(learning_rate=0.05, epochs=12, keep_epochs=(0, 3), stop_early=True)
    x, y = task()
    draws = DRAWS[:20]
    found = train(small(), recipe, draws, gradient_norms=True)
    law_says = ReferenceTrainer(small(), x, y, recipe, gradient_norms=True).train(draws)
    assert len({*found.epochs.tolist()}) > 4
    assert 0 < (found.epochs < 12).sum() < 20
    assert found.epochs.tolist() == law_says.epochs.tolist()
    np.testing.assert_allclose(found.weights, law_says.weights, atol=2e-5)
    assert law_says.gradient_norms is not None
    np.testing.assert_allclose(found.gradient_norms, law_says.gradient_norms, rtol=2e-4)
    assert np.isnan(found.gradient_norms).any()
    # And the weights are those of as many epochs without stopping.
    for row in range(6):
        epochs = int(found.epochs[row])
        plain = train(small(), Recipe(learning_rate=0.05, epochs=epochs), draws[row : row + 1])
        assert (plain.weights[0, 0] == found.weights[row, 2]).all()


@pytest.mark.parametrize("recipe", RECIPES, ids=[r.optimizer for r in RECIPES])
def test_lanes_that_diverge_disturb_no_other(recipe: Recipe) -> None:
    ensemble = small(prior="normal:2e9")  # logits about the largest float32 number
    weights = train(ensemble, recipe, DRAWS, threads=1).weights[:, -1]
    finite = np.isfinite(weights).all(axis=1)
    assert 2 < finite.sum() < len(DRAWS) - 2
    alone = train(ensemble, recipe, DRAWS[finite], threads=1).weights[:, -1]
    assert (alone == weights[finite]).all()


def test_samples_taken_in_parts_change_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(learning_rate=0.05, batch_size=7, epochs=3)
    at_once = train(small(), recipe, DRAWS[:4], gradient_norms=True)
    monkeypatch.setattr(plan, "SAMPLES_BYTES", 1)
    in_parts = train(small(), recipe, DRAWS[:4], gradient_norms=True)
    np.testing.assert_allclose(in_parts.weights, at_once.weights, atol=1e-6)
    np.testing.assert_allclose(in_parts.gradient_norms, at_once.gradient_norms, rtol=1e-5)
    assert not (in_parts.weights == at_once.weights).all()


def test_ties_and_silent_units() -> None:
    """Inputs of zeros: all units at exactly 0, every window tied. Only output biases move."""
    x, y = np.zeros((4, 1, 9, 8), np.float32), np.array([0, 1, 1, 1])
    recipe = Recipe(learning_rate=0.1, batch_size=4, epochs=3)
    trainer = CpuTrainer(small(), x, y, recipe, gradient_norms=True, threads=1)
    draws = np.arange(2, dtype=np.uint64)
    found: Any = trainer.train(draws)
    expected = ReferenceTrainer(small(), x, y, recipe, gradient_norms=True).train(draws)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-6)
    moved = found.weights[0, 0] != Packing(small().steps).pack(small().parameters(0))
    assert moved.sum() == 2
    assert expected.gradient_norms is not None
    np.testing.assert_allclose(found.gradient_norms, expected.gradient_norms, rtol=1e-5)


def test_a_tied_window_gives_all_to_its_first_element() -> None:
    """Without a rectifier, constant images tie every window of a convolution's outputs exactly."""
    layers = [Conv2d(1, kernel=1), MaxPool2d(2), Conv2d(2, kernel=1), MaxPool2d(3), Flatten()]
    ensemble = Ensemble(Architecture("ties", layers), priors.make("uniform"), (1, 6, 6), 2, 1)
    # Rows and columns that differ outside of each window's tie make a wrong winner visible.
    x = np.kron(np.arange(9.0).reshape(3, 3) % 4, np.ones((2, 2)))[None, None].astype(np.float32)
    recipe = Recipe(learning_rate=0.5, batch_size=1, epochs=2)
    draws = np.arange(9, dtype=np.uint64)
    found = CpuTrainer(ensemble, x, np.array([1]), recipe, threads=1).train(draws).weights
    expected = ReferenceTrainer(ensemble, x, np.array([1]), recipe).train(draws).weights
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_trained_networks_are_distributed_as_the_laws() -> None:
    """Other draws, the same distributions: Kolmogorov-Smirnov, false alarm in 1,000 each."""
    ensemble = Ensemble(mlp(5, 1), priors.make("kaiming-uniform"), (4,), 2, 11)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(206, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] ** 2 > 0.7).astype(np.int64)
    recipe = Recipe(learning_rate=0.1, epochs=25)

    def measured(weights: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
        logits = np.array([law.forward(ensemble.steps, w, x)[-1] for w in weights[:, 0]])
        gap = logits[..., 1] - logits[..., 0]
        margins = np.where(y[:6] == 1, gap[:, :6], -gap[:, :6]).min(axis=1)
        return ((gap[:, 6:] > 0) == y[6:]).mean(axis=1), margins

    slow = ReferenceTrainer(ensemble, x[:6], y[:6], recipe).train(np.arange(150, dtype=np.uint64))
    quick = CpuTrainer(ensemble, x[:6], y[:6], recipe).train(np.arange(150, 900, dtype=np.uint64))
    for ours, laws in zip(measured(quick.weights), measured(slow.weights), strict=True):
        assert np.std(laws) > 0.01
        test: Any = stats.ks_2samp(ours, laws)
        assert test.pvalue > 1e-3


def test_what_has_no_compiled_form_is_refused() -> None:
    lopsided = Ensemble(mlp(3, 1), Lopsided(), (4,), 2, 1)
    reason = unsupported(lopsided, Recipe())
    assert reason == "the prior test-lopsided has no compiled form"
    with pytest.raises(UsageError, match="has no compiled form"):
        CpuTrainer(lopsided, np.zeros((2, 4), np.float32), np.arange(2), Recipe())
    wide = Ensemble(mlp(8192, 2), priors.make("uniform"), (784,), 2, 1)
    assert "GB" in (unsupported(wide, Recipe()) or "")
    assert trainers._choose(lopsided, Recipe()) != "cpu"
    assert trainers.make("auto", small(), *task(), Recipe(epochs=0)).name == "cpu"


def test_machine_code_goes_stale_with_any_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest.trainer_digest()
    digest.trainer_digest.cache_clear()
    monkeypatch.setattr(digest, "source_digest", lambda: engine_digest.source_digest() ^ 1)
    assert digest.trainer_digest() != before
    digest.trainer_digest.cache_clear()


def test_no_draws_and_preparation() -> None:
    trainer = CpuTrainer(small(), *task(), RECIPES[0], threads=1)
    trainer.prepare()
    assert trainer.notice == ""
    result = trainer.train(np.empty(0, np.uint64))
    assert (result.weights.shape[0], len(result.epochs)) == (0, 0)
    trainer.close()


def test_the_published_recipe_learns() -> None:
    ensemble = Ensemble(lenet("1/6"), priors.make("kaiming-uniform"), (1, 28, 28), 2, 4)
    x, y = strokes(8), np.arange(8) % 2
    weights = CpuTrainer(ensemble, x, y, Recipe()).train(np.arange(16, dtype=np.uint64)).weights
    steps = ensemble.steps
    fits = [(law.forward(steps, w[0], x)[-1].argmax(1) == y).all() for w in weights]
    assert np.mean(fits) > 0.5
