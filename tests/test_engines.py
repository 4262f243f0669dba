"""Every engine against the law, on random ensembles and training sets."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from biasgpu import engines, priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.engines import BORDERLINE, Engine
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.ensemble import Ensemble
from biasgpu.errors import BiasgpuError, ResourceError, UsageError
from tests.strategies import Case, Lopsided, cases, strokes

CPU_MISSING = find_spec("biasgpu.engines.cpu.engine") is None
ENGINES = [
    "torch",
    pytest.param("cpu", marks=pytest.mark.skipif(CPU_MISSING, reason="no compiled engine yet")),
]
BORDERLINE_SHARE = {"torch": 0.0, "cpu": 0.2}  # of the draws of ordinary networks, at most


def _make(name: str, case: Case) -> Engine | None:
    """The engine, or None where it does not take the ensemble."""
    if name == "cpu":
        from biasgpu.engines.cpu.engine import CpuEngine

        if CpuEngine.supports(case.ensemble) is not None:
            return None
    return engines.make(name, case.ensemble, case.x_train, case.y_train, device="cpu")


def check_engine(name: str, case: Case) -> float:
    """Hold an engine to the law.

    Returns:
        The share of draws that are borderline.
    """
    engine = _make(name, case)
    if engine is None:
        reject()
    law = ReferenceEngine(case.ensemble, case.x_train, case.y_train)
    found = engine.screen(case.first_draw, case.n_draws)
    engine.close()
    assert found.dtype == np.uint16
    assert found.shape == (case.n_draws,)
    stated = found != BORDERLINE
    expected = law.screen(case.first_draw, case.n_draws)
    assert found[stated].tolist() == expected[stated].tolist()
    return 1.0 - float(stated.mean())


@pytest.mark.parametrize("name", ENGINES)
@settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases())
def test_states_only_what_the_law_says(name: str, case: Case) -> None:
    check_engine(name, case)


ORDINARY: list[tuple[Architecture, str]] = [
    (lenet("1/6"), "uniform"),
    (lenet("2/6"), "kaiming-uniform"),
    (lenet("1/6,1/6,1/24,1/24"), "uniform"),
    (paper_mlp("2/6"), "uniform"),
    (paper_mlp("2/6"), "kaiming-normal"),
    (mlp(64, 2), "kaiming-normal"),
    (mlp(32, 1, head="one-logit", bias="prior"), "uniform16"),
]


@pytest.mark.parametrize(("architecture", "prior"), ORDINARY, ids=str)
@pytest.mark.parametrize("name", ENGINES)
def test_ordinary_networks_are_rarely_borderline(
    name: str, architecture: Architecture, prior: str
) -> None:
    x = strokes(8)
    ensemble = Ensemble(architecture, priors.make(prior), (1, 28, 28), 2, 2**32)
    case = Case(ensemble, x, np.arange(8) % 2, 2**40, 80)
    assert check_engine(name, case) <= BORDERLINE_SHARE[name]


@pytest.mark.parametrize("name", ENGINES)
@settings(derandomize=True, deadline=None, max_examples=10)
@given(cuts=st.lists(st.integers(1, 299), max_size=4))
def test_splitting_the_range_changes_nothing(name: str, cuts: list[int]) -> None:
    ensemble = Ensemble(mlp(8, 1, bias="prior"), priors.make("uniform"), (3,), 2, 5)
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    engine = _make(name, Case(ensemble, x, np.arange(6) % 2, 0, 300))
    assert engine is not None
    first = 2**33 - 150
    whole = engine.screen(first, 300)
    edges = [0, *sorted(set(cuts)), 300]
    parts = [engine.screen(first + a, b - a) for a, b in pairwise(edges)]
    law = ReferenceEngine(ensemble, x, np.arange(6) % 2).screen(first, 300)
    for found in (whole, np.concatenate(parts)):
        stated = found != BORDERLINE
        assert stated.mean() > 0.9
        assert found[stated].tolist() == law[stated].tolist()


# --- the registry ------------------------------------------------------------------------------

X, Y = np.ones((2, 3), dtype=np.float32), np.array([0, 1])
SMALL = Ensemble(mlp(2, 1), priors.make("uniform"), (3,), 2, 0)


def test_make_by_name() -> None:
    assert engines.make("reference", SMALL, X, Y).name == "reference"
    assert engines.make("torch", SMALL, X, Y, device="cpu", threads=1).name == "torch"
    assert set(engines.available()) == set(engines.NAMES)
    assert engines.available()["torch"] is None


def test_auto_takes_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Ensemble(mlp(2, 1), Lopsided(), (3,), 2, 0)
    monkeypatch.setattr(engines, "available", lambda: {"torch": None, "cpu": "no numba"})
    assert engines.make("auto", own, X, Y).name == "torch"
    assert engines.make("auto", SMALL, X, Y).device == "cpu"
    monkeypatch.setattr(engines, "available", lambda: {"torch": "no torch", "cpu": "no numba"})
    assert engines.make("auto", SMALL, X, Y).name == "reference"
    with pytest.raises(ResourceError, match="torch"):
        engines.make("torch", SMALL, X, Y)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"name": "torhc"}, UsageError, "Did you mean 'torch'"),
        ({"name": "torch", "device": "cdua"}, UsageError, "unknown device"),
        ({"name": "torch", "device": "cuda:99"}, ResourceError, "no device cuda:99"),
        ({"name": "auto", "device": "cuda:99"}, ResourceError, "no device cuda:99"),
        ({"name": "reference", "device": "cuda"}, UsageError, "computes on the CPU"),
        ({"name": "torch", "threads": 0}, UsageError, "threads is 0"),
    ],
)
def test_refused(options: dict, kind: type[BiasgpuError], message: str) -> None:
    with pytest.raises(kind, match=message):
        engines.make(ensemble=SMALL, x_train=X, y_train=Y, **options)


def test_more_samples_than_a_prefix_counts() -> None:
    with pytest.raises(UsageError, match="n_train is 65535"):
        engines.make("reference", SMALL, np.ones((65535, 3), np.float32), np.zeros(65535, int))
