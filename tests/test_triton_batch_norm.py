"""The triton engine on networks with batch norms against the law: interpreted, or on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("triton", reason="triton is not installed")

from biasgpu import engines, priors
from biasgpu.architectures import Architecture, resnet4
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines import BORDERLINE, triton_batch_norm, triton_choice
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.torch_engine import TorchEngine
from biasgpu.engines.triton_batch_norm import TritonBatchNormEngine
from biasgpu.engines.triton_batch_norm_program import unsupported
from biasgpu.engines.triton_timing import kernel_times
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.estimates import clopper_pearson
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, Fork, Join, MaxPool2d, ReLU, Scale
from biasgpu.priors import UniformPrior
from tests import batch_norm_cases
from tests.kernel_cases import DEVICE
from tests.strategies import Case, strokes

SMALL = (1, 8, 8)


@dataclass(frozen=True)
class NormCase:
    """Networks with batch norms, a training set and some draws."""

    architecture: Architecture
    shape: tuple[int, ...] = SMALL
    prior: str = "uniform"
    n_classes: int = 2
    n_train: int = 5
    first_draw: int = 2**41 + 3
    n_draws: int = 5
    seed: int = 2**33 + 1
    spread: float = 1.0

    @property
    def x_train(self) -> npt.NDArray[np.float32]:
        x = np.random.default_rng(3).normal(size=(self.n_train, *self.shape))
        return (self.spread * x).astype(np.float32)

    @property
    def y_train(self) -> npt.NDArray[np.int64]:
        return np.arange(self.n_train, dtype=np.int64) % self.n_classes

    @property
    def ensemble(self) -> Ensemble:
        parts = (self.architecture, priors.make(self.prior), self.shape, self.n_classes, self.seed)
        coupled = any(isinstance(layer, BatchNorm2d) for layer in self.architecture.layers)
        return BatchNormEnsemble(*parts, self.x_train) if coupled else Ensemble(*parts)

    def engine(self, memory_bytes: int | None = None) -> TritonBatchNormEngine:
        parts = (self.ensemble, self.x_train, self.y_train)
        return TritonBatchNormEngine(*parts, memory_bytes=memory_bytes)

    def law(self) -> npt.NDArray[np.uint16]:
        reference = ReferenceEngine(self.ensemble, self.x_train, self.y_train)
        return reference.screen(self.first_draw, self.n_draws)


# A little of everything; nothing of it is in the published networks.
MIXED = Architecture(
    "mixed",
    [
        MaxPool2d(2), Fork(), ReLU(), Conv2d(2, "prior", kernel=1), BatchNorm2d(), ReLU(), Join(),
        ReLU(), MaxPool2d(3), BatchNorm2d(), Scale(-0.5), Conv2d(3, "none", kernel=2), ReLU(),
        Flatten(), Dense(4, "prior"), ReLU(), Fork(), Dense(4), Join(),
    ],
    bias="prior",
)  # fmt: skip
PADDED = Architecture("padded", [Conv2d(2, "prior", 3, 1), ReLU(), MaxPool2d(2), Flatten()])
POINTS = Architecture("points", [], bias="prior")
# The interpreter takes some 0.1 s for a draw and layer.
CASES = {
    "three stages": NormCase(resnet4("2/6,1/6,1/6", 3), n_draws=1, n_train=4, seed=2**33 + 3),
    "two stages, normal": NormCase(
        resnet4("1/6,1/12", 2), (1, 5, 4), "kaiming-normal", n_train=7, n_draws=3, seed=2**33 + 2
    ),
    "colours, few bits": NormCase(
        resnet4("1/6,1/12,1/12", 3), (3, 8, 9), "uniform8", n_train=3, n_draws=2, seed=2**33 + 11
    ),
    "three classes": NormCase(
        resnet4("1/6,1/12", 2), (1, 4, 4), "uniform16", n_classes=3, seed=2**33 + 20
    ),
    "one logit": NormCase(
        resnet4("1/6,1/12", 2, head="one-logit", bias="prior"), (1, 4, 4), "kaiming-uniform",
        seed=2**33 + 32,
    ),
    "mixed": NormCase(MIXED, (2, 12, 13), n_train=4, n_draws=3, seed=2**33 + 13),
    "one sample": NormCase(resnet4("1/6,1/12", 2), (1, 4, 4), n_train=1, n_draws=2),
    "in stages": NormCase(
        PADDED, (1, 4, 5), n_train=9, n_draws=12, first_draw=2**41 + 3, seed=2**33 + 27
    ),
    "points": NormCase(POINTS, (2,), n_train=2, n_draws=66, prior="normal"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_states_the_law(name: str) -> None:
    case = CASES[name]
    engine, law = case.engine(), case.law()
    with np.errstate(over="ignore", invalid="ignore"):  # the interpreter computes with NumPy
        found = engine.screen(case.first_draw, case.n_draws)
    assert (found.dtype, found.shape) == (np.uint16, (case.n_draws,))
    sure = found != BORDERLINE
    assert found[sure].tolist() == law[sure].tolist()
    assert sure.all()
    assert engine.tally.float32 == 0
    assert engine.tally.float64 >= case.n_draws


def test_cases_are_worth_their_while() -> None:
    for name in set(CASES) - {"three stages", "one sample"}:
        assert len(set(CASES[name].law().tolist())) > 1, name
    assert CASES["three stages"].law().tolist() == [4]
    assert (CASES["in stages"].law() > 2).any()  # as far as the second stage


@settings(
    derandomize=True,
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=batch_norm_cases.cases())
def test_random_networks(case: Case) -> None:
    """Whatever the layers, prior, seed and draws: what is stated is the law's."""
    if unsupported(case.ensemble):
        return
    n = min(case.n_draws, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        engine = TritonBatchNormEngine(case.ensemble, case.x_train, case.y_train)
        found = engine.screen(case.first_draw, n)
    law = ReferenceEngine(case.ensemble, case.x_train, case.y_train).screen(case.first_draw, n)
    sure = found != BORDERLINE
    assert found[sure].tolist() == law[sure].tolist()


def test_ranges_may_be_cut_anywhere_and_of_any_size() -> None:
    case = CASES["points"]
    engine, law = case.engine(), case.law()
    for start, n in ((0, 0), (1, 1), (1, 3)):
        assert engine.screen(case.first_draw + start, n).tolist() == law[start : start + n].tolist()


def test_the_last_draws_have_names() -> None:
    case = CASES["one logit"]
    case = replace(case, first_draw=case.ensemble.max_draws - 2, n_draws=2)
    assert case.engine().screen(case.first_draw, 2).tolist() == case.law().tolist()


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of any size, and halved where memory runs out."""
    case = CASES["points"]
    law = case.law().tolist()
    assert case.engine(memory_bytes=1).screen(case.first_draw, 66).tolist() == law
    make, limit = triton_batch_norm.Space.make, 64

    def scarce(program: Any, samples: int, padded: int, capacity: int, device: Any) -> Any:
        if capacity > limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate ...")
        return make(program, samples, padded, capacity, device)

    monkeypatch.setattr(triton_batch_norm.Space, "make", scarce)
    engine = case.engine()
    assert engine.screen(case.first_draw, 66).tolist() == law
    assert engine.notice.endswith("batches of 64 draws")
    limit = 0
    with pytest.raises(ResourceError, match="do not fit the memory"):
        engine.screen(0, 5)


def test_what_cannot_be_told_goes_to_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """With wide bounds, and where numbers overflow or are none, nothing is stated."""
    case = CASES["one logit"]
    program = triton_batch_norm.Program
    constants = program.constants

    def loose(self: Any, *args: Any) -> Any:
        found = constants(self, *args)
        found[0] = 1.0
        return found

    monkeypatch.setattr(program, "constants", loose)
    engine = case.engine()
    with np.errstate(invalid="ignore", over="ignore"):
        assert (engine.screen(case.first_draw, 2) == BORDERLINE).all()
    assert engine.tally.borderline == 2
    monkeypatch.undo()
    x = case.x_train.copy()
    x[0, 0, 0, 0] = np.inf
    ensemble = replace(case.ensemble, x_train=x)  # type: ignore[call-arg]
    with np.errstate(invalid="ignore", over="ignore"):
        found = TritonBatchNormEngine(ensemble, x, case.y_train).screen(0, 1)
        assert (found == BORDERLINE).all()
        large = replace(CASES["points"], spread=1e36, prior="normal:1e12")
        large = replace(large, architecture=Architecture("deep", [Dense(2)] * 24))
        assert (large.engine().screen(0, 1) == BORDERLINE).all()


# --- who gets it ---------------------------------------------------------------------------------


def test_takes_what_was_published() -> None:
    for shape in ((1, 28, 28), (3, 32, 32)):
        x = np.zeros((16, *shape), dtype=np.float32)
        for width in ("1/6", "2/6", "1", "4", "1/6,2/6,3/6,1"):
            for depth in (4, 3, 2) if "," not in width else (4,):
                for prior in priors.names():
                    made = priors.make(prior)
                    if type(made) is UniformPrior or made.family == "normal":
                        parts = (resnet4(width, depth), made, shape, 2, 0)
                        assert triton_choice.takes(BatchNormEnsemble(*parts, x))
    assert triton_choice.takes(CASES["mixed"].ensemble)


class _Mine(UniformPrior):
    """A prior that only its own code knows."""


def test_is_chosen_and_what_no_kernel_covers_falls_back_to_torch() -> None:
    case = CASES["one sample"]
    engine = engines.make("triton", case.ensemble, case.x_train, case.y_train)
    assert isinstance(engine, TritonBatchNormEngine)
    assert engine.notice == ""
    flat = [Conv2d(2, padding=1), BatchNorm2d(), Flatten(), Fork(), Dense(32), Join()]
    own = BatchNormEnsemble(case.architecture, _Mine("mine", lambda _: 1.0), case.shape, 2, 0,
                            case.x_train)  # fmt: skip
    for ensemble, reason in (
        (replace(case, architecture=Architecture("flat", flat)).ensemble, "grouped into other"),
        (own, "known by its NumPy code alone"),
    ):
        assert reason in (unsupported(ensemble) or "")
        engine = engines.make("triton", ensemble, case.x_train, case.y_train)
        assert isinstance(engine, TorchEngine) and reason in engine.notice
        assert engine.device in (DEVICE.type, "cuda:0")
        with pytest.raises(UsageError, match="does not take this ensemble"):
            TritonBatchNormEngine(ensemble, case.x_train, case.y_train)


def test_a_call_takes_no_longer_for_large_networks() -> None:
    sizes = []
    for width, n_train in (("1/12", 2), ("1", 16), ("4", 400)):
        case = NormCase(resnet4(f"1/6,{width},{width},{width}"), (1, 28, 28), n_train=n_train)
        engine = case.engine()
        sizes.append(engine.granularity)
        assert 64 <= engine.minimum <= engine.granularity
    assert sizes[0] == 1 << 16 and sizes[2] == 64
    assert 64 < sizes[1] < 1 << 16


def test_other_training_samples_are_refused() -> None:
    case = CASES["three classes"]
    with pytest.raises(UsageError, match="training samples are not"):
        TritonBatchNormEngine(case.ensemble, case.x_train[:4], case.y_train[:4])


def test_bench_times_its_kernels() -> None:
    found = kernel_times(CASES["points"].engine(), 1, repeats=1)
    assert [(one.kernel, one.layer) for one in found] == [
        ("parameters", 0), ("settle", 0), ("features", 0), ("decide", 0),
    ]  # fmt: skip
    assert min(one.bytes_per_s for one in found) > 0 < found[0].words_per_s


# --- on a GPU ------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("width", ["2/6", "1/6"])
def test_a_million_candidates(width: str) -> None:
    """Every kind of prefix is the law's, and as many draws fit as the law says of others."""
    n, n_train = 500_000, 8
    x, y = strokes(n_train), np.arange(n_train) % 2
    ensemble = BatchNormEnsemble(resnet4(width), priors.make("uniform"), (1, 28, 28), 2, 2**40, x)
    engine = TritonBatchNormEngine(ensemble, x, y)
    found = engine.screen(2**41, n)
    assert (found == BORDERLINE).mean() < 1e-3
    law = engines.make("cpu", ensemble, x, y)
    picked = np.concatenate([np.flatnonzero(found == p)[:20] for p in np.unique(found)])
    for place in picked.tolist():
        assert found[place] in (BORDERLINE, law.screen(2**41 + place, 1)[0])
    few = law.screen(7, 4000)
    for prefix in (2, 4, 8):
        low, high = clopper_pearson(int((few >= prefix).sum()), len(few), 1 - 1e-6)
        assert low <= (found[found != BORDERLINE] >= prefix).mean() <= high
