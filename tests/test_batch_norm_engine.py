"""Networks with batch norms and residual blocks in the torch engine: never wrong, rarely unsure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from biasgpu import engines, priors, resnet4
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines import BORDERLINE, torch_batch_norm
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.torch_batch_norm import Bounded
from biasgpu.engines.torch_engine import TorchEngine
from biasgpu.errors import NonFiniteError, UsageError
from biasgpu.layers import BatchNorm2d, Conv2d, Dense
from biasgpu.layout import Step, lay_out
from tests.strategies import Case, coupled_cases, strokes


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=coupled_cases())
def test_states_only_what_the_law_says(case: Case) -> None:
    engine = TorchEngine(case.ensemble, case.x_train, case.y_train, device="cpu")
    found = engine.screen(case.first_draw, case.n_draws)
    law = ReferenceEngine(case.ensemble, case.x_train, case.y_train)
    expected = law.screen(case.first_draw, case.n_draws)
    stated = found != BORDERLINE
    assert found[stated].tolist() == expected[stated].tolist()


X, Y = strokes(6), np.arange(6) % 2


def _resnet(width: str, prior: str, depth: int = 4) -> BatchNormEnsemble:
    return BatchNormEnsemble(resnet4(width, depth), priors.make(prior), (1, 28, 28), 2, 2**32, X)


@pytest.mark.parametrize(
    ("width", "prior"),
    [("2/6", "uniform"), ("2/6", "kaiming-normal"), ("1/6", "uniform8"), ("1", "uniform:0.2")],
)
def test_published_networks_are_rarely_borderline(width: str, prior: str) -> None:
    n = 10 if width != "1" else 4
    found = TorchEngine(_resnet(width, prior), X, Y, device="cpu").screen(2**40, n)
    # Nothing here is: the largest bound is a thousandth of the least gap.
    assert not (found == BORDERLINE).any()
    law = ReferenceEngine(_resnet(width, prior), X, Y)
    assert found[:3].tolist() == law.screen(2**40, 3).tolist()


def test_batches_of_any_size_say_the_same() -> None:
    ensemble = _resnet("2/6", "uniform", 2)
    whole = TorchEngine(ensemble, X, Y, device="cpu").screen(7, 9)
    small = TorchEngine(ensemble, X, Y, device="cpu", memory_bytes=4 << 20)
    assert 1 <= small.granularity < 9
    assert small.screen(7, 9).tolist() == whole.tolist()
    assert len(set(whole.tolist())) > 1


def test_other_training_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="not those of the ensemble"):
        TorchEngine(_resnet("1/6", "uniform", 2), X[:4], Y[:4], device="cpu")


def test_numbers_that_overflow_are_left_to_the_law() -> None:
    huge = X.copy()
    huge[0, 0, 0, 0] = np.inf
    parts = (resnet4("1/6", 2), priors.make("uniform"), (1, 28, 28), 2, 1)
    ensemble = BatchNormEnsemble(*parts, huge)
    assert (TorchEngine(ensemble, huge, Y, device="cpu").screen(0, 3) == BORDERLINE).all()
    with np.errstate(invalid="ignore"), pytest.raises(NonFiniteError):
        ReferenceEngine(ensemble, huge, Y).screen(0, 1)


def test_what_deferred_does_not_take_is_said() -> None:
    from biasgpu import methods, task_from_arrays

    task = task_from_arrays(X, Y, X, Y)
    with pytest.raises(UsageError, match="BatchNorm2d"):
        methods.ensemble("deferred", task, resnet4("1/6"), priors.make("kaiming-normal"), 0)
    assert methods.choose("auto", task, resnet4("1/6"), priors.make("kaiming-normal")) == "direct"


def test_kernels_of_other_networks_do_not_take_it() -> None:
    from biasgpu.engines import triton_program

    assert triton_program.unsupported(_resnet("1/6", "uniform")) is not None
    made = engines.make("torch", _resnet("1/6", "uniform"), X, Y, device="cpu")
    assert made.name == "torch"


# --- the bound, layer by layer: errors far larger than rounding are put in -----------------------


def _norms(h: torch.Tensor, groups: int) -> torch.Tensor:
    return torch.linalg.vector_norm(h.reshape(len(h), groups, -1), dim=2)


def _bounded(h: torch.Tensor, difference: torch.Tensor, groups: int) -> Bounded:
    error = _norms(difference, groups)
    return Bounded(h, error, torch.linalg.vector_norm(error, dim=1, keepdim=True))


def _holds(after: Bounded, other: torch.Tensor) -> tuple[float, float]:
    """How much of the bounds a difference takes: at most 1 of each."""
    norms = _norms(after.h - other, after.error.shape[1])
    whole = torch.linalg.vector_norm(norms, dim=1, keepdim=True)
    return float((norms / after.error).max()), float((whole / after.total).max())


def _differences(kind: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    noise = 1e-3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == "all alike":
        return noise.abs().amax() * torch.ones(shape, dtype=torch.float64)
    if kind == "one number":
        single = torch.zeros(shape, dtype=torch.float64)
        single[0, 0, 3, 3] = 1e-2
        return single
    return noise


def _step(layer: Any, shape: tuple[int, ...]) -> Step:
    return lay_out([layer], shape, 32)[0]


@pytest.mark.parametrize("kind", ["noise", "all alike", "one number"])
@pytest.mark.parametrize("padding", [0, 1])
def test_convolutions(kind: str, padding: int) -> None:
    torch.manual_seed(0)
    step = _step(Conv2d(5, "prior", kernel=3, padding=padding), (2, 40, 40))
    h = torch.randn(4, 2, 40, 40, 3, dtype=torch.float64)
    difference = _differences(kind, h.shape)
    # Of the second draw all weights are positive and alike: differences alike add up.
    weight = torch.randn(4, 5, 18, dtype=torch.float64)
    weight[1] = 0.5
    bias = torch.randn(4, 5, dtype=torch.float64)
    after = torch_batch_norm._linear(step, weight, bias, _bounded(h, difference, 2))
    other = torch_batch_norm.linear(step, weight, bias, h + difference)
    one, whole = _holds(after, other)
    assert one <= 1.0
    assert whole <= 1.0
    # Not much is given away where the worst comes true (but for what edges leave out).
    if kind == "all alike":
        assert one > 0.85
        assert whole > 0.85


def test_dense_layers_behind_groups() -> None:
    torch.manual_seed(1)
    step = _step(Dense(4), (12,))
    h = torch.randn(3, 12, 5, dtype=torch.float64)
    weight = torch.randn(3, 4, 12, dtype=torch.float64)
    # Along the first unit's weights, in one sample: Cauchy's inequality is an equation.
    difference = torch.zeros_like(h)
    difference[..., 2] = 0.1 * weight[:, 0]
    for groups in (12, 4, 1):
        after = torch_batch_norm._linear(step, weight, None, _bounded(h, difference, groups))
        other = torch_batch_norm.linear(step, weight, None, h + difference)
        one, whole = _holds(after, other)
        assert 1.0 - 1e-5 < one <= 1.0
        assert whole <= 1.0


@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_batch_norms(scale: float) -> None:
    torch.manual_seed(2)
    h = 2.0 + scale * torch.randn(2, 3, 6, 6, 4, dtype=torch.float64)
    h[:, 1] *= 100.0
    weight = torch.tensor([[1.0, -0.9, 1.1], [1.0, 2.0, 0.0]], dtype=torch.float64)
    bias = torch.randn(2, 3, dtype=torch.float64)
    for size in (1e-5, 1e-3, 0.3):
        for direction in (torch.randn_like(h), h - h.mean(dim=(2, 3, 4), keepdim=True)):
            difference = -size * direction / max(float(direction.abs().max()), 1e-12)
            before = _bounded(h, difference, 3)
            after = torch_batch_norm._batch_norm(before, weight, bias)
            other = torch_batch_norm._batch_norm(_bounded(h + difference, 0 * h, 3), weight, bias)
            one, whole = _holds(after, other.h)
            assert one <= 1.0
            assert whole <= 1.0


def test_roundings_of_statistics() -> None:
    """A mean beside which the standard deviation is small costs the law's one pass its digits."""
    from biasgpu import reference

    rng = np.random.default_rng(4)
    x = 1000.0 + 1e-3 * rng.normal(size=(8, 1, 16, 16))
    weight, bias = np.array([1.0]), np.array([0.5])
    settled = reference.affine(weight, bias, *reference.statistics(x))
    law = reference.apply(BatchNorm2d(), x, *settled)
    centred = x - x.mean()  # of numbers near 1000: 2^-43 or so each, far below what is found
    exact = centred / np.sqrt((centred**2).mean() + reference.EPSILON) + 0.5
    h = torch.from_numpy(np.moveaxis(x, 0, -1).copy())[None]
    parts = (torch.from_numpy(weight)[None], torch.from_numpy(bias)[None])
    bound = float(torch_batch_norm._batch_norm(_bounded(h, 0 * h, 1), *parts).error[0, 0])
    off = float(np.linalg.norm(law - exact))
    assert 1e-9 < off <= bound < 0.1 * np.sqrt(x.size)


@pytest.mark.parametrize("shape", [(3, 7, 7), (3, 5, 40), (3, 30, 2)])
def test_spectral_norms_are_bounded_from_above_and_not_by_much(shape: tuple[int, ...]) -> None:
    torch.manual_seed(5)
    for scale in (1.0, 1e-30, 1e12):
        matrix = scale * torch.randn(shape, dtype=torch.float64)
        true = torch.linalg.matrix_norm(matrix, ord=2)
        ratio = torch_batch_norm._spectral(matrix)[:, 0] / true
        assert ((ratio >= 1.0) & (ratio <= 1.3)).all()
