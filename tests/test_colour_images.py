"""Engines and trainers on images of three channels, 3 x 32 x 32, against the law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from biasgpu import answers, engines, exact, lenet, mlp, paper_mlp, priors
from biasgpu.architectures import Architecture
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.ensemble import Ensemble
from biasgpu.sampling.screening import screen
from biasgpu.training import trainers
from biasgpu.training.recipe import Recipe
from tests.colour_images import pictures

SHAPE, N, N_DRAWS = (3, 32, 32), 6, 40
ARCHITECTURES: dict[str, Architecture] = {
    "lenet": lenet("1/6"),
    "lenet, one convolution": lenet("1/6", depth="1c-1f"),
    "lenet, one logit, biases": lenet("1/6", head="one-logit", bias="prior"),
    "paper-mlp": paper_mlp("1/6"),
    "paper-mlp, shallow": paper_mlp("1/6", depth=2),
    "mlp": mlp(7, 2),
}


def images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 `(n, 3, 32, 32)`, near those of CIFAR-10 in scale; labels in turn."""
    y = np.arange(n) % 2
    x = (pictures(y, 3).astype(np.float32) / np.float32(255) - np.float32(0.47)) / np.float32(0.25)
    return x, y


@pytest.mark.parametrize("prior", ["uniform", "kaiming-normal"])
@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_engines(name: str, engine: str, prior: str) -> None:
    x, y = images(N)
    ensemble = Ensemble(ARCHITECTURES[name], priors.make(prior), SHAPE, 2, seed=2**40 + 5)
    made = engines.make(engine, ensemble, x, y, threads=2)
    found, borderline = screen(made, 2**33, N_DRAWS, threads=2)
    made.close()
    expected = ReferenceEngine(ensemble, x, y).screen(2**33, N_DRAWS)
    assert found.tolist() == expected.tolist()
    # Most draws are told apart without the law.
    assert len(borderline) < N_DRAWS / 2


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_law_and_answers(name: str) -> None:
    x, _ = images(N)
    ensemble = Ensemble(ARCHITECTURES[name], priors.make("uniform"), SHAPE, 2, seed=3)
    draws = np.arange(19, dtype=np.uint64)
    logits = exact.logits(ensemble, draws, x, threads=2)
    expected = np.stack([ensemble.logits(draw, x) for draw in draws.tolist()])
    np.testing.assert_array_equal(logits.view(np.int64), expected.view(np.int64))
    swapped = np.arange(len(draws)) % 2
    found = answers.classify(ensemble, draws, swapped, x, threads=2)
    np.testing.assert_array_equal(found, answers._by_law(ensemble, draws, swapped, x, 2))


@pytest.mark.parametrize("name", ["lenet", "paper-mlp", "mlp"])
def test_method_deferred(name: str) -> None:
    x, y = images(N)
    prior = priors.make("kaiming-normal")
    ensemble = DeferredEnsemble(ARCHITECTURES[name], prior, SHAPE, 2, 4, x, x[:0])
    made = engines.make("cpu", ensemble, x, y, threads=2)
    found, _ = screen(made, 0, N_DRAWS, threads=2)
    made.close()
    assert found.tolist() == ReferenceEngine(ensemble, x, y).screen(0, N_DRAWS).tolist()


@pytest.mark.parametrize("trainer", ["cpu", "torch"])
@pytest.mark.parametrize("name", ["lenet", "paper-mlp"])
def test_trainers(name: str, trainer: str) -> None:
    x, y = images(4)
    ensemble = Ensemble(ARCHITECTURES[name], priors.make("kaiming-uniform"), SHAPE, 2, seed=6)
    recipe = Recipe(learning_rate=0.01, batch_size=2, epochs=2)
    draws = np.arange(5, dtype=np.uint64)
    results: list[Any] = []
    for one in ("reference", trainer):
        made = trainers.make(one, ensemble, x, y, recipe, gradient_norms=True, threads=2)
        results.append(made.train(draws))
        made.close()
    expected, found = results
    # Four steps of float32 beside float64. A step moves no weight by more than 0.1 here; its
    # gradient is good to 1e-4 of that (sums of some thousand terms, 1e3 * 2**-24).
    moved = np.abs(expected.weights[:, -1] - ensemble_weights(ensemble, draws)).max()
    assert moved > 1e-3
    assert np.abs(found.weights - expected.weights).max() <= 4 * 1e-4 * max(moved, 0.1)
    np.testing.assert_allclose(found.gradient_norms, expected.gradient_norms, rtol=1e-2)


def ensemble_weights(ensemble: Ensemble, draws: np.ndarray) -> np.ndarray:
    from biasgpu.packing import Packing

    packing = Packing(ensemble.steps)
    return np.stack([packing.pack(ensemble.parameters(draw)) for draw in draws.tolist()])
