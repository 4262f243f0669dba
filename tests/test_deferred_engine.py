"""The cpu engine under method "deferred": its prefixes are the law's, or it says it cannot tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biasgpu import engines, lenet, mlp, paper_mlp, task
from biasgpu.architectures import Architecture
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.deferred import DeferredCpuEngine
from biasgpu.engines.cpu.signs import certain_errors
from biasgpu.errors import UsageError
from biasgpu.layers import Conv2d, Dense, Flatten, ReLU
from biasgpu.sampling.screening import decide_prefixes
from tests.deferred_cases import Case, cases, make
from tests.strategies import strokes

N = 70  # draws: four tiles of lanes and a part of one
SETTINGS = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def labels_for(n: int, n_classes: int) -> npt.NDArray[np.int64]:
    return np.arange(n) % n_classes


def by_law(engine: DeferredCpuEngine, first: int, n: int) -> npt.NDArray[np.int64]:
    return decide_prefixes(engine, np.uint64(first) + np.arange(n, dtype=np.uint64))


def check(engine: DeferredCpuEngine, first: int, n: int = N, *, open_at_most: float = 1.0) -> None:
    prefixes = engine.screen(first, n)
    sure = prefixes != BORDERLINE
    law = by_law(engine, first, n)
    assert np.array_equal(prefixes[sure], law[sure])
    assert 1 - sure.mean() <= open_at_most


def engine_for(
    ensemble: DeferredEnsemble, labels: npt.NDArray[np.int64] | None = None, **options: int
) -> DeferredCpuEngine:
    n = len(ensemble.x_train)
    y = labels_for(n, ensemble.n_classes) if labels is None else labels
    engine = engines.make("cpu", ensemble, ensemble.x_train, y, **options)  # pyright: ignore[reportArgumentType]
    assert isinstance(engine, DeferredCpuEngine)
    return engine


@SETTINGS
@given(case=cases(), shuffle=st.booleans(), draws=st.integers(1, 40))
def test_random_ensembles(case: Case, shuffle: bool, draws: int) -> None:
    ensemble = case.ensemble
    y = labels_for(len(ensemble.x_train), ensemble.n_classes)
    if shuffle:
        np.random.default_rng(0).shuffle(y)
    first = min(case.draw, ensemble.max_draws - draws)
    engine = engine_for(ensemble, y)
    check(engine, first, draws)
    engine.close()


DIGITS: list[tuple[Architecture, float]] = [
    (mlp(512, 2), 0.01),
    (mlp(16, 2), 0.05),
    (mlp(200, 4), 0.05),
    (mlp(33, 3, bias="prior"), 0.05),
    (mlp(130, 1, head="one-logit"), 0.01),
    (mlp(3, 0), 0.01),
    (mlp("inf", 3), 0.01),
    (mlp("inf", 1, bias="prior"), 0.01),
    (paper_mlp("2/6"), 0.1),
    (paper_mlp("1", 2), 0.05),
]


@pytest.mark.parametrize(("architecture", "open_at_most"), DIGITS, ids=str)
def test_images_and_how_much_is_left_open(architecture: Architecture, open_at_most: float) -> None:
    x = task("mnist", n_train=16).x_train
    engine = engine_for(make(architecture, x, x[:0], seed=2**63 + 1))
    check(engine, 2**40 + 2**32 - 30, 400, open_at_most=open_at_most)
    engine.close()


@pytest.mark.parametrize(
    "architecture",
    [
        lenet("1/6"),
        lenet("2/6", "2c-2f", bias="prior"),
        lenet("1/6,1/6,1/24,1/24", head="one-logit"),
        lenet("2/6", "1c-1f"),
        Architecture("padded", [Conv2d(3, "prior", kernel=3, padding=1), Flatten(), Dense(9)]),
        Architecture("silent", [Conv2d(1, kernel=28), ReLU(), Flatten(), Dense(5), ReLU()]),
    ],
    ids=str,
)
def test_behind_convolutions(architecture: Architecture) -> None:
    x = strokes(10)
    engine = engine_for(make(architecture, x, x[:0]))
    # One feature alone: all inputs depend on each other, which no bound can tell.
    check(engine, 5, 90, open_at_most=0.6 if architecture.name == "silent" else 0.1)
    engine.close()


def test_three_classes() -> None:
    x = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
    engine = engine_for(make(mlp(40, 2), x, x[:0], n_classes=3))
    check(engine, 0, 300, open_at_most=0.01)
    engine.close()


def awkward() -> dict[str, Callable[[], npt.NDArray[np.float32]]]:
    x = np.random.default_rng(1).normal(size=(8, 6)).astype(np.float32)
    dead = x.copy()
    dead[2] = 0
    return {
        "one input twice": lambda: np.concatenate([x[:6], x[:2]]),
        "multiples": lambda: np.concatenate([x[:6], 4 * x[:2]]),
        "a zero input": lambda: dead,
        "large": lambda: x * np.float32(1e15),
        "small": lambda: x * np.float32(1e-15),
        "all alike": lambda: np.tile(x[:1], (8, 1)),
    }


@pytest.mark.parametrize("kind", awkward())
@pytest.mark.parametrize("width", [2, 40])
def test_awkward_inputs(kind: str, width: int) -> None:
    x = awkward()[kind]()
    engine = engine_for(make(mlp(width, 2), x, x[:0]))
    check(engine, 0, 200)
    engine.close()


def test_threads_tiles_and_cuts_change_nothing() -> None:
    x = strokes(12)
    ensemble = make(mlp(60, 2), x, x[:0])
    one = engine_for(ensemble, threads=1)
    whole = one.screen(100, 500)
    two = engine_for(ensemble, threads=2)
    assert np.array_equal(two.screen(100, 500), whole)
    parts = np.concatenate([two.screen(100, 1), two.screen(101, 16), two.screen(117, 483)])
    assert np.array_equal(parts, whole)
    assert len(two.screen(100, 0)) == 0
    for together in (1, 5):
        one._together = together
        one._open()
        assert np.array_equal(one.screen(100, 500), whole)
    one.close()
    two.close()


def test_the_last_draws_there_are() -> None:
    x = strokes(4)
    ensemble = make(mlp(20, 1), x, x[:0], seed=2**64 - 1)
    engine = engine_for(ensemble)
    check(engine, ensemble.max_draws - 33, 33)
    engine.close()


def test_what_float32_leaves_open_float64_settles() -> None:
    x = task("mnist", n_train=16).x_train
    engine = engine_for(make(paper_mlp("2/6"), x, x[:0]), threads=1)
    space = engine._space()
    prefixes = np.empty(2000, dtype=np.uint16)
    engine._screen(
        *engine._common, np.uint64(0), prefixes, space.names, engine._by_signs, *space.quick
    )
    left = np.flatnonzero(prefixes == BORDERLINE)
    assert len(left) > 20
    settled = engine._settle_draws(space, left.astype(np.uint64))
    sure = settled != BORDERLINE
    assert sure.mean() > 0.7
    law = decide_prefixes(engine, left.astype(np.uint64))
    assert np.array_equal(settled[sure], law[sure])
    engine.close()


@pytest.mark.parametrize("width", [1, 3, 20])
def test_signs_settle_half_of_all_draws_and_are_right(width: int) -> None:
    x = strokes(2)
    engine = engine_for(make(mlp(width, 2), x, x[:0]), threads=1)
    assert engine._by_signs
    space, n, settled = engine._space(), 640, 0
    law = by_law(engine, 0, n)
    for first in range(0, n, 16):
        names = space.names
        names[:32] = 0
        for lane in range(16):
            names[16 * (lane // 8) + lane % 8] = first + lane
        seed = np.uint64(engine.ensemble.seed)
        found = int(certain_errors(space.quick[3][1], names, engine._layers, seed))
        lanes = [lane for lane in range(16) if found >> lane & 1]
        settled += len(lanes)
        assert (law[[first + lane for lane in lanes]] == 1).all()
    assert settled > (0.4 if width > 3 else 0.05) * n
    engine.close()


def test_signs_are_not_asked_where_they_do_not_tell() -> None:
    x = strokes(4)
    straight = Architecture("linear", [Flatten(), Dense(8)])
    assert not engine_for(make(straight, x, x[:0]))._by_signs
    assert not engine_for(make(mlp(8, 0), x, x[:0]))._by_signs
    same = np.zeros(4, dtype=np.int64)
    assert not engine_for(make(mlp(8, 1), x, x[:0]), same)._by_signs
    assert not engine_for(make(mlp(8, 1), x, x[:0]), 1 - labels_for(4, 2))._by_signs


def test_engines_that_do_not_know_the_method_say_so() -> None:
    x = strokes(2)
    ensemble = make(mlp(8, 1), x, x[:0])
    with pytest.raises(UsageError, match="does not know method 'deferred'"):
        engines.make("torch", ensemble, ensemble.x_train, labels_for(2, 2))
