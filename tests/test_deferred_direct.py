"""Method "deferred" against method "direct": the same law, from other random numbers.

Seeds are fixed, and differ. Every two-sample test has a false-alarm rate of at most 1e-6 over
seeds, shared among its comparisons (Bonferroni). A thousand draws tell distributions apart that
differ by 0.1 in some probability, four thousand by 0.05; the tests marked slow take more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from biasgpu import exact, mlp
from biasgpu.architectures import Architecture, lenet, paper_mlp
from biasgpu.decision import arrange, decide, predictions
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from tests.deferred_cases import directly, homogeneity, ks, logits, make
from tests.strategies import strokes

ALARM = 1e-6


@dataclass(frozen=True)
class Samples:
    """Logits `(draws, inputs, outputs)` by both methods, and what they came from."""

    ensemble: DeferredEnsemble
    deferred: np.ndarray
    direct: np.ndarray

    @property
    def both(self) -> tuple[np.ndarray, np.ndarray]:
        return self.deferred, self.direct

    @property
    def n_train(self) -> int:
        return len(self.ensemble.x_train)


def sample(ensemble: DeferredEnsemble, n_draws: int, n_direct: int | None = None) -> Samples:
    draws = np.arange(n_direct or n_draws, dtype=np.uint64)
    direct = exact.logits(directly(ensemble), draws, ensemble.x)
    return Samples(ensemble, logits(ensemble, n_draws), direct)


def functions(z: np.ndarray) -> list[np.ndarray]:
    """What is compared of a draw: each logit, projections of all, products across inputs (whose
    law is the joint one), and extremes."""
    z = z.reshape(len(z), z.shape[1], -1)
    flat, gap = z.reshape(len(z), -1), z[..., -1] - (z[..., 0] if z.shape[2] > 1 else 0.0)
    projections = flat @ np.random.default_rng(0).normal(size=(flat.shape[1], 10))
    products = [gap[:, i] * gap[:, (i + 1) % gap.shape[1]] for i in range(gap.shape[1])]
    across = gap[:, 0] * gap[:, -1]
    squares = (flat**2).sum(axis=1)
    alike = [(gap > 0).sum(axis=1), (np.diff(gap > 0, axis=1)).sum(axis=1)]
    return [*flat.T, *projections.T, *products, across, squares, gap.min(axis=1), *alike]


def check_joint_law(samples: Samples) -> None:
    pairs = list(zip(*map(functions, samples.both), strict=True))
    for one, other in pairs:
        assert ks(one, other) > ALARM / len(pairs)


def check_counts(one: np.ndarray, other: np.ndarray) -> None:
    """Whether two histograms over the same cells may be of one distribution; rare cells joined."""
    table = np.array([one, other])
    cells = np.split(table, np.arange(1, table.shape[1]), axis=1)
    while len(cells) > 1 and min(cell.sum() for cell in cells) < 40:
        place = int(np.argmin([cell.sum() for cell in cells]))
        beside = place - 1 if place else 1
        cells[beside] = cells[beside] + cells[place]
        del cells[place]
    assert len(cells) > 1
    assert homogeneity(np.hstack(cells)) > ALARM


def deferred_prefixes(ensemble: DeferredEnsemble, labels: np.ndarray, n_draws: int) -> np.ndarray:
    draws = np.arange(n_draws, dtype=np.uint64)
    return decide(logits(ensemble, n_draws), labels, ensemble, draws).prefix


def direct_prefixes(ensemble: Ensemble, x: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    engine = CpuEngine(ensemble, x, labels)
    prefixes = engine.screen(0, n).astype(np.int64)
    unsure = np.flatnonzero(prefixes == BORDERLINE).astype(np.uint64)
    found = exact.logits(ensemble, unsure, x)
    prefixes[unsure] = decide(found, labels, ensemble, unsure).prefix
    engine.close()
    return prefixes


JOINT: dict[str, tuple[Architecture, int, int, int, int, int]] = {
    # inputs' features, n_train, n_test, classes, draws
    "linear": (mlp(depth=0), 4, 3, 3, 2, 1800),
    "one unit": (mlp(1, 1), 3, 3, 3, 2, 1800),
    "narrow": (mlp(4, 2), 3, 4, 3, 2, 1800),
    "narrow and deep": (mlp(5, 4), 3, 3, 3, 2, 1800),
    "drawn biases": (mlp(6, 2, bias="prior"), 3, 3, 3, 2, 1800),
    "one logit": (mlp(8, 2, head="one-logit"), 3, 3, 3, 2, 1800),
    "three logits": (mlp(8, 2), 3, 3, 3, 3, 1800),
    "more inputs than units": (mlp(3, 2), 2, 8, 4, 2, 1800),
    "tests as a whole": (mlp(4, 1), 3, 3, 20, 2, 1200),
    "wide": (mlp(256, 2), 5, 4, 4, 2, 1200),
    "published": (paper_mlp("1/6", 3, bias="prior"), 9, 4, 4, 2, 1200),
}


@pytest.mark.parametrize("kind", JOINT)
def test_the_joint_law_of_training_and_test_logits(kind: str) -> None:
    architecture, features, n_train, n_test, n_classes, n_draws = JOINT[kind]
    x = np.random.default_rng(1).normal(size=(n_train + n_test, features)) + 0.5
    ensemble = make(architecture, x[:n_train], x[n_train:], n_classes=n_classes)
    check_joint_law(sample(ensemble, n_draws, 3 * n_draws))


CONVOLUTIONS = Architecture(
    "conv",
    [Conv2d(2, "prior"), ReLU(), MaxPool2d(), Flatten(), Dense(7), ReLU(), Dense(5), ReLU()],
)


def test_the_joint_law_behind_convolutions() -> None:
    x = np.random.default_rng(2).normal(size=(6, 1, 6, 6))
    check_joint_law(sample(make(CONVOLUTIONS, x[:3], x[3:]), 2000, 6000))


def test_the_joint_law_of_lenet() -> None:
    x = strokes(6)
    check_joint_law(sample(make(lenet("1/6"), x[:4], x[4:]), 800, 6000))


@pytest.mark.parametrize(
    ("layers"),
    [
        [Flatten(), Dense(5), Dense(4), ReLU()],
        [Flatten(), Dense(5), Flatten(), ReLU(), Dense(4, "prior"), ReLU(), ReLU()],
        [ReLU(), Flatten(), Dense(6, "prior"), MaxPool2d(images_only=True), ReLU()],
    ],
    ids=["no ReLU", "a Flatten before the ReLU", "a ReLU first"],
)
def test_the_joint_law_of_custom_layers(layers: list) -> None:
    x = np.random.default_rng(3).normal(size=(5, 3))
    check_joint_law(sample(make(Architecture("custom", layers), x[:3], x[3:]), 2000, 6000))


def test_the_joint_law_of_inputs_from_an_interval() -> None:
    """Behind a layer, inputs from a line lie close to each other and to the span of those before:
    what is asked in one block must be orthogonal all the same."""
    x = np.array([[-2.0], [2.0], *np.linspace(-1.0, 1.0, 32)[:, None]])
    ensemble = make(mlp(66, 2, bias="prior"), x[:2], x[2:])
    assert ensemble.plan.layers[1].n_asked == len(x)
    check_joint_law(sample(ensemble, 2000, 6000))


# Width, depth and the draws by either method.
FIT: dict[str, tuple[int, int, int, int]] = {
    "4": (4, 1, 4000, 200_000),
    "16": (16, 2, 4000, 100_000),
    "64": (64, 3, 3000, 10_000),
    "128, deep": (128, 4, 2500, 4000),
    "512": (512, 1, 3000, 40_000),
}


def check_fit_probability(width: int, depth: int, n_deferred: int, n_direct: int) -> None:
    """All N at once: the distribution of prefixes."""
    x = np.random.default_rng(4).normal(size=(10, 6)).astype(np.float32)
    labels = np.arange(10) % 2
    ensemble = make(mlp(width, depth), x)
    one = deferred_prefixes(ensemble, labels, n_deferred)
    other = direct_prefixes(directly(ensemble), x, labels, n_direct)
    check_counts(*(np.bincount(found, minlength=11) for found in (one, other)))
    for n in (2, 4, 6):
        fits = [int((found >= n).sum()) for found in (one, other)]
        table = [fits, [len(one) - fits[0], len(other) - fits[1]]]
        assert min(fits) > 20
        assert homogeneity(table) > ALARM / 3


@pytest.mark.parametrize("kind", FIT)
def test_fit_probability(kind: str) -> None:
    check_fit_probability(*FIT[kind])


@pytest.mark.slow
@pytest.mark.parametrize(("width", "depth"), [(4, 3), (32, 2), (512, 2), (512, 4)])
def test_fit_probability_with_many_draws(width: int, depth: int) -> None:
    check_fit_probability(width, depth, 40_000, 400_000 if width < 100 else 8000)


@pytest.mark.parametrize(
    ("head", "n_classes"), [("logits", 2), ("one-logit", 2), ("logits", 3)], ids=str
)
def test_accuracy_of_fits(head: str, n_classes: int) -> None:
    """Test accuracy given a fit: the joint law where it matters."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n_classes * 20 + 4, 3))
    labels = np.arange(len(x)) % n_classes
    x[np.arange(len(x)), labels] += 2.0
    n_train = {2: 4, 3: 3}[n_classes]
    ensemble = make(mlp(6, 2, head=head), x[:n_train], x[n_train:], n_classes=n_classes)  # pyright: ignore[reportArgumentType]
    samples = sample(ensemble, 2000, 12_000)
    accuracies = []
    for z in samples.both:
        draws = np.arange(len(z), dtype=np.uint64)
        decided = decide(z[:, :n_train], labels[:n_train], ensemble, draws)
        fits = np.flatnonzero(decided.prefix == n_train)
        tests = [arrange(z[i, n_train:], int(decided.arrangement[i])) for i in fits]
        accuracies.append((predictions(np.array(tests)) == labels[n_train:]).mean(axis=1))
    assert min(len(found) for found in accuracies) > 60
    assert ks(*accuracies) > ALARM
    # Not all fits generalise alike, so that there is a distribution to compare.
    assert np.std(accuracies[1]) > 0.05


def test_the_tests_can_tell() -> None:
    """A network that forgets its training inputs has right marginals and a wrong joint law."""
    x = np.random.default_rng(6).normal(size=(6, 3))
    samples = sample(make(mlp(4, 2), x[:3], x[3:]), 1800)
    mixed = samples.deferred.copy()
    mixed[:, 3:] = np.roll(mixed[:, 3:], 1, axis=0)
    with pytest.raises(AssertionError):
        check_joint_law(Samples(samples.ensemble, mixed, samples.direct))
    x = x.astype(np.float32)
    labels = np.arange(6) % 2
    ensemble = make(mlp(4, 1), x)
    one = deferred_prefixes(ensemble, labels, 4000)
    other = direct_prefixes(directly(make(mlp(4, 3), x)), x, labels, 50_000)
    with pytest.raises(AssertionError):
        check_counts(*(np.bincount(found, minlength=7) for found in (one, other)))
