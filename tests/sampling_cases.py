"""Small tasks and networks to sample, and what brute force says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from biasgpu import mlp
from biasgpu.architectures import Architecture
from biasgpu.decision import all_prefixes
from biasgpu.fits import Fits
from biasgpu.run import Run
from biasgpu.sampling import sample
from biasgpu.task import Task

COLUMNS = (
    "index",
    "prefix",
    "margin",
    "test_accuracy",
    "test_accuracy_per_class",
    "test_predictions",
)


def make_task(
    n_train: int = 6, features: int = 3, n_classes: int = 2, n_test: int = 9, seed: int = 1
) -> Task:
    rng = np.random.default_rng(seed)
    return Task(
        name="points",
        x_train=rng.normal(size=(n_train, features)).astype(np.float32),
        y_train=np.arange(n_train) % n_classes,
        x_test=rng.normal(size=(n_test, features)).astype(np.float32),
        y_test=np.arange(n_test) % n_classes,
        class_names=tuple("abc"[:n_classes]),
    )


@dataclass(frozen=True)
class Case:
    task: Task
    architecture: Architecture
    prior: str
    method: str = "direct"


CASES = {
    "two logits": Case(make_task(), mlp(4, 1), "kaiming-normal"),
    "one logit": Case(make_task(), mlp(4, 1, head="one-logit", bias="prior"), "uniform"),
    "three classes": Case(make_task(n_train=6, n_classes=3), mlp(5, 1), "kaiming-uniform"),
    "n_train 2": Case(make_task(n_train=2), mlp(3, 1), "uniform:0.2"),
    "one feature": Case(make_task(n_train=4, features=1), mlp(4, 1, bias="prior"), "uniform"),
    "dead networks": Case(make_task(n_train=4), mlp(1, 3), "uniform8"),
    "linear": Case(make_task(), mlp(depth=0), "normal"),
    "deferred": Case(make_task(), mlp(9, 2), "kaiming-normal", "deferred"),
    "deferred, one logit": Case(
        make_task(), mlp(4, 1, head="one-logit", bias="prior"), "normal", "deferred"
    ),
    "deferred, three classes": Case(
        make_task(n_train=6, n_classes=3), mlp(5, 1), "kaiming-normal", "deferred"
    ),
    "infinite width": Case(make_task(), mlp("inf", 2), "kaiming-normal", "deferred"),
}


def brute_force(case: Case, n_draws: int, curve_fits: int) -> tuple[list[int], list[int]]:
    """Exact prefix counts, and the indices kept, by trying every arrangement of every draw."""
    task = case.task
    k, n_train = task.n_classes, task.n_train
    ensemble = sample_ensemble(case)
    counts, kept = [0] * (n_train + 1), []
    seen = {n: 0 for n in range(k, n_train, k)}
    for draw in range(n_draws):
        prefixes = all_prefixes(
            ensemble.logits(draw, task.x_train), task.y_train, ensemble.n_arrangements
        )
        best = int(prefixes.max())
        counts[best] += 1
        keep = best == n_train
        for n in seen:
            if best >= n:
                keep = keep or seen[n] < curve_fits
                seen[n] += 1
        if keep:
            assert (prefixes == best).sum() == 1
            kept.append(ensemble.n_arrangements * draw + int(prefixes.argmax()))
    return counts, kept


def sample_ensemble(case: Case) -> Any:
    from biasgpu import methods, priors

    prior = priors.make(case.prior)
    return methods.ensemble(case.method, case.task, case.architecture, prior, seed=7)


def draws_of(case: Case, n_draws: int, **options: Any) -> Run:
    options = {"engine": "reference", "seed": 7, "curve_fits": 5, "method": case.method, **options}
    n = sample_ensemble(case).n_arrangements
    return sample(case.task, case.architecture, case.prior, candidates=n * n_draws, **options)


def assert_same_fits(left: Fits, right: Fits) -> None:
    for name in COLUMNS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)


def assert_same(left: Run, right: Run) -> None:
    """Equal in everything but how long it took, and by what."""
    assert left.n_draws == right.n_draws
    assert left.prefix_counts.tolist() == right.prefix_counts.tolist()
    assert_same_fits(left.fits, right.fits)
    assert (left.stop_reason, left.complete) == (right.stop_reason, right.complete)
    assert left.config == right.config
