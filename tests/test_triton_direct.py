"""The triton engine by method "direct" against the law: in Triton's interpreter, or on a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

from biasgpu import doctor, engines, priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.engines import BORDERLINE, triton_choice, triton_program, triton_screened
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.split import SplitEngine
from biasgpu.engines.torch_engine import TorchEngine
from biasgpu.engines.triton_direct import TritonDirectEngine
from biasgpu.engines.triton_space import Space
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.estimates import clopper_pearson
from biasgpu.layers import Conv2d, Flatten, Scale
from biasgpu.priors import Prior, UniformPrior
from tests.direct_cases import CASES, DirectCase, shorter
from tests.kernel_cases import DEVICE

INTERPRETED = DEVICE.type == "cpu"
# Draws that may be left to the law; elsewhere float64 decides them all. (A window of a convolution
# that only sees zeros has the bound of its channel.)
BORDERLINE_SHARE = {"convolutions": 0.05, "pools of pools": 0.05, "large": 1.0}


@pytest.mark.parametrize("name", CASES)
def test_states_the_law(name: str) -> None:
    case = CASES[name]
    engine, law = case.engine(), case.law()
    with np.errstate(over="ignore", invalid="ignore"):  # the interpreter computes with NumPy
        found = engine.screen(case.first_draw, case.n_draws)
    assert (found.dtype, found.shape) == (np.uint16, (case.n_draws,))
    sure = found != BORDERLINE
    assert found[sure].tolist() == law[sure].tolist()
    assert (~sure).mean() <= BORDERLINE_SHARE.get(name, 0.0)
    assert engine.tally.borderline == (~sure).sum()
    assert engine.tally.float32 >= case.n_draws


def test_cases_are_worth_their_while() -> None:
    for name in ("points", "three classes", "normal", "convolutions", "biased convolutions"):
        assert len(set(CASES[name].law().tolist())) > 2, name
    assert (CASES["linear"].law() > 6).any()  # as far as the third stage


def test_random_ensembles() -> None:
    """Those of `doctor`, without images: the interpreter is slow."""
    rng, tried = np.random.default_rng(7), 0
    while tried < 4:
        ensemble, x, y = doctor._random_ensemble(rng)
        first = int(rng.integers(2**40, 2**62))
        small = sum(s.linear.units * s.columns for s in ensemble.steps if s.linear) < 120
        if ensemble.method != "direct" or len(ensemble.shape) > 1 or not small:
            continue
        tried += 1
        found = TritonDirectEngine(ensemble, x, y).screen(first, 33)
        law = ReferenceEngine(ensemble, x, y).screen(first, 33)
        sure = found != BORDERLINE
        assert found[sure].tolist() == law[sure].tolist(), ensemble
        assert sure.mean() > 0.9


def test_ranges_may_be_cut_anywhere_and_of_any_size() -> None:
    case = CASES["points"]
    engine, law = case.engine(), case.law()
    for start, n in ((0, 0), (3, 1), (1, 7)):
        found = engine.screen(case.first_draw + start, n)
        assert found.tolist() == law[start : start + n].tolist()


def test_the_last_draws_have_names() -> None:
    case = CASES["kaiming"]
    case = replace(case, first_draw=case.ensemble.max_draws - 9, n_draws=9)
    assert case.engine().screen(case.first_draw, 9).tolist() == case.law().tolist()


def test_batches_and_calls_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(CASES["points"], n_draws=150)
    law = case.law().tolist()
    assert case.engine(memory_bytes=1).screen(case.first_draw, 150).tolist() == law
    monkeypatch.setattr(triton_screened, "MAX_CALL", 70)
    assert case.engine().screen(case.first_draw, 150).tolist() == law


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    case, limit = replace(CASES["points"], n_draws=300), 128
    make = Space.make

    def scarce(program: Any, samples: int, capacity: int, *rest: Any) -> Space:
        if capacity > limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate ...")
        return make(program, samples, capacity, *rest)

    monkeypatch.setattr(Space, "make", scarce)
    engine = case.engine()
    assert engine.notice == ""
    assert engine.screen(case.first_draw, 300).tolist() == case.law().tolist()
    assert engine.notice.endswith("batches of 128 draws")
    limit = 0
    with pytest.raises(ResourceError, match="do not fit the memory"):
        engine.screen(0, 5)

    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Space, "make", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        engine.screen(0, 5)


@pytest.mark.parametrize("name", ["normal", "three classes", "biased convolutions"])
def test_float64_decides_what_float32_leaves_open(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With float32's bounds made wide, all is left to the second try; without it, to the law."""
    case = shorter(name, 32)
    exact = triton_program.layer_constants

    def loose(n: int, depth: int | None, eps: float, dtype: str) -> Any:
        return replace(exact(n, depth, eps, dtype), inject=0.3 if dtype == "float32" else 1e-15)

    monkeypatch.setattr(triton_program, "layer_constants", loose)
    engine, law = case.engine(), case.law()
    assert engine.screen(case.first_draw, 32).tolist() == law.tolist()
    assert engine.tally.float64 > 16
    tried = engine._try

    def once(*args: Any) -> None:
        if not args[2]:
            tried(*args)

    monkeypatch.setattr(engine, "_try", once)
    found = engine.screen(case.first_draw, 32)
    assert (found == BORDERLINE).mean() > 0.5
    sure = found != BORDERLINE
    assert found[sure].tolist() == law[sure].tolist()


# --- who gets it ---------------------------------------------------------------------------------


class Sawtooth(UniformPrior):
    """A prior that only its own code knows."""


class _Doubled(Scale):
    """A layer that a kernel might take for its base."""

    factor = 2.0


def _ensemble(architecture: Architecture, shape: tuple[int, ...], prior: Prior) -> Ensemble:
    return Ensemble(architecture, prior, shape, 2, 0)


def test_covers_what_was_published() -> None:
    uniform = priors.make("uniform")
    for shape in ((1, 28, 28), (3, 32, 32)):
        for width in ("1/6", "2/6", "3/6", "4/6", "1"):
            for depth in ("2c-3f", "2c-2f", "2c-1f", "1c-1f"):
                assert triton_choice.takes(_ensemble(lenet(width, depth), shape, uniform))
            for layers in range(1, 5):
                assert triton_choice.takes(_ensemble(paper_mlp(width, layers), shape, uniform))
        for name in ("kaiming-normal", "uniform:0.2", "uniform8"):
            assert triton_choice.takes(_ensemble(mlp(4096, 3), shape, priors.make(name)))


def test_what_no_kernel_covers_falls_back_to_torch() -> None:
    scaled = Architecture("scaled", [_Doubled(), Conv2d(2, kernel=3), Flatten()])
    own = Sawtooth("sawtooth", lambda fan_in: 1.0)
    uniform = priors.make("uniform")
    x = np.random.default_rng(0).normal(size=(4, 1, 4, 4)).astype(np.float32)
    y = np.array([0, 1, 0, 1])
    for ensemble, reason in (
        (_ensemble(scaled, (1, 4, 4), uniform), "there is no kernel for _Doubled"),
        (_ensemble(mlp(3, 1), (1, 4, 4), own), "sawtooth is known by its NumPy code alone"),
    ):
        engine = engines.make("triton", ensemble, x, y)
        assert isinstance(engine, TorchEngine)
        assert engine.device == DEVICE.type or engine.device == "cuda:0"
        assert reason in engine.notice and "torch engine screens" in engine.notice
        law = ReferenceEngine(ensemble, x, y).screen(0, 20)
        found = engine.screen(0, 20)
        assert found[found != BORDERLINE].tolist() == law[found != BORDERLINE].tolist()
        with pytest.raises(UsageError, match="does not take this ensemble"):
            TritonDirectEngine(ensemble, x, y)
    assert TorchEngine(ensemble, x, y, device="cpu").notice == ""


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["kaiming"]
    parts = (case.ensemble, case.x_train, case.y_train)
    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    assert isinstance(engines.make("auto", *parts), TritonDirectEngine)
    assert engines.make("auto", *parts, device="cpu").name == "cpu"
    monkeypatch.setattr(engines, "_has_gpu", lambda: False)
    assert engines.make("auto", *parts).name == "cpu"


# --- several devices -----------------------------------------------------------------------------


class _Recorded(ReferenceEngine):
    """Says which draws it was given."""

    def __init__(self, case: DirectCase, device: str) -> None:
        super().__init__(case.ensemble, case.x_train, case.y_train)
        self.device, self.ranges, self.closed = device, list[tuple[int, int]](), False

    def screen(self, first_draw: int, n_draws: int) -> npt.NDArray[np.uint16]:
        self.ranges.append((first_draw, n_draws))
        return super().screen(first_draw, n_draws)

    def close(self) -> None:
        self.closed = True


def test_several_devices_find_what_one_does() -> None:
    case = CASES["points"]
    parts = [_Recorded(case, f"cuda:{i}") for i in range(3)]
    split = SplitEngine(parts)
    for n in (0, 1, 2, 64):
        found = split.screen(case.first_draw, n)
        assert found.tolist() == case.law()[:n].tolist()
    assert (split.name, split.device) == ("reference", "cuda:0,cuda:1,cuda:2")
    last = [part.ranges[-1] for part in parts]
    first = case.first_draw
    assert last == [(first, 21), (first + 21, 21), (first + 42, 22)]
    assert (split.granularity, split.minimum, split.notice) == (3, 3, "")
    split.close()
    assert all(part.closed for part in parts)


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["points"]
    parts = (case.ensemble, case.x_train, case.y_train)
    made: list[str | None] = []

    def one(*args: Any) -> ReferenceEngine:
        made.append(args[3])
        return _Recorded(case, str(args[3]))

    monkeypatch.setattr(triton_choice, "_on_one", one)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for device, names in (
        ("all", ["cuda:0", "cuda:1"]),
        ("cuda, cuda:3", ["cuda:0", "cuda:3"]),
        ("cuda:1", ["cuda:1"]),
        (None, [None]),
    ):
        made.clear()
        engine = engines.make("triton", *parts, device=device)
        assert made == names
        assert isinstance(engine, SplitEngine) == (len(names) > 1)
        engine.close()
    with pytest.raises(UsageError, match="named twice"):
        engines.make("triton", *parts, device="cuda,cuda:0")


# --- on a GPU ------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet", "paper-mlp", "wide"])
def test_a_million_draws(name: str) -> None:
    """Every kind of prefix is the law's, and as many draws fit as the law says of others."""
    architecture = {"lenet": lenet("2/6"), "paper-mlp": paper_mlp("2/6"), "wide": mlp(300, 2)}[name]
    case = DirectCase(architecture, (1, 28, 28), n_train=8, seed=2**40)
    engine, n = case.engine(), 1_000_000
    found = engine.screen(2**41, n)
    assert (found == BORDERLINE).mean() < 1e-3
    picked = np.concatenate([np.flatnonzero(found == p)[:20] for p in np.unique(found)])
    for place in picked.tolist():
        one = replace(case, first_draw=2**41 + place, n_draws=1)
        assert found[place] in (BORDERLINE, one.law()[0])
    few = replace(case, first_draw=7, n_draws=1000).law()
    for prefix in (2, 4, 8):
        low, high = clopper_pearson(int((few >= prefix).sum()), len(few), 1 - 1e-6)
        assert low <= (found[found != BORDERLINE] >= prefix).mean() <= high
