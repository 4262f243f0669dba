"""Compiled batch norms: the bits of the plain law, and its prefixes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings

from biasgpu import batch_norm_law, engines, exact, priors, reference
from biasgpu import given as given_networks
from biasgpu.architectures import Architecture, resnet4
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.decision import decide
from biasgpu.drawn import drawn_parameters
from biasgpu.engines.cpu.batch_norm_engine import BatchNormEngine
from biasgpu.errors import NonFiniteError, UsageError
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, residual
from biasgpu.layout import Step, lay_out
from biasgpu.packing import Packing
from biasgpu.sampling.screening import screen
from tests.batch_norm_cases import cases
from tests.strategies import Case, strokes
from tests.test_interrupt_compiled import check_interrupted


def prefixes_by_law(case: Case) -> list[int]:
    draws = np.uint64(case.first_draw) + np.arange(case.n_draws, dtype=np.uint64)
    logits = np.stack([case.ensemble.logits(draw, case.x_train) for draw in draws.tolist()])
    return decide(logits, case.y_train, case.ensemble, draws).prefix.tolist()


def check(case: Case, threads: int | None = 1) -> None:
    """Statistics, logits on the training set and elsewhere, and prefixes."""
    ensemble = case.ensemble
    assert isinstance(ensemble, BatchNormEnsemble)
    draws = np.uint64(case.first_draw) + np.arange(case.n_draws, dtype=np.uint64)
    logits, statistics = batch_norm_law.settle(ensemble, draws, threads=threads)
    x = np.random.default_rng(0).normal(size=(9, *ensemble.shape)).astype(np.float32)
    elsewhere = exact.logits(ensemble, draws, x, threads=threads)
    for row, draw in enumerate(draws.tolist()):
        pairs = [np.stack(pair, axis=-1) for pair in ensemble.statistics(draw).values()]
        np.testing.assert_array_equal(statistics[row], np.concatenate(pairs))
        np.testing.assert_array_equal(logits[row], ensemble.logits(draw, ensemble.x_train))
        np.testing.assert_array_equal(elsewhere[row], ensemble.logits(draw, x))
    if BatchNormEngine.supports(ensemble) is None:
        engine = BatchNormEngine(ensemble, case.x_train, case.y_train, threads=threads)
        found, _ = screen(engine, case.first_draw, case.n_draws, threads=threads)
        engine.close()
        assert found.tolist() == prefixes_by_law(case)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases())
def test_random_architectures(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
@pytest.mark.parametrize(
    ("width", "depth", "prior", "n_train"),
    [
        ("2/6", 4, "uniform", 2),
        ("1/6", 4, "kaiming-normal", 3),
        ("3/6", 3, "kaiming-uniform8", 1),
        ("2/6", 2, "uniform16:0.2", 2),
    ],
)
def test_resnet4(
    width: str, depth: int, prior: str, n_train: int, channels: int, size: int
) -> None:
    x = np.repeat(strokes(n_train, size), channels, axis=1)
    x += np.random.default_rng(1).normal(size=x.shape).astype(np.float32) / 8
    y = np.arange(n_train) % 2
    architecture = resnet4(width, depth)
    ensemble = BatchNormEnsemble(architecture, priors.make(prior), x.shape[1:], 2, 7, x)
    check(Case(ensemble, x, y, 2**41, 3))


def test_engine_finds_the_fits_of_the_law() -> None:
    x = strokes(4)
    prior = priors.make("uniform")
    ensemble = BatchNormEnsemble(resnet4("1/6"), prior, (1, 28, 28), 2, 3, x)
    case = Case(ensemble, x, np.arange(4) % 2, 0, 70)  # more than a chunk's tiles, and an odd end
    engine = engines.make("auto", ensemble, x, case.y_train, threads=2)
    assert isinstance(engine, BatchNormEngine)
    found = engine.screen(0, 70)
    np.testing.assert_array_equal(engine.screen(64, 6), found[64:])
    engine.close()
    assert found.tolist() == prefixes_by_law(case)
    assert np.bincount(found).tolist() == [0, 61, 3, 2, 4]  # four fits among them


def test_drawn_parameters_hold_the_statistics() -> None:
    x = strokes(3)
    ensemble = BatchNormEnsemble(resnet4("1/6", 2), priors.make("uniform"), (1, 28, 28), 2, 3, x)
    packing = Packing(ensemble.steps)
    index = np.array([10, 4, 2**42], np.uint64)  # of arrangement 0
    found = drawn_parameters(ensemble, index)
    for row, one in zip(found, index.tolist(), strict=True):
        statistics = ensemble.statistics(one // 2)
        layers = [
            None if pair is None else (*pair, *statistics.get(step.position, ()))
            for step, pair in zip(ensemble.steps, ensemble.parameters(one // 2), strict=True)
        ]
        np.testing.assert_array_equal(row, packing.pack(layers).astype(np.float32))


def trained(steps: tuple[Step, ...], n: int, *, lowest: float) -> npt.NDArray[np.float32]:
    """Parameters as training may leave them; batch norms' weights from `lowest` on."""
    rng = np.random.default_rng(5)
    packing = Packing(steps)
    flat = rng.normal(size=(n, packing.n_parameters)).astype(np.float32)
    for step, parts in zip(steps, packing.unpack(flat), strict=True):
        if parts and step.linear is None:
            parts[0][...] = rng.uniform(lowest, 2.0, size=parts[0].shape)
            parts[3][...] = rng.uniform(0.0, 3.0, size=parts[3].shape)
    return flat


BLOCKS = [
    *(Conv2d(3, "none", 3, 1), BatchNorm2d(), ReLU(), MaxPool2d(2)),
    *residual(Conv2d(3, "prior", 3, 1), BatchNorm2d(), ReLU()),
    *(Conv2d(4, "zero", 2, 1), BatchNorm2d(), MaxPool2d(2), Flatten(), Dense(5), ReLU(), Dense(2)),
]


@pytest.mark.parametrize("lowest", [0.5, -1.0])
def test_given_networks(lowest: float) -> None:
    steps = lay_out(BLOCKS, (2, 9, 7), 32)
    flat = trained(steps, 5, lowest=lowest)
    flat[3, 2] = np.nan
    x = np.random.default_rng(6).normal(size=(19, 2, 9, 7)).astype(np.float32)
    found = given_networks.logits(steps, flat, x, threads=2)
    classes, finite = given_networks.classify(steps, flat, x)
    assert finite.tolist() == [True, True, True, False, True]
    for row, one in enumerate(flat):
        expected = given_networks.reference_logits(steps, one, x)
        np.testing.assert_array_equal(found[row], expected)
        if finite[row]:
            np.testing.assert_array_equal(classes[row], expected.argmax(axis=1))


def test_given_networks_do_not_go_through_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = lay_out(BLOCKS, (2, 9, 7), 32)
    monkeypatch.setattr(reference, "forward", None)
    x = np.zeros((1, 2, 9, 7), np.float32)
    found = given_networks.logits(steps, trained(steps, 2, lowest=-1.0), x)
    assert found.shape == (2, 1, 2)


def overflowing(n_layers: int) -> BatchNormEnsemble:
    """Weights of about 1e12, so that the squares overflow first, then the numbers themselves."""
    layers = [Conv2d(1, "none", kernel=1) for _ in range(n_layers)]
    architecture = Architecture("huge", [*layers, BatchNorm2d(), MaxPool2d(2), Flatten()])
    x = np.random.default_rng(8).normal(size=(2, 1, 2, 2)).astype(np.float32)
    return BatchNormEnsemble(architecture, priors.make("uniform:1e12"), (1, 2, 2), 2, 1, x)


@pytest.mark.parametrize("n_layers", [16, 30])
def test_overflow_is_left_to_the_reference(n_layers: int) -> None:
    ensemble = overflowing(n_layers)
    draws = np.arange(9, dtype=np.uint64)
    x = np.random.default_rng(9).normal(size=(3, 1, 2, 2)).astype(np.float32)
    with np.errstate(all="ignore"):
        found = exact.logits(ensemble, draws, x)
        for row, draw in zip(found, draws.tolist(), strict=True):
            np.testing.assert_array_equal(row, ensemble.logits(draw, x))
        engine = BatchNormEngine(ensemble, ensemble.x_train, np.arange(2), threads=1)
        if np.isfinite(found).all():  # infinite variances make zeros of everything
            prefixes, borderline = screen(engine, 0, 9)
            assert len(borderline) == 9
            assert prefixes.tolist() == [1] * 9
        else:
            with pytest.raises(NonFiniteError):
                screen(engine, 0, 9)
        engine.close()


def test_a_training_set_too_large_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    x = strokes(2, 8)
    y = np.arange(2)
    architecture = resnet4("1/6", 2)
    ensemble = BatchNormEnsemble(architecture, priors.make("uniform"), (1, 8, 8), 2, 1, x)
    draws = np.arange(2, dtype=np.uint64)
    before = exact.logits(ensemble, draws, x)
    monkeypatch.setattr(batch_norm_law, "SPACE_BYTES", 1000)
    with pytest.raises(UsageError, match="all 2 training samples at once take"):
        engines.make("cpu", ensemble, x, y)
    assert engines.make("auto", ensemble, x, y).name != "cpu"
    np.testing.assert_array_equal(exact.logits(ensemble, draws, x), before)


def test_another_training_set_is_refused() -> None:
    x = strokes(4, 8)
    architecture = resnet4("1/6", 2)
    ensemble = BatchNormEnsemble(architecture, priors.make("uniform"), (1, 8, 8), 2, 1, x)
    with pytest.raises(UsageError, match="the 2 that it is to be screened on"):
        BatchNormEngine(ensemble, x[:2], np.arange(2))


def test_interruption() -> None:
    x = np.random.default_rng(2).standard_normal((64, 1, 28, 28)).astype(np.float32)
    ensemble = BatchNormEnsemble(resnet4(4), priors.make("uniform"), (1, 28, 28), 2, 1, x)
    engine = BatchNormEngine(ensemble, x, np.arange(64) % 2, threads=2)

    def work() -> None:
        try:
            engine.screen(0, 512)  # a minute's work, nearly
        finally:
            engine.close()

    check_interrupted(work)
