"""The triton engine against the law: in Triton's interpreter, or on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu import engines
from biasgpu.architectures import Architecture, lenet, mlp
from biasgpu.engines import BORDERLINE, triton_choice, triton_inputs, triton_screened
from biasgpu.engines.triton_engine import TritonDeferredEngine
from biasgpu.errors import ResourceError, UsageError
from biasgpu.estimates import clopper_pearson
from biasgpu.kernels import launch, plan
from biasgpu.kernels.workspace import Workspace
from biasgpu.layers import Dense, Flatten, ReLU
from biasgpu.sampling.screening import screen
from tests.kernel_cases import DEVICE, DeferredCase

INTERPRETED = DEVICE.type == "cpu"
ODD = [Flatten(), Dense(20), Dense(9, "prior"), ReLU(), Dense(70)]
CASES = {
    "two logits": DeferredCase(mlp(70, 2), n_draws=3, seed=2**63 + 3, first_draw=2**41 + 180),
    "one logit": DeferredCase(mlp(17, 2, head="one-logit"), n_train=3, n_draws=7, seed=2**32),
    "three classes": DeferredCase(
        mlp(33, 1, bias="prior"), n_classes=3, n_train=6, n_draws=3, first_draw=2**62 + 6, seed=5
    ),
    "biases": DeferredCase(mlp(18, 2, bias="prior"), n_train=4, n_draws=4, seed=2**64 - 1),
    "not rectified": DeferredCase(
        Architecture("odd", ODD), (9,), n_classes=4, n_train=3, n_draws=3, first_draw=2**50
    ),
    "no rule": DeferredCase(mlp(20, 1), n_train=4, n_draws=5, labels=(1, 0, 0, 1)),
    "more samples than units": DeferredCase(mlp(3, 1), n_train=9, n_draws=11, seed=8),
    "dying": DeferredCase(mlp(2, 2), (3,), n_train=3, n_draws=7, seed=2**40, first_draw=34),
    "dead input": DeferredCase(mlp(12, 1), n_train=4, n_draws=5, kind="zero"),
    "dead input, bias": DeferredCase(mlp(12, 1, bias="prior"), n_train=4, n_draws=5, kind="zero"),
    "one twice": DeferredCase(mlp(20, 1), (4,), n_train=4, n_draws=7, kind="one twice"),
    "one sample": DeferredCase(mlp(20, 1), n_train=1, n_draws=5),
    "many samples": DeferredCase(
        mlp(16, 1), (20,), n_train=11, n_draws=2, seed=2**63, first_draw=622
    ),
    "deep": DeferredCase(mlp(20, 4), (8,), n_train=4, n_draws=1, seed=2**33, first_draw=4),
    "infinite": DeferredCase(mlp("inf", 2), n_train=8, n_draws=400, first_draw=2**63, seed=9),
    "infinite, three classes": DeferredCase(
        mlp("inf", 1, bias="prior"), n_classes=3, n_train=7, n_draws=300, seed=2**50
    ),
    "linear": DeferredCase(mlp(4, 0), n_train=7, n_draws=300),
    "large": DeferredCase(mlp(8, 1), n_train=4, n_draws=5, kind="large", prior="normal:1e9"),
    "vast": DeferredCase(mlp(4, 7), n_train=1, n_draws=1, kind="large", prior="normal:1e12"),
}
# Draws that may be left to the law; elsewhere float64 decides them all.
BORDERLINE_SHARE = {"one twice": 0.6, "more samples than units": 0.1, "vast": 1.0}


@pytest.mark.parametrize("name", CASES)
def test_states_the_law(name: str) -> None:
    case = CASES[name]
    engine, law = case.engine(), case.law()
    found = engine.screen(case.first_draw, case.n_draws)
    assert (found.dtype, found.shape) == (np.uint16, (case.n_draws,))
    sure = found != BORDERLINE
    assert found[sure].tolist() == law[sure].tolist()
    assert (~sure).mean() <= BORDERLINE_SHARE.get(name, 0.0)
    decided, borderline = screen(engine, case.first_draw, case.n_draws, threads=1)
    assert decided.tolist() == law.tolist()
    assert borderline.tolist() == np.flatnonzero(~sure).tolist()
    engine.close()


def test_cases_are_worth_their_while() -> None:
    for name in ("two logits", "three classes", "infinite", "linear"):
        assert len(set(CASES[name].law().tolist())) > 2, name
    assert (CASES["many samples"].law() > 8).any()


@pytest.mark.parametrize("name", ["infinite", "dying"])
def test_ranges_may_be_cut_anywhere_and_of_any_size(name: str) -> None:
    case = CASES[name]
    engine, law = case.engine(), case.law()
    for start, n in ((0, 0), (3, 1), (1, 3)):
        found = engine.screen(case.first_draw + start, n)
        assert found.tolist() == law[start : start + n].tolist()


def test_the_last_draws_have_names() -> None:
    case = CASES["infinite"]
    last = case.ensemble.max_draws - 20
    case = DeferredCase(mlp("inf", 2), n_train=8, first_draw=last, n_draws=20, seed=9)
    assert case.engine().screen(last, 20).tolist() == case.law().tolist()


def test_batches_change_nothing() -> None:
    for name, bytes_ in (("linear", 1), ("dying", 300), ("infinite", 200_000)):
        case = CASES[name]
        engine = case.engine(memory_bytes=bytes_)
        n = 3
        assert engine.screen(case.first_draw, n).tolist() == case.law()[:n].tolist()


def test_calls_are_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_screened, "MAX_CALL", 7)
    case = CASES["linear"]
    assert case.engine().screen(0, 23).tolist() == case.law()[:23].tolist()


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    case, limit = CASES["linear"], 40
    make = Workspace.make

    def scarce(n_samples: int, n_outputs: int, capacity: int, *rest: Any) -> Workspace:
        if capacity > limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate ...")
        return make(n_samples, n_outputs, capacity, *rest)

    monkeypatch.setattr(Workspace, "make", scarce)
    engine = case.engine()
    assert engine.notice == ""
    assert engine.screen(0, 100).tolist() == case.law()[:100].tolist()
    assert engine.notice.endswith("batches of 25 draws")
    limit = 0
    with pytest.raises(ResourceError, match="does not fit the memory"):
        engine.screen(0, 5)

    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Workspace, "make", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        engine.screen(0, 5)


def test_float64_decides_what_float32_leaves_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """With float32's bounds made wide, all is left to the second try; without it, to the law."""
    case = CASES["linear"]
    monkeypatch.setattr(triton_inputs, "EPSILON", 0.7)
    engine, law = case.engine(), case.law()
    assert engine.screen(0, case.n_draws).tolist() == law.tolist()
    # Having seen that, the engine goes to float64 at once: for all later stages of such draws.
    assert engine._hopeless
    assert engine.screen(0, case.n_draws).tolist() == law.tolist()
    engine._hopeless.clear()
    tried = engine._try

    def once(*args: Any) -> None:
        if not args[3]:
            tried(*args)

    monkeypatch.setattr(engine, "_try", once)
    found = engine.screen(0, case.n_draws)
    assert 0.3 < (found == BORDERLINE).mean() < 1.0
    sure = found != BORDERLINE
    assert found[sure].tolist() == law[sure].tolist()


# --- who gets it ---------------------------------------------------------------------------------


def test_what_it_does_not_take() -> None:
    behind = DeferredCase(lenet("1/6"), (1, 16, 16), n_train=4)
    with pytest.raises(UsageError, match="convolutions stand before"):
        engines.make("triton", behind.ensemble, behind.x_train, behind.y_train)


@pytest.mark.skipif(not INTERPRETED, reason="there is a GPU")
def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["linear"]
    parts = (case.ensemble, case.x_train, case.y_train)
    assert engines.make("triton", *parts).name == "triton"
    assert engines.available()["triton"] is not None
    monkeypatch.delenv("TRITON_INTERPRET")
    for device in (None, "cuda", "cuda:1"):
        with pytest.raises(ResourceError) as caught:
            engines.make("triton", *parts, device=device)
        assert caught.value.exit_code == 5
        assert caught.value.why and caught.value.fix
    with pytest.raises(ResourceError):
        engines.make("auto", *parts, device="cuda")
    for device in ("cpu", "gpu", "cuda:x"):
        with pytest.raises(UsageError, match="computes on a GPU"):
            engines.make("triton", *parts, device=device)


def test_samples_beyond_a_grid_are_left_to_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    for wide in (False, True):
        assert plan.n_pairs(plan.MAX_SAMPLES, wide) <= launch.MAX_GRID_Y
    assert plan.n_pairs(plan.MAX_SAMPLES + 1, True) > launch.MAX_GRID_Y
    monkeypatch.setattr(plan, "MAX_SAMPLES", 4)
    case = CASES["linear"]
    found, law = case.engine().screen(0, 300), case.law()
    assert (found[law >= 4] == BORDERLINE).all() and (law >= 4).any()
    assert found[law < 4].tolist() == law[law < 4].tolist()
    on = torch.empty(0, device=DEVICE)
    for grid in ((1, launch.MAX_GRID_Y + 1), (launch.MAX_GRID + 1,)):
        with pytest.raises(ValueError, match="is the largest there is"):
            launch._run(None, on, grid)


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["linear"]
    for module in (engines, triton_choice):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == "triton" else True)
    assert engines.available()["triton"] == "triton is not installed"
    with pytest.raises(ResourceError, match="needs triton") as caught:
        engines.make("triton", case.ensemble, case.x_train, case.y_train)
    assert "biasgpu[gpu]" in caught.value.fix


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["linear"]
    parts = (case.ensemble, case.x_train, case.y_train)
    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    assert isinstance(engines.make("auto", *parts), TritonDeferredEngine)
    behind = DeferredCase(lenet("1/6"), (1, 16, 16), n_train=4)
    assert not engines._triton_takes(behind.ensemble)


# --- on a GPU ------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_million_candidates(depth: int) -> None:
    """Every kind of prefix is the law's, and as many draws fit as the law says of others."""
    case = DeferredCase(mlp(512, depth), (20,), n_train=8, seed=2**40 + depth)
    engine, n = case.engine(), 500_000
    found = engine.screen(2**41, n)
    assert (found == BORDERLINE).mean() < 1e-3
    picked = np.concatenate([np.flatnonzero(found == p)[:40] for p in np.unique(found)])
    for place in picked.tolist():
        one = DeferredCase(
            case.architecture, case.shape, n_train=8, seed=case.seed,
            first_draw=2**41 + place, n_draws=1,
        )  # fmt: skip
        assert found[place] in (BORDERLINE, one.law()[0])
    few = DeferredCase(
        case.architecture, case.shape, n_train=8, seed=case.seed, first_draw=7, n_draws=2000
    )
    law = few.law()
    assert (engine.screen(7, 2000)[law > 2] != BORDERLINE).mean() > 0.9
    for prefix in (2, 4, 8):
        low, high = clopper_pearson(int((law >= prefix).sum()), len(law), 1 - 1e-6)
        assert low <= (found[found != BORDERLINE] >= prefix).mean() <= high


@pytest.mark.gpu
@pytest.mark.slow
def test_the_gpu_agrees_with_itself_in_any_batches() -> None:
    case = DeferredCase(mlp(300, 2), (20,), n_train=16, seed=11)
    whole = case.engine().screen(5, 100_001)
    cut = case.engine(memory_bytes=1 << 20)
    assert np.array_equal(cut.screen(5, 100_001), whole)
    assert torch.cuda.is_available()
