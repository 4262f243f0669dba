"""Method "deferred": compiled sums have the bits of the plain ones, and the law is docs/law.md's.

All comparisons here are exact or within a stated rounding; nothing is left to chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biasgpu import exact, mlp, priors, reference, rng
from biasgpu.architectures import Architecture, lenet
from biasgpu.deferred import reference as law
from biasgpu.deferred import words
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.cpu.deferred_law import COMPILED
from biasgpu.layers import Dense, Flatten, MaxPool2d, ReLU
from biasgpu.normal import normal
from tests.deferred_cases import Case, cases, make
from tests.strategies import strokes

SETTINGS = settings(
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def plain(ensemble: DeferredEnsemble, draw: int, n: int) -> np.ndarray:
    """Logits for the first inputs, nothing of them compiled, shared directions included."""
    shared = ensemble.shared if ensemble.plan.infinite else None
    return law.logits(ensemble.plan, ensemble.seed, draw, ensemble.features(draw, n), shared)


def check(case: Case) -> None:
    ensemble, draw = case.ensemble, case.draw
    n_train, n_inputs = len(ensemble.x_train), len(ensemble.x)
    draws = np.array([draw], dtype=np.uint64)
    train = plain(ensemble, draw, n_train)
    everything = plain(ensemble, draw, n_inputs)
    assert np.isfinite(everything).all()
    assert np.array_equal(everything[:n_train], train)
    assert np.array_equal(ensemble.logits(draw, ensemble.x_train), train)
    assert np.array_equal(exact.logits(ensemble, draws, ensemble.x_train)[0], train)
    # A test set that begins the training set is taken for it.
    begin = ensemble.rows_of(ensemble.x_test)
    assert begin is not None
    assert np.array_equal(exact.logits(ensemble, draws, ensemble.x_test)[0], everything[begin])
    assert np.array_equal(ensemble.logits(draw, ensemble.x_test), everything[begin])
    for n in {1, n_train // 2}:
        prefix = exact.logits(ensemble, draws, ensemble.x_train[:n])[0]
        assert np.array_equal(prefix, train[:n])
    if ensemble.plan.infinite:
        return
    arguments = (ensemble.plan, ensemble.seed, draw, ensemble.features(draw, n_inputs))
    pairs = zip(law.weights(*arguments), law.weights(*arguments, None, COMPILED), strict=True)
    assert all(np.array_equal(one, two) for one, two in pairs)


@SETTINGS
@given(case=cases())
def test_random_ensembles(case: Case) -> None:
    check(case)


KNOWN: list[tuple[Architecture, int, int, int]] = [
    (mlp(700, 2, bias="prior"), 1100, 5, 70),  # longer than a chunk, several blocks of test inputs
    (mlp(40, 4), 3, 40, 33),  # more inputs than any layer has units
    (mlp(1, 3, head="one-logit"), 2, 4, 33),
    (mlp("inf", 3, bias="prior"), 7, 9, 33),
    (mlp(3, 1), 90, 4, 200),  # the first layer's test inputs meet the whole matrix
]


@pytest.mark.parametrize(("architecture", "features", "n_train", "n_test"), KNOWN, ids=str)
def test_known_networks(architecture: Architecture, features: int, n_train: int, n_test: int
                        ) -> None:  # fmt: skip
    x = np.random.default_rng(3).normal(size=(n_train + n_test, features))
    check(Case(make(architecture, x[:n_train], x[n_train:], seed=2**63 + 5), 2**40 + 2**32 - 1))


@pytest.mark.parametrize("bias", ["zero", "prior"])
def test_lenet(bias: str) -> None:
    x = strokes(13)
    check(Case(make(lenet("1/6", bias=bias), x[:5], x[5:], n_classes=3), 7))  # pyright: ignore[reportArgumentType]


@SETTINGS
@given(case=cases(), n=st.integers(1, 33))
def test_logits_do_not_depend_on_later_inputs(case: Case, n: int) -> None:
    """Nor do training logits on the test inputs: a prefix is the same network asked less."""
    ensemble = case.ensemble
    n = min(n, len(ensemble.x_train))
    fewer = DeferredEnsemble(
        ensemble.architecture, ensemble.prior, ensemble.shape, ensemble.n_classes, ensemble.seed,
        ensemble.x_train[:n], ensemble.x_train[:0],
    )  # fmt: skip
    whole = ensemble.logits(case.draw, ensemble.x_train)
    assert np.array_equal(fewer.logits(case.draw, fewer.x_train), whole[:n])


def test_draws_need_not_follow_each_other() -> None:
    ensemble = make(mlp(6, 2), np.random.default_rng(2).normal(size=(3, 4)))
    draws = np.array([2**63 - 1, 0, 7, 7, 2**32, 2**32 - 1, 1, 2**40, 12, 3], np.uint64)
    for threads in (1, 2, None):
        found = exact.logits(ensemble, draws[::-1], ensemble.x_train, threads=threads)[::-1]
        for row, draw in zip(found, draws.tolist(), strict=True):
            assert np.array_equal(row, ensemble.logits(draw, ensemble.x_train))


def stranger(ensemble: DeferredEnsemble, draw: int) -> np.ndarray:
    """The logits of an MLP from docs/law.md alone: words one by one, directions by modified
    Gram-Schmidt, everything else by matrix products."""
    steps = [step for step in ensemble.steps if isinstance(step.layer, Dense)]
    prior = ensemble.prior
    assert isinstance(prior, priors.NormalPrior)
    x = ensemble.x_train.reshape(len(ensemble.x_train), -1).astype(np.float64)
    hidden = sum(-(-step.out_shape[0] // 16) * 16 for step in steps[:-1])
    blocks = 16 * -(-hidden // 64)
    offset = 0
    for step in steps:
        if step.columns > step.fan_in:
            x = np.hstack([x, np.ones((len(x), 1))])
        directions: list[np.ndarray] = []
        y = np.zeros((len(x), step.out_shape[0]))
        for i, row in enumerate(x):
            left, r = row.copy(), np.zeros(i + 1)
            for _ in range(2):
                for j, q in enumerate(directions):
                    r[j], left = r[j] + left @ q, left - (left @ q) * q
            length = np.linalg.norm(left)
            r[i] = length if length > 2.0**-36 * np.linalg.norm(row) else 0.0
            directions.append(left / length if r[i] else 0.0 * row)
            for j in np.flatnonzero(r).tolist():
                image = _image(ensemble, draw, j, step is steps[-1], offset, blocks, y.shape[1])
                y[i] += r[j] * image
        y *= float(prior.scale(step.fan_in))
        if step is not steps[-1]:
            offset += -(-step.out_shape[0] // 16) * 16
            y = np.maximum(y, 0.0)
        x = y
    return x


def _image(
    ensemble: DeferredEnsemble, draw: int, j: int, output: bool, offset: int, blocks: int,
    units: int,
) -> np.ndarray:  # fmt: skip
    values = []
    for unit in range(units):
        if output:
            place = j * units + unit
            block, word, stream = place // 4, place % 4, 0xDEF0001
        else:
            place = offset + unit
            group, inside = place // 64, place % 64
            block = j * blocks + 16 * group + inside % 16
            word, stream = inside // 16, 0xDEF0000
        values.append(rng.words(ensemble.seed, draw, [block], stream=stream)[0, word])
    return normal(np.array(values, dtype=np.uint32))


@pytest.mark.parametrize(
    "architecture",
    [mlp(5, 0), mlp(37, 2, bias="prior"), mlp(70, 3), mlp(3, 4, head="one-logit")],
    ids=str,
)
def test_a_stranger_gets_the_same_logits(architecture: Architecture) -> None:
    x = np.random.default_rng(5).normal(size=(6, 4))
    x[3] = x[0] + x[1]
    ensemble = make(architecture, x, seed=2**40 + 3)
    for draw in (0, 2**33 + 1):
        found = ensemble.logits(draw, ensemble.x_train)
        np.testing.assert_allclose(stranger(ensemble, draw), found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("widths", [(70,), (5, 131, 1), (64, 64), (16, 40, 17, 65)], ids=str)
def test_no_word_is_used_twice(widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by two directions, units or layers. Words are replaced by their names."""

    def name(seed: int, draw: int, blocks: np.ndarray, *, stream: int) -> np.ndarray:
        return 4.0 * np.asarray(blocks)[..., None] + np.arange(4) + 2.0**40 * (stream - 0xDEF0000)

    layers = [layer for width in widths for layer in (Dense(width), ReLU())]
    x = np.random.default_rng(8).normal(size=(5, 67))
    plan = make(Architecture("custom", [Flatten(), *layers], bias="prior"), x, n_classes=3).plan
    monkeypatch.setattr(words.rng, "words", name)
    monkeypatch.setattr(words, "normal", lambda names: names)
    used = [words.directions(0, 0, plan, number, 5).ravel() for number in range(len(plan.layers))]
    used += [
        words.rest(0, 0, layer, number, 0, layer.units).ravel()
        for number, layer in enumerate(plan.layers)
    ]
    names = np.concatenate(used)
    assert len(np.unique(names)) == len(names)
    rows = [words.rest(0, 0, plan.layers[0], 0, unit, 1)[0] for unit in range(3)]
    assert np.array_equal(rows, used[len(plan.layers)].reshape(plan.layers[0].units, -1)[:3])


@pytest.mark.parametrize(
    "behind",
    [[Flatten(), ReLU()], [MaxPool2d(2, images_only=True), ReLU()], [ReLU(), ReLU()], []],
    ids=str,
)
def test_what_stands_behind_a_dense_layer(behind: list) -> None:
    """The materialised network, which applies every layer in turn, agrees in float64."""
    x = np.random.default_rng(6).normal(size=(5, 4))
    layers = [Flatten(), Dense(9), *behind, Dense(6), *behind]
    ensemble = make(Architecture("custom", layers), x)
    parameters = ensemble._float64_parameters(3)
    found = reference.forward(ensemble.steps, parameters, ensemble.x)
    np.testing.assert_allclose(found, ensemble.logits(3, ensemble.x), rtol=1e-11, atol=1e-12)


def test_only_its_own_inputs_are_in_the_law() -> None:
    x = np.random.default_rng(7).normal(size=(6, 4))
    ensemble = make(mlp(5, 1), x[:3], x[3:5])
    draws = np.arange(2, dtype=np.uint64)
    for part in (ensemble.x_train[1:], ensemble.x_test[:1], x[5:].astype(np.float32)):
        assert ensemble.rows_of(part) is None
        with pytest.raises(ValueError, match="not asked about these inputs"):
            exact.logits(ensemble, draws, part)
    assert exact.logits(ensemble, draws[:0], ensemble.x_test).shape == (0, 2, 2)
    assert exact.logits(ensemble, draws, ensemble.x_train[:0]).shape == (2, 0, 2)
    assert ensemble.logits(0, ensemble.x_train[:0]).shape == (0, 2)
