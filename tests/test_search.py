"""Searches: what they propose, their law, and engines that decide as the law does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import kstest

import biasgpu
from biasgpu import priors, rng
from biasgpu.architectures import Architecture
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.measures.columns import weight_normalized_loss_at, weight_scale
from biasgpu.normal import normal
from biasgpu.packing import Packing
from biasgpu.training import law, search, trainers
from biasgpu.training.recipe import SEARCHES, Optimizer, Recipe
from biasgpu.training.search_law import Search, search_loss

LAYERS = [Conv2d(3, kernel=3), ReLU(), MaxPool2d(2), Flatten(), Dense(5), ReLU()]
DRAWS = np.array([*range(18), 2**40, 2**60 + 1], np.uint64)  # two tiles of lanes, one in part
ENGINES = ("cpu", "torch")


def ensemble(head: Any = "logits", init: str = "uniform") -> Ensemble:
    return Ensemble(Architecture("small", LAYERS, head), priors.make(init), (1, 8, 8), 2, 2**63 + 5)


def task(n: int = 6) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    x = np.random.default_rng(3).normal(size=(n, 1, 8, 8)).astype(np.float32)
    return x, np.arange(n) % 2


def recipe(optimizer: Optimizer, **options: Any) -> Recipe:
    settings: dict[str, Any] = {"learning_rate": 0.7, "epochs": 4, "proposals": 15, "tries": 5}
    return Recipe(optimizer, **{**settings, "keep_epochs": (0, 2), **options})


def train(engine: str, of: Ensemble, how: Recipe, draws: npt.NDArray = DRAWS, n: int = 6) -> Any:
    x, y = task(n)
    trainer = trainers.make(engine, of, x, y, how, threads=1)
    found = trainer.train(draws)
    trainer.close()
    return found


def lawful(of: Ensemble, how: Recipe, draw: int) -> Search:
    flat = Packing(of.steps).pack(of.parameters(draw))
    return Search(how, of.seed, draw, of.steps, *task(), flat)


def test_proposals_are_philox_words_of_their_own_streams() -> None:
    seed, draw, number, n = 2**63 + 5, 2**40 + 3, 7, 1000
    draws = np.array([draw], np.uint64)
    words = rng.words(seed, draw, np.arange(250), stream=0x80000007).ravel()
    place, sign = search.parameter_and_sign(seed, draws, number, n)
    assert place[0] == int(words[0]) * n >> 32
    assert sign[0] == (-1.0 if words[1] >> 31 else 1.0)
    noise = search.directions(seed, draws, number, n)
    assert noise.dtype == np.float32
    assert (noise[0] == normal(words).astype(np.float32)).all()
    streams = [value for name, value in vars(rng).items() if name.startswith("STREAM_")]
    # All others, with a layer's number added, lie below the streams of searches.
    assert sorted(streams)[-1] == rng.STREAM_SEARCH == 2**31
    assert sorted(streams)[-2] + 2**20 < 2**31


def test_every_parameter_and_sign_is_as_likely() -> None:
    n, numbers = 10, 4000
    found = [
        search.parameter_and_sign(1, np.arange(1, dtype=np.uint64), k, n) for k in range(numbers)
    ]
    cells = np.array([2 * place[0] + (sign[0] > 0) for place, sign in found])
    counts = np.bincount(cells, minlength=2 * n)
    # Chi-squared with 19 degrees of freedom: beyond 60 with probability 4e-6; the seed is fixed.
    assert ((counts - numbers / 20) ** 2).sum() / (numbers / 20) < 60
    noise = search.directions(1, np.arange(3, dtype=np.uint64), 2, 3001).ravel()
    assert kstest(noise, "norm").pvalue > 1e-6


def test_the_loss_is_the_weight_normalised_one() -> None:
    of = ensemble()
    x, y = task()
    flat = Packing(of.steps).pack(of.parameters(3))
    norms: npt.NDArray[np.float64] = np.array(
        [[float(np.linalg.norm(w[0].astype(float))) for w in of.parameters(3) if w is not None]]
    )
    logits = law.forward(of.steps, flat.astype(np.float64), x)[-1]
    expected = weight_normalized_loss_at(logits[None], y, norms, len(y))[0]
    assert math.isclose(search_loss(of.steps, flat, x, y), expected, rel_tol=1e-12)
    scaled = flat.copy()
    layer = Packing(of.steps).offsets[0]
    assert layer is not None
    scaled[: layer[1]] *= 4  # one layer's weights, biases being 0: the same function but for scale
    assert math.isclose(search_loss(of.steps, scaled, x, y), expected, rel_tol=1e-12)
    assert search_loss(of.steps, np.zeros_like(flat), x, y) == math.inf
    assert weight_scale(norms).shape == (1,)


@pytest.mark.parametrize("optimizer", SEARCHES)
def test_the_law_keeps_what_lowers_the_loss_and_halves_its_step(optimizer: Optimizer) -> None:
    one = lawful(ensemble(), recipe(optimizer, tries=3), 4)
    x, y = task()
    steps, run = [float(one.step)], 0
    for number in range(1, 61):
        before, loss = one.flat.copy(), one.loss
        changed = one.propose()
        moved = np.flatnonzero(changed != before)
        assert len(moved) == (1 if optimizer == "pattern-search" else len(before))
        if optimizer == "pattern-search":
            assert abs(changed[moved[0]] - before[moved[0]]) == pytest.approx(one.step, rel=1e-5)
        kept = one.advance()
        assert one.n_proposals == number
        assert kept == (search_loss(one.steps, changed, x, y) < loss)
        assert (one.flat == (changed if kept else before)).all()
        run = 0 if kept else run + 1
        steps.append(steps[-1] / 2 if run == 3 else steps[-1])
        run %= 3
        assert float(one.step) == steps[-1]
    assert steps[-1] < steps[0]
    assert one.loss < lawful(ensemble(), recipe(optimizer), 4).loss


def loss_error(of: Ensemble, flat: npt.NDArray[np.float32]) -> float:
    """A bound of how far float32 logits can move the loss.

    A layer with n inputs a unit rounds each term of a sum n + 1 times at most, so that all layers
    together are off by less than the sum of their n + 2, times 2^-24, of what comes out where every
    weight and every input has its magnitude. A loss changes by at most twice what its logits do.
    """
    magnitudes = law.forward(of.steps, np.abs(flat).astype(float), np.abs(task()[0]))[-1].max()
    roundings = sum(step.fan_in + 2 for step in of.steps if step.linear)
    layers = [pair for pair in Packing(of.steps).unpack(flat.astype(float)) if pair is not None]
    scale = math.prod(float(np.linalg.norm(weight)) / 3 for weight, _ in layers)
    return 2 * roundings * 2.0**-24 * float(magnitudes) / scale


def is_clear(of: Ensemble, how: Recipe, draw: int) -> bool:
    """Whether no decision of a network is one that rounding might turn round."""
    one = lawful(of, how, draw)
    for _ in range(how.epochs * how.n_proposals):
        changed, before, loss = one.propose(), one.flat, one.loss
        one.advance()
        found = search_loss(of.steps, changed, *task())
        if abs(found - loss) <= loss_error(of, changed) + loss_error(of, before):
            return False
    return True


@pytest.mark.parametrize("head", ["logits", "one-logit"])
@pytest.mark.parametrize("optimizer", SEARCHES)
def test_engines_take_the_same_path_while_decisions_are_clear(
    optimizer: Optimizer, head: str
) -> None:
    of, how = ensemble(head), recipe(optimizer, epochs=3, proposals=8, tries=4)
    clear = np.array([is_clear(of, how, draw) for draw in DRAWS.tolist()])
    assert clear.sum() >= 3
    expected = train("reference", of, how).weights[clear]
    assert (expected[:, 0] != expected[:, -1]).any(axis=1).all()
    for engine in ENGINES:
        assert (train(engine, of, how).weights[clear] == expected).all()


@pytest.mark.parametrize("optimizer", SEARCHES)
def test_networks_do_not_depend_on_those_beside_them(optimizer: Optimizer) -> None:
    of, how = ensemble(), recipe(optimizer, stop_early=True, epochs=8)
    whole = train("cpu", of, how)
    assert len(set(whole.epochs.tolist())) > 2
    for some in (slice(3, 4), slice(16, 20)):
        alone = train("cpu", of, how, DRAWS[some])
        assert (alone.weights == whole.weights[some]).all()
        assert (alone.epochs == whole.epochs[some]).all()
    backwards = train("cpu", of, how, DRAWS[::-1])
    assert (backwards.weights[::-1] == whole.weights).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", SEARCHES)
def test_epochs_are_kept_and_early_stops_are_prefixes(optimizer: Optimizer, engine: str) -> None:
    of, x, y = ensemble(), *task()
    how = recipe(optimizer, epochs=8, keep_epochs=tuple(range(8)))
    whole = train(engine, of, how)
    start = np.stack([Packing(of.steps).pack(of.parameters(int(d))) for d in DRAWS])
    assert (whole.weights[:, 0] == start).all() and (whole.epochs == 8).all()
    stopped = train(engine, of, replace(how, stop_early=True))
    for row, epochs in enumerate(stopped.epochs.tolist()):
        fits = [
            bool((law.forward(of.steps, flat.astype(float), x)[-1].argmax(axis=1) == y).all())
            for flat in whole.weights[row]
        ]
        assert epochs == next((k for k in range(1, 9) if fits[k]), 8)
        assert (stopped.weights[row, : epochs + 1] == whole.weights[row, : epochs + 1]).all()
        assert (stopped.weights[row, epochs:] == whole.weights[row, epochs]).all()


def test_many_samples_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from biasgpu.training.cpu import plan

    of, how = ensemble(), recipe("greedy-random")
    whole = train("cpu", of, how, n=9)
    monkeypatch.setattr(plan, "SAMPLES_BYTES", 1)
    parts = train("cpu", of, how, n=9)
    assert (whole.weights == parts.weights).all()  # a sample's logits do not depend on others


def test_both_ways_reach_zero_training_error_on_digits() -> None:
    digits = biasgpu.task("mnist", n_train=8)
    for optimizer in SEARCHES:
        found = biasgpu.train(
            digits, biasgpu.lenet("1/6"), "kaiming-uniform", networks=32, optimizer=optimizer,
            epochs=30, stop_early=True, engine="cpu", threads=1,
        )  # fmt: skip
        assert found.recipe.batch_size == 8 and found.recipe.learning_rate == 1.0
        assert found.n_fits >= 24  # 31 and 32 of 32 when it was written: seeds are fixed
        assert found.fits.epochs is not None and found.fits.epochs.max() < 30
        resumed = biasgpu.training.Recipe.from_config(found.recipe.to_config())
        assert resumed == found.recipe


def test_accuracies_are_those_of_the_law() -> None:
    """Engines that part from the law at some decision find networks of the same kind.

    The two-sample test rejects equal distributions with probability 1e-4, seeds being fixed.
    """
    from scipy.stats import ks_2samp

    kink = biasgpu.task("kink", n_train=6)
    accuracies = [
        biasgpu.train(
            kink, biasgpu.mlp(6, 1), "uniform", networks=60, optimizer="greedy-random", epochs=2,
            proposals=20, engine=engine, first_index=first,
        ).test_accuracy
        for engine, first in (("reference", 0), ("cpu", 1000), ("torch", 2000))
    ]  # fmt: skip
    assert min(map(len, accuracies)) > 20
    for other in accuracies[1:]:
        test: Any = ks_2samp(accuracies[0], other)
        assert test.pvalue > 1e-4


def test_what_is_refused() -> None:
    digits = biasgpu.task("kink", n_train=4)
    common: dict[str, Any] = {"networks": 1, "engine": "reference"}
    for options, text in (
        ({"optimizer": "sgd", "tries": 3}, "only searches"),
        ({"optimizer": "adam", "proposals": 3}, "only searches"),
        ({"optimizer": "pattern-search", "batch_size": 2}, "whole training set"),
        ({"optimizer": "greedy-random", "gradient_norms": True}, "no gradient"),
        ({"optimizer": "greedy-random", "proposals": 0}, "proposals"),
        ({"optimizer": "greedy-random", "epochs": 10**6, "proposals": 10**4}, "random words"),
    ):
        with pytest.raises(UsageError) as caught:
            biasgpu.train(digits, biasgpu.mlp(4, 1), **{**common, **options})
        assert text in f"{caught.value.what} {caught.value.why}"
    with pytest.raises(UsageError, match="gradient_norms"):
        biasgpu.Study(optimizer="pattern-search", gradient_norms=True)


def test_recipes_of_other_optimizers_are_written_as_before() -> None:
    assert set(Recipe().to_config()) == {
        *("optimizer", "learning_rate", "batch_size", "epochs", "keep_epochs", "stop_early")
    }
    assert Recipe.from_config(Recipe().to_config()) == Recipe()
    found = Recipe("pattern-search")
    assert (found.proposals, found.tries) == (100, 100)
    assert Recipe.from_config(found.to_config()) == found
