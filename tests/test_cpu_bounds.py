"""The cpu engine's error bounds contain the law, on ordinary and on extreme networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from biasgpu import engines, exact, priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.engines.cpu.program import INJECT
from biasgpu.engines.cpu.simd import LANES_F32
from biasgpu.engines.cpu.walk import OVERFLOW
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.priors import NormalPrior
from tests.strategies import ensembles, strokes

HUGE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Screened:
    """What one tile of lanes says, and the law.

    Attributes:
        logits, law: float64 `(samples, outputs, lanes)`.
        bounds: float64 `(lanes,)`.
        trusted: bool `(lanes,)`: no overflow; nothing is stated of the others.
        alive: bool `(samples, lanes)`.
    """

    logits: npt.NDArray[np.float64]
    law: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float64]
    trusted: npt.NDArray[np.bool_]
    alive: npt.NDArray[np.bool_]


def screen(
    ensemble: Ensemble, x: npt.NDArray[np.float32], first_draw: int, inject: float = 1.0
) -> Screened:
    """Screen sixteen draws in one stage, then look into the workspace.

    Args:
        inject: the error that a layer adds is said to be so many times what it is.
    """
    n, k = len(x), ensemble.n_outputs
    engine = CpuEngine(ensemble, x, np.zeros(n, np.int64), threads=1, stages=np.array([n]))
    engine.program.constants[:, INJECT] *= inject
    engine.screen(first_draw, LANES_F32)
    space = engine._workers.spaces.get()
    engine.close()
    buffer = space.there if len(engine.program.ops) % 2 else space.here
    logits = buffer[: n * k * LANES_F32].reshape(n, k, LANES_F32).astype(np.float64)
    draws = np.uint64(first_draw) + np.arange(LANES_F32, dtype=np.uint64)
    return Screened(
        logits=logits,
        law=np.moveaxis(exact.logits(ensemble, draws, x, threads=1), 0, -1),
        bounds=space.bounds[:LANES_F32].astype(np.float64),
        trusted=space.bounds[LANES_F32 : 2 * LANES_F32] < OVERFLOW,
        alive=space.alive[: n * LANES_F32].reshape(n, LANES_F32) != 0,
    )


def check(found: Screened) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        off = found.logits - found.law
        # Of two logits the bound is half that of their difference, which is what decides.
        if off.shape[1] == 2:
            off = (off[:, 1:] - off[:, :1]) / 2
        inside = np.abs(off) <= found.bounds
    assert inside[..., found.trusted].all()
    silent = ~found.alive & found.trusted
    assert (np.moveaxis(found.law, 1, -1)[silent] == 0).all()


def ordinary() -> list[tuple[Ensemble, npt.NDArray[np.float32]]]:
    made: list[tuple[Architecture, str]] = [
        (lenet("1/6"), "uniform"),
        (paper_mlp("1/6"), "kaiming-normal"),
        (mlp(40, 2), "kaiming-normal"),
        (mlp(16, 3, head="one-logit", bias="prior"), "uniform8"),
        (mlp(2, 3), "kaiming-uniform16"),
    ]
    shape = (1, 28, 28)
    return [(Ensemble(net, priors.make(name), shape, 2, 5), strokes(6)) for net, name in made]


@pytest.mark.parametrize("number", range(5))
def test_ordinary_networks(number: int) -> None:
    found = screen(*ordinary()[number], first_draw=2**40)
    assert found.trusted.all()
    check(found)
    # Useful bounds, too, far smaller than the logits of a draw.
    assert np.median(found.bounds / np.abs(found.law).max(axis=(0, 1)).clip(1e-30)) < 1e-2
    assert (found.bounds > 0)[found.alive.any(axis=0)].all()


def test_silent_networks_are_seen() -> None:
    found = screen(*ordinary()[4], first_draw=0)
    assert 0.1 < found.alive.mean() < 0.9


@st.composite
def extremes(draw: st.DrawFn) -> tuple[Ensemble, npt.NDArray[np.float32], int]:
    """A random ensemble whose weights and inputs may be of any size."""
    scale = 10.0 ** draw(st.one_of(st.floats(-12, 6), st.sampled_from([-12.0, 0.0, 6.0, 12.0])))
    ensemble = draw(ensembles())
    if draw(st.integers(0, 3)):
        family = draw(st.sampled_from(["uniform", "uniform16", "uniform8", "normal"]))
        ensemble = replace(ensemble, prior=priors.make(f"{family}:{scale!r}"))
    if CpuEngine.supports(ensemble) is not None:
        reject()
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 7)), *ensemble.shape)
    x = rng.normal(size=shape)
    size = draw(st.sampled_from(["one", "one", "large", "small", "denormal", "any", "most"]))
    if size in ("large", "small"):
        x *= 10.0 ** draw(st.integers(2, 36) if size == "large" else st.integers(-38, -2))
    elif size == "denormal":
        x *= 1e-42
    elif size == "any":
        x *= 10.0 ** rng.uniform(-44, 37, size=shape)
    elif size == "most":
        x = np.sign(x) * HUGE
    x_train = np.clip(x, -HUGE, HUGE).astype(np.float32)
    return ensemble, x_train, draw(st.sampled_from([0, 12345, 2**40 - 7, ensemble.max_draws - 16]))


@settings(
    derandomize=True,
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=extremes())
def test_extreme_networks(case: tuple[Ensemble, npt.NDArray[np.float32], int]) -> None:
    check(screen(*case))


@pytest.mark.parametrize("number", range(4))
def test_a_bound_that_is_too_small_would_be_noticed(number: int) -> None:
    ensemble, x = ordinary()[number]
    with pytest.raises(AssertionError):
        check(screen(ensemble, x, 2**40, inject=1e-4))


@pytest.mark.parametrize("scale", [2.0**-64, 1e-15, 1e25, 1e35])
def test_normal_priors_of_a_users_own_scale(scale: float) -> None:
    ensemble, x = own_scale(scale)
    check(screen(ensemble, x, 0))


@pytest.mark.parametrize("scale", [1e-44, 1e-33, 1e-30, 5e-20])
def test_weights_too_small_for_float32(scale: float) -> None:
    ensemble, x = own_scale(scale)
    assert "too small" in str(CpuEngine.supports(ensemble))
    with pytest.raises(UsageError, match="too small for float32"):
        screen(ensemble, x, 0)
    found = engines.make("auto", ensemble, x, np.arange(len(x)) % 2, device="cpu")
    assert found.name != "cpu"
    stated = found.screen(0, 40)
    expected = ReferenceEngine(ensemble, x, np.arange(len(x)) % 2).screen(0, 40)
    sure = stated != BORDERLINE
    assert stated[sure].tolist() == expected[sure].tolist()


def own_scale(scale: float) -> tuple[Ensemble, npt.NDArray[np.float32]]:
    ensemble = Ensemble(mlp(depth=0), NormalPrior("test-own", lambda fan_in: scale), (5,), 2, 5)
    return ensemble, (1e20 * np.random.default_rng(0).normal(size=(6, 5))).astype(np.float32)
