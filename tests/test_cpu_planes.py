"""The compiled trainer of one network at a time: it follows the law, whatever the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biasgpu import priors
from biasgpu.architectures import Architecture, resnet4
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layers import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Scale,
    residual,
)
from biasgpu.packing import Packing
from biasgpu.training import law
from biasgpu.training.planes import digest, plan
from biasgpu.training.recipe import ALONG_GRADIENTS, Optimizer, Recipe
from biasgpu.training.trainers.cpu_planes import CpuPlanesTrainer, unsupported
from biasgpu.training.trainers.reference import ReferenceTrainer
from tests.strategies import Lopsided
from tests.test_train_batch_norm import MIXED

DRAWS = np.array([*range(6), 2**40, 2**60 + 1], np.uint64)
PERTURBED = 4
# Where the law, perturbed, rounds every weight once, a float32 program rounds some hundred products
# and sums (a channel's statistics, a kernel's taps), at random: their root is some ten. Six more,
# since the largest of a few perturbations is no bound.
SLACK = 64


def images(n: int, shape: tuple[int, ...], classes: int = 2) -> tuple[Any, Any]:
    x = np.random.default_rng(n).normal(size=(n, *shape)).astype(np.float32)
    return x, np.arange(n) % classes


def mixed(prior: str = "uniform", seed: int = 5) -> Ensemble:
    return Ensemble(MIXED, priors.make(prior), (1, 8, 8), 3, seed)


def train(
    ensemble: Ensemble, recipe: Recipe, draws: npt.NDArray, n: int = 7, **options: Any
) -> Any:
    """Trajectories of draws; untyped, since norms are there only on request."""
    x, y = images(n, ensemble.shape, ensemble.n_classes)
    trainer = CpuPlanesTrainer(ensemble, x, y, recipe, **options)
    result = trainer.train(draws)
    trainer.close()
    return result


def bits(x: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(x).view(np.int32)


def ends(
    ensemble: Ensemble, recipe: Recipe, draw: int, x: npt.NDArray, y: npt.NDArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where the law leads, and how far rounding may lead away from there, number by number."""
    steps, packing = ensemble.steps, Packing(ensemble.steps)
    rng = np.random.default_rng(draw)
    start = packing.pack(ensemble.parameters(draw)).astype(np.float64)
    found = []
    for time in range(PERTURBED + 1):
        flat, method = start, law.Optimizer(recipe, packing.n_parameters)
        for epoch in range(1, recipe.epochs + 1):
            for batch in law.batches(recipe, ensemble.seed, epoch, len(y)):
                if time:
                    flat = flat * (1.0 + 2.0**-24 * rng.choice([-1, 1], size=flat.shape))
                flat = law.learn(steps, flat, x[batch], y[batch], method)
        found.append(flat)
    deviation = np.abs(np.array(found[1:]) - found[0]).max()
    return found[0], SLACK * (deviation + 2.0**-24 * np.abs(found[0]))


def check(ensemble: Ensemble, recipe: Recipe, draws: Sequence[int], n: int) -> None:
    """Trained networks are where the law leads."""
    x, y = images(n, ensemble.shape, ensemble.n_classes)
    found = train(ensemble, recipe, np.array(draws, np.uint64), n, threads=1).weights[:, -1]
    for row, draw in enumerate(draws):
        right, slack = ends(ensemble, recipe, draw, x, y)
        assert np.isfinite(right).all() and slack.max() < 0.02
        assert (np.abs(found[row] - right) <= slack).all(), np.max(
            np.abs(found[row] - right) / slack
        )


# --- the law -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ALONG_GRADIENTS)
@pytest.mark.parametrize("batch_size", [2, 5, 9])
def test_follows_the_law(optimizer: Optimizer, batch_size: int) -> None:
    check(mixed(), Recipe(optimizer, 0.02, batch_size, 2), [0, 2**33], 7)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize(("width", "depth"), [("1/6", 4), ("3/6", 3), ("2/6", 2)])
def test_the_published_networks(shape: tuple[int, ...], width: str, depth: int) -> None:
    ensemble = Ensemble(resnet4(width, depth), priors.make("kaiming-uniform"), shape, 2, seed=depth)
    check(ensemble, Recipe(batch_size=1 if depth < 4 else 2, epochs=1), [3], 3)


@st.composite
def layer_lists(draw: st.DrawFn) -> list[Layer]:
    """Kernels and paddings of all kinds, pools that leave a rest, blocks that change the grid."""
    layers: list[Layer] = []
    side, channels = 9, 1
    for _ in range(draw(st.integers(1, 3))):
        kernel, units = draw(st.integers(1, min(side, 4))), draw(st.integers(1, 6))
        padding = draw(st.integers(0, kernel))  # beyond kernel - 1 some outputs see no image
        if side + 2 * padding - kernel + 1 > 11:
            padding = 0
        channels, side = units, side + 2 * padding - kernel + 1
        layers.append(
            Conv2d(units, draw(st.sampled_from(["none", "prior"])), kernel=kernel, padding=padding)
        )
        if side > 1 and draw(st.booleans()):
            layers.append(BatchNorm2d())
        if draw(st.booleans()):
            layers.append(ReLU())
        size = draw(st.integers(1, 3))
        if size > 1 and side // size:
            layers.append(MaxPool2d(size))
            side //= size
        if draw(st.booleans()):
            inner = [Conv2d(channels, kernel=3, padding=1), ReLU()]
            if side > 3 and side % 2 == 0:  # smaller inside, and back by padding
                inner = [MaxPool2d(2), Conv2d(channels, kernel=1, padding=side // 4)]
                if side // 2 + 2 * (side // 4) != side:
                    inner = [Scale(0.5)]
            layers += residual(*inner)
    layers.append(Flatten())
    if draw(st.booleans()):
        layers += residual(Scale(-0.5), ReLU())
    if draw(st.booleans()):
        layers += [Dense(draw(st.integers(1, 20)), "none"), ReLU()]
    return layers


@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(layer_lists(), st.integers(2, 5), st.integers(2, 3), st.booleans())
def test_steps_on_anything(layers: list[Layer], n: int, classes: int, one: bool) -> None:
    head = "one-logit" if one and classes == 2 else "logits"
    architecture = Architecture("any", layers, head=head)
    ensemble = Ensemble(architecture, priors.make("uniform:0.7"), (1, 9, 9), classes, seed=n)
    check(ensemble, Recipe("sgd", 0.05, max(2, n - 1) if n != 3 else 3, epochs=1), [n], n)


def test_flat_inputs_and_one_logit() -> None:
    layers = [*residual(Scale(0.5)), Dense(18, "none"), ReLU(), MaxPool2d(2, images_only=True)]
    architecture = Architecture("flat", layers, head="one-logit")
    ensemble = Ensemble(architecture, priors.make("kaiming-normal"), (21,), 2, 3)
    check(ensemble, Recipe("momentum", 0.05, 2, 3), [0, 1], 5)


@pytest.mark.parametrize("shape", [(2, 5, 37), (1, 4, 67)])
def test_rows_longer_than_two_vectors(shape: tuple[int, ...]) -> None:
    layers = [Conv2d(3, "none", kernel=3, padding=1), *residual(BatchNorm2d()), MaxPool2d(2)]
    layers += [Conv2d(2, kernel=2, padding=1), ReLU(), Flatten()]
    ensemble = Ensemble(Architecture("long", layers), priors.make("uniform"), shape, 2, 3)
    check(ensemble, Recipe(learning_rate=0.02, epochs=2), [0], 4)


@pytest.mark.parametrize("size", [2, 3])
def test_a_tied_window_gives_all_to_its_first_element(size: int) -> None:
    """Constant windows tie exactly; rows and columns differ outside of each."""
    layers = [Conv2d(2, "none", kernel=1), MaxPool2d(size), Conv2d(2, kernel=1), Flatten()]
    ensemble = Ensemble(Architecture("ties", layers), priors.make("uniform"), (1, 6, 6), 2, 1)
    inner = np.arange(18.0).reshape(2, 1, 3, 3) % 5 + 1
    x = np.kron(inner, np.ones((2, 2))).astype(np.float32)
    x[:, :, ::2, 1::2] += np.float32(0.25)  # two of each window are the largest
    x[:, :, 1::2, ::2] += np.float32(0.25)
    y, recipe = np.array([0, 1]), Recipe(learning_rate=0.05, epochs=3)
    draws = np.arange(6, dtype=np.uint64)
    found = CpuPlanesTrainer(ensemble, x, y, recipe, threads=1).train(draws).weights
    right = ReferenceTrainer(ensemble, x, y, recipe).train(draws).weights
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)


def test_stopping_early_and_gradient_norms_are_the_laws() -> None:
    recipe = Recipe("sgd", 0.02, 2, 8, keep_epochs=(0, 3), stop_early=True)
    ensemble = mixed()
    x, y = images(6, (1, 8, 8), 3)
    found = train(ensemble, recipe, DRAWS, 6, gradient_norms=True)
    right = ReferenceTrainer(ensemble, x, y, recipe, gradient_norms=True).train(DRAWS)
    assert found.epochs.tolist() == right.epochs.tolist()
    assert len({*right.epochs.tolist()}) > 1
    # Two dozen steps amplify rounding by some hundred.
    np.testing.assert_allclose(found.weights, right.weights, atol=2e-4)
    assert right.gradient_norms is not None
    np.testing.assert_allclose(found.gradient_norms, right.gradient_norms, rtol=2e-3)
    for row in range(3):  # and the weights are those of as many epochs without stopping
        plain = train(
            ensemble,
            replace(recipe, epochs=int(found.epochs[row]), keep_epochs=(), stop_early=False),
            DRAWS[row : row + 1],
            6,
        )
        assert (bits(plain.weights[0, 0]) == bits(found.weights[row, 2])).all()


# --- a network is its name ---------------------------------------------------------------------

RECIPES = [
    Recipe(learning_rate=0.05, epochs=4, keep_epochs=(0, 2)),
    Recipe("momentum", learning_rate=0.02, batch_size=3, epochs=3, keep_epochs=(1,)),
    Recipe("adam", learning_rate=0.01, batch_size=99, epochs=5, stop_early=True),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=[r.optimizer for r in RECIPES])
def test_company_threads_and_norms_change_nothing(recipe: Recipe) -> None:
    whole = train(mixed(), recipe, DRAWS, 8, threads=1, gradient_norms=True)
    order = np.random.default_rng(0).permutation(len(DRAWS))
    shuffled = train(mixed(), recipe, DRAWS[order], 8, threads=3, gradient_norms=True)
    assert (bits(shuffled.weights) == bits(whole.weights[order])).all()
    assert (shuffled.epochs == whole.epochs[order]).all()
    np.testing.assert_array_equal(shuffled.gradient_norms, whole.gradient_norms[order])
    plain = train(mixed(), recipe, DRAWS[4:5], 8)
    assert (bits(plain.weights) == bits(whole.weights[4:5])).all()
    assert plain.gradient_norms is None


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_what_is_kept_is_what_shorter_training_ends_with(epochs: int) -> None:
    recipe = replace(RECIPES[0], epochs=5, keep_epochs=(0, 1, 3))
    long = train(mixed(), recipe, DRAWS[:3])
    short = train(mixed(), replace(recipe, epochs=epochs, keep_epochs=()), DRAWS[:3])
    assert (short.weights[:, 0] == long.weights[:, recipe.kept.index(epochs)]).all()
    assert short.epochs.tolist() == [epochs] * 3


def test_a_network_that_diverges_disturbs_no_other() -> None:
    layers = [BatchNorm2d(), Flatten(), Dense(4, "none"), Scale(8e36)]
    # The logits' parts are about the largest float32 number.
    ensemble = Ensemble(Architecture("huge", layers), priors.make("normal"), (1, 8, 8), 3, 2)
    recipe = Recipe(learning_rate=1e-38, epochs=2)
    weights = train(ensemble, recipe, DRAWS, 8, threads=1).weights[:, -1]
    finite = np.isfinite(weights).all(axis=1)
    assert 0 < finite.sum() < len(DRAWS), finite
    alone = train(ensemble, recipe, DRAWS[finite], 8, threads=1).weights[:, -1]
    assert (bits(alone) == bits(weights[finite])).all()


def test_gives_up_where_the_flag_is_raised() -> None:
    x, y = images(8, (1, 8, 8), 3)
    trainer = CpuPlanesTrainer(mixed(), x, y, RECIPES[0], threads=1)
    space = trainer._space()
    space.names[STOP] = 1
    kept = np.full((1, 3, len(trainer.plan.places.order)), 7, np.float32)
    trainer._run(space, DRAWS[:1], kept, np.zeros(1, np.int64), np.empty((1, 0)))
    assert (kept[0, 0] != 7).any() and (kept[0, 1:] == 7).all()  # the initialisation, and no more


# --- what it takes -----------------------------------------------------------------------------


def test_what_has_no_compiled_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lopsided = Ensemble(MIXED, Lopsided(), (1, 8, 8), 3, 1)
    assert "the prior test-lopsided has no compiled form" in str(unsupported(lopsided, Recipe()))
    with pytest.raises(UsageError, match="has no compiled form"):
        CpuPlanesTrainer(lopsided, *images(4, (1, 8, 8)), Recipe())
    assert "pattern-search" in str(unsupported(mixed(), Recipe("pattern-search")))
    assert unsupported(mixed(), Recipe()) is None
    monkeypatch.setattr(plan, "MAX_BYTES", 1 << 20)
    assert unsupported(mixed(), Recipe(), 4) is None
    assert "GB" in str(unsupported(mixed(), Recipe(), 4000))


def test_machine_code_goes_stale_with_any_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before, other = digest.planes_digest(), digest.trainer_digest() ^ 1
    monkeypatch.setattr(digest, "trainer_digest", lambda: other)
    assert digest.planes_digest.__wrapped__() != before


def test_no_draws_and_preparation() -> None:
    x, y = images(8, (1, 8, 8), 3)
    trainer = CpuPlanesTrainer(mixed(), x, y, RECIPES[0], threads=1)
    trainer.prepare()
    assert trainer.notice == "" and trainer.granularity == 1
    assert len(trainer.train(np.empty(0, np.uint64)).epochs) == 0
