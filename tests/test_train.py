"""`biasgpu.train` in memory: which networks it keeps, and what it says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import biasgpu
from biasgpu import lenet, mlp, priors
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.estimates import clopper_pearson
from biasgpu.packing import Packing
from biasgpu.training import trainers
from biasgpu.training.recipe import Recipe
from biasgpu.training.trained import Trained
from biasgpu.training.trainers.base import Trajectories
from biasgpu.training.trainers.reference import ReferenceTrainer
from tests.train_cases import ARCHITECTURE, assert_same, assert_same_fits, make_task, train


@pytest.fixture(scope="module")
def whole() -> Trained:
    return train()


def test_kept_are_those_without_training_error(whole: Trained) -> None:
    task = whole.task
    ensemble = Ensemble(ARCHITECTURE, priors.make("kaiming-uniform"), task.shape, 2, 3)
    recipe = Recipe(learning_rate=0.1, epochs=4, keep_epochs=(0, 2))
    trainer = ReferenceTrainer(ensemble, task.x_train, task.y_train, recipe, gradient_norms=True)
    found = trainer.train(np.arange(24, dtype=np.uint64))
    counts, kept = np.zeros(task.n_train + 1, int), []
    for draw in range(24):
        values = task.x_train.astype(np.float64)
        for pair in Packing(ensemble.steps).unpack(found.weights[draw, -1].astype(np.float64)):
            if pair is not None:
                values = values @ pair[0].T + pair[1]
                values = np.maximum(values, 0.0) if len(pair[1]) != 2 else values
        right = (values[:, 1] > values[:, 0]) == (task.y_train == 1)
        prefix = len(right) if right.all() else int(np.argmin(right))
        counts[prefix] += 1
        kept += [draw] * bool(right.all())
    assert 2 < len(kept) < 22  # both kinds are there
    assert whole.prefix_counts.tolist() == counts.tolist()
    assert whole.fits.index.tolist() == [2 * draw for draw in kept]
    np.testing.assert_array_equal(whole.fits.weights, found.weights[kept])
    assert found.gradient_norms is not None
    np.testing.assert_array_equal(whole.gradient_norms, found.gradient_norms[kept])
    assert (whole.n_networks, whole.n_fits, len(whole)) == (24, len(kept), len(kept))
    assert whole.success_rate == len(kept) / 24
    assert whole.success_rate_interval == clopper_pearson(len(kept), 24)


def test_a_trained_network(whole: Trained) -> None:
    import torch

    network, task = whole[-1], whole.task
    margin = network.logits(task.x_train)[np.arange(6), task.y_train]
    margin = margin - network.logits(task.x_train)[np.arange(6), 1 - task.y_train]
    assert whole.fits.margin[-1] == margin.min() > 0
    accuracy = (network.predict(task.x_test) == task.y_test).mean()
    assert whole.test_accuracy[-1] == pytest.approx(accuracy, abs=1e-12)
    assert network.initial.index == network.index == whole.fits.index[-1]
    flat = whole.parameters(len(whole) - 1, len(whole))[0]
    begun = whole.at_epoch(0).flat[-1]
    assert (flat != begun).any()
    for name, array in network.initial.weights().items():
        assert np.isin(array, begun).all(), name
    assert sorted(network.weights()) == sorted(network.initial.weights())
    with torch.no_grad():
        found = network.module(torch.float64)(torch.tensor(task.x_test, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), network.logits(task.x_test), rtol=1e-12, atol=1e-12)
    assert [one.index for one in whole] == whole.fits.index.tolist()
    assert whole.network(network.index).index == network.index
    with pytest.raises(UsageError, match="none of the"):
        whole.network(network.index + 2)


def test_epochs(whole: Trained) -> None:
    assert whole.fits.weights is not None
    np.testing.assert_array_equal(whole.at_epoch(2).flat, whole.fits.weights[:, 1])
    np.testing.assert_array_equal(whole.at_epoch(4).flat, whole.parameters(0, len(whole)))
    without = train(keep_epochs=())
    # The initialisations need not be kept to be known.
    np.testing.assert_array_equal(without.at_epoch(0).flat, whole.at_epoch(0).flat)
    with pytest.raises(UsageError, match="no weights were kept after epoch 2"):
        without.at_epoch(2)


@pytest.mark.parametrize("size", [1, 5, 100])
def test_batches_change_nothing(whole: Trained, size: int) -> None:
    assert_same(train(batch_networks=size), whole)


def test_a_stream_begins_where_it_is_told(whole: Trained) -> None:
    later = train(first_index=20, networks=14)
    rows = whole.fits.index >= 20
    assert_same_fits(later.fits, whole.fits.take(rows))
    with pytest.raises(UsageError, match="first_index=20"):
        train(first_index=21)


def test_stops_at_the_fit_asked_for(whole: Trained) -> None:
    for size in (None, 7):
        found = train(fits=3, batch_networks=size)
        assert (found.n_fits, found.stop_reason, found.stopped_by) == (3, "fits", "fits")
        last = int(whole.fits.index[2]) // 2
        assert found.n_networks == last + 1
        assert found.success_rate == 2 / last
        assert_same_fits(found.fits, whole.fits.take(slice(0, 3)))
    both = train(fits=100, networks=5)
    assert (both.stop_reason, both.n_networks, both.stopped_by) == ("networks", 5, "candidates")


def test_time_is_a_rule() -> None:
    found = train(time_s=0.2, networks=10**9)
    assert found.stop_reason == "time"
    assert found.n_networks > 0


def test_early_stopping() -> None:
    found = train(stop_early=True, epochs=30)
    assert found.fits.epochs is not None and found.gradient_norms is not None
    assert found.fits.epochs.min() < 30
    for row, epochs in enumerate(found.fits.epochs.tolist()):
        assert np.isfinite(found.gradient_norms[row, : epochs + 1]).all()
        assert np.isnan(found.gradient_norms[row, epochs + 1 :]).all()


@pytest.mark.parametrize(
    ("task", "architecture"),
    [
        (make_task(), mlp(4, 1, head="one-logit", bias="prior")),
        (make_task(n_classes=3), mlp(6, 1)),
        (make_task(n_test=0), mlp(4, 1)),
    ],
)
def test_heads_and_classes(task: Any, architecture: Any) -> None:
    found = train(task=task, architecture=architecture, epochs=40, networks=12)
    assert len(found)
    for row, network in enumerate(found):
        assert (network.predict(task.x_train) == task.y_train).all()
        assert network.arrangement == 0
        if task.n_test:
            per_class = found.fits.test_accuracy_per_class[row]
            right = network.predict(task.x_test) == task.y_test
            means = [right[task.y_test == label].mean() for label in range(task.n_classes)]
            np.testing.assert_allclose(per_class, means, atol=1e-12)
    assert np.isnan(found.test_accuracy).all() == (task.n_test == 0)


class Diverging(ReferenceTrainer):
    """Every third network ends with weights that are not numbers, every fifth infinite ones."""

    def train(self, draws: Any) -> Trajectories:
        found = super().train(draws)
        found.weights[draws % np.uint64(3) == 0, -1] = np.nan
        found.weights[draws % np.uint64(5) == 0, -1] = np.inf
        return found


def test_diverged_networks_are_counted(whole: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, *args: Any, gradient_norms: bool, **_: Any) -> Diverging:
        return Diverging(*args, gradient_norms=gradient_norms)

    monkeypatch.setattr(trainers, "make", make)
    found = train()
    bad = {draw for draw in range(24) if draw % 3 == 0 or draw % 5 == 0}
    assert found.n_diverged == len(bad)
    left = [index for index in whole.fits.index.tolist() if index // 2 not in bad]
    assert found.fits.index.tolist() == left
    assert found.prefix_counts.sum() == 24
    assert found.prefix_counts[0] >= len(bad)


def test_recipes_by_default() -> None:
    task = biasgpu.task("mnist", n_train=4)
    none = {"networks": 1, "epochs": 0, "engine": "reference"}
    small = lenet(width="1/6")
    recipe = biasgpu.train(task, small, **none).recipe
    assert recipe == Recipe("sgd", 0.01, 2, 0)
    assert biasgpu.train(task, small, "uniform", **none).recipe.learning_rate == 0.001
    full = biasgpu.train(task, small, optimizer="gd", **none).recipe
    assert (full.optimizer, full.batch_size) == ("sgd", 4)
    assert biasgpu.train(task, small, learning_rate=1.5, **none).recipe.learning_rate == 1.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"networks": None}, "no stopping rule"),
        ({"networks": 0}, "networks is 0"),
        ({"fits": -1}, "fits is -1"),
        ({"optimizer": "sdg"}, "Did you mean 'sgd'"),
        ({"optimizer": "gd", "batch_size": 2}, "batch_size is 2 with optimizer 'gd'"),
        ({"epochs": -1}, "epochs is -1"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"confidence": 1}, "confidence is 1"),
        ({"batch_networks": 0}, "1 or more"),
        ({"architecture": mlp("inf", 1)}, "infinitely wide"),
        ({"engine": "gpu"}, "engine"),
        ({"seed": -1}, "seed is -1"),
        ({"networks": 2**64}, "networks is 18446744073709551616"),
    ],
)
def test_refusals(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        train(**options)
    assert caught.value.why and caught.value.fix


def test_no_other_n(whole: Trained) -> None:
    with pytest.raises(UsageError, match="trained on 6"):
        whole.estimate(4)
    assert whole.estimate(6) == whole.estimate()
    assert whole.summary()["success_rate"] == whole.success_rate
