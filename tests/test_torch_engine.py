"""The torch engine: its weights, its margins, its batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from biasgpu import normal, priors, rng
from biasgpu.architectures import lenet, mlp
from biasgpu.engines import BORDERLINE, torch_engine, torch_weights
from biasgpu.engines.consistency import ALL_TIED, UNSURE
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.torch_engine import TorchEngine, find_device, plain_float32
from biasgpu.engines.torch_forward import certain_tops
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from tests.strategies import PRIORS, Case, cases, ensembles, strokes

SLOW = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _halves(draws: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([d & 0xFFFFFFFF for d in draws]), torch.tensor([d >> 32 for d in draws])


def _drawn(ensemble: Ensemble, draws: list[int]) -> list[torch_weights.Drawn | None]:
    low, high = _halves(draws)
    return [
        torch_weights.draw_parameters(ensemble, step, low, high) if step.linear else None
        for step in ensemble.steps
    ]


def _samples_last(x: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, 0, -1))).to(dtype)[None]


# --- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
def test_philox_is_the_law(seed: int) -> None:
    draws = [0, 3, 2**31, 2**32 - 1, 2**40 + 1, 2**64 - 1]
    blocks = [0, 1, 2**31, 2**32 - 1]
    words = torch_weights.philox(seed, *_halves(draws), torch.tensor(blocks))
    assert words.shape == (6, 4, 4)
    for i, draw in enumerate(draws):
        assert np.array_equal(words[i].numpy(), rng.words(seed, draw, blocks).astype(np.int64))


def test_normals_are_the_law() -> None:
    edge = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 322122547, 322122548], dtype=np.uint32)
    words = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    words = np.concatenate([edge, words, words >> np.uint32(12)])
    found = torch_weights.normal(torch.from_numpy(words.astype(np.int64))).numpy()
    assert np.array_equal(found.view(np.int64), normal.normal(words).view(np.int64))


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("chunk", [1, 7, 2**15])
def test_weights_are_canonical(
    prior: priors.Prior, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torch_weights._CHUNK_BLOCKS, "cpu", chunk)
    architecture = lenet("1/6,2/6,1/24,1/24", bias="prior")
    ensemble = Ensemble(architecture, prior, (1, 20, 20), 3, 2**40 + 9)
    draws = [0, 2**32, 2**60 + 123]
    drawn = _drawn(ensemble, draws)
    for i, draw in enumerate(draws):
        for pair, law in zip(drawn, ensemble.parameters(draw), strict=True):
            if law is None:
                assert pair is None
                continue
            assert pair is not None
            weight = pair[0][i].numpy()
            assert weight.dtype == np.float32
            assert np.array_equal(weight, law[0].reshape(weight.shape))
            assert (pair[1] is None) == (law[1] is None)
            if pair[1] is not None and law[1] is not None:
                assert np.array_equal(pair[1][i].numpy(), law[1])


@SLOW
@given(ensemble=ensembles())
def test_weights_of_random_ensembles_are_canonical(ensemble: Ensemble) -> None:
    draw = ensemble.max_draws - 1
    for pair, law in zip(_drawn(ensemble, [draw]), ensemble.parameters(draw), strict=True):
        if pair is not None and law is not None:
            assert np.array_equal(pair[0][0].numpy(), law[0].reshape(pair[0][0].shape))


# --- margins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@SLOW
@given(case=cases())
def test_what_is_certain_is_true(dtype: torch.dtype, case: Case) -> None:
    draws = [case.first_draw + i for i in range(case.n_draws)]
    steps = case.ensemble.steps
    x = _samples_last(case.x_train, dtype)
    tops = certain_tops(steps, _drawn(case.ensemble, draws), x, 0.0)
    for draw, row in zip(draws, tops.tolist(), strict=True):
        logits = case.ensemble.logits(draw, case.x_train)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        for unit, of_sample in zip(row, logits, strict=True):
            if unit == ALL_TIED:
                assert (of_sample == of_sample[0]).all()
            elif unit != UNSURE:
                assert (np.delete(of_sample, unit) < of_sample[unit]).all()


def test_exact_ties_that_float32_does_not_see_are_unsure() -> None:
    """8-bit weights times one number: the law's sums are exact, float32's are rounded.

    Where the law has a tie, float32 often has a winner; only the margin keeps it from saying so.
    """
    ensemble = Ensemble(mlp(1, 0), priors.make("uniform8"), (5,), 2, 1)
    x = np.repeat(np.array([[0.1], [1 / 3], [-7.7]], dtype=np.float32), 5, axis=1)
    draws = list(range(20_000))
    drawn = _drawn(ensemble, draws)
    pair = drawn[-1]
    assert pair is not None
    sums = pair[0].double().sum(dim=2)
    tie = (sums[:, 0] == sums[:, 1])[:, None].expand(-1, 3)
    assert int(tie.sum()) > 50
    for dtype in (torch.float32, torch.float64):
        tops = certain_tops(ensemble.steps, drawn, _samples_last(x, dtype), 0.0)
        assert (tops[tie] == UNSURE).all()
        assert float((tops == UNSURE).double().mean()) < 0.05
    logits = torch.einsum("nuf,sf->nus", pair[0], torch.from_numpy(x))
    assert int((logits[:, 0] != logits[:, 1])[tie].sum()) > 10


def test_barely_alive_is_not_dead() -> None:
    """Where both weights are equal, the hidden unit is on by less than float32's rounding error."""
    ensemble = Ensemble(mlp(1, 1), priors.make("uniform8"), (2,), 2, 1)
    x = np.array([[1.1, -np.nextafter(np.float32(1.1), np.float32(0))]], dtype=np.float32)
    drawn = _drawn(ensemble, list(range(20_000)))
    pair = next(pair for pair in drawn if pair is not None)
    hidden = (pair[0][:, 0].double() * torch.from_numpy(x).double()).sum(dim=1)  # exact
    tops = certain_tops(ensemble.steps, drawn, _samples_last(x, torch.float32), 0.0)[:, 0]
    barely = (hidden > 0) & (hidden < 1e-6)
    assert int(barely.sum()) > 20
    assert (tops[barely] == UNSURE).all()
    assert (hidden[tops == ALL_TIED] < 0).all()
    assert float((tops == ALL_TIED).double().mean()) > 0.4


def test_overflow_is_unsure_and_float64_decides() -> None:
    ensemble = Ensemble(mlp(6, 2), priors.make("normal:1e9"), (4,), 2, 3)
    x = (np.random.default_rng(0).normal(size=(4, 4)) * 1e25).astype(np.float32)
    y = np.arange(4) % 2
    drawn = _drawn(ensemble, list(range(50)))
    tops = certain_tops(ensemble.steps, drawn, _samples_last(x, torch.float32), 0.0)
    assert (tops < 0).all()
    assert float((tops == UNSURE).double().mean()) > 0.5
    found = TorchEngine(ensemble, x, y, device="cpu").screen(0, 50)
    assert found.tolist() == ReferenceEngine(ensemble, x, y).screen(0, 50).tolist()


def test_dead_networks_are_exact_ties() -> None:
    """Two hidden units are often both off; such a network says class 0, and no law is needed."""
    ensemble = Ensemble(mlp(2, 2), priors.make("uniform"), (3,), 2, 2)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    tops = certain_tops(ensemble.steps, _drawn(ensemble, list(range(200))),
                        _samples_last(x, torch.float32), 0.0)  # fmt: skip
    assert 0.2 < float((tops == ALL_TIED).double().mean()) < 0.8
    for labels in ([0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]):
        y = np.array(labels)
        found = TorchEngine(ensemble, x, y, device="cpu").screen(0, 200)
        assert found.tolist() == ReferenceEngine(ensemble, x, y).screen(0, 200).tolist()


# --- batches -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenets() -> tuple[Case, np.ndarray]:
    ensemble = Ensemble(lenet("1/6"), priors.make("uniform"), (1, 28, 28), 2, 2**33)
    case = Case(ensemble, strokes(16), np.arange(16) % 2, 2**32 - 60, 120)
    law = ReferenceEngine(ensemble, case.x_train, case.y_train)
    expected = law.screen(case.first_draw, case.n_draws)
    assert len(set(expected.tolist())) > 4
    return case, expected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory_bytes": 1},
        {"memory_bytes": 3_000_000, "threads": 1},
        {"precision": "float32"},
        {"precision": "float32", "memory_bytes": 5_000_000},
    ],
    ids=str,
)
def test_batches_and_precision_change_nothing(
    options: dict[str, Any], lenets: tuple[Case, np.ndarray]
) -> None:
    case, expected = lenets
    engine = TorchEngine(case.ensemble, case.x_train, case.y_train, device="cpu", **options)
    if "memory_bytes" in options:
        assert engine.granularity < 60
    threads = torch.get_num_threads()
    assert engine.screen(case.first_draw, case.n_draws).tolist() == expected.tolist()
    assert torch.get_num_threads() == threads


def test_stages_change_nothing(
    lenets: tuple[Case, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, expected = lenets
    for first, growth in ((1, 2), (16, 2), (3, 3)):
        monkeypatch.setattr(torch_engine, "FIRST_STAGE", first)
        monkeypatch.setattr(torch_engine, "STAGE_GROWTH", growth)
        engine = TorchEngine(case.ensemble, case.x_train, case.y_train, device="cpu")
        assert engine.screen(case.first_draw, case.n_draws).tolist() == expected.tolist()


def test_out_of_memory_shrinks_the_batch(
    lenets: tuple[Case, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, expected = lenets
    limit = 40

    def scarce(ensemble: Ensemble, step: Any, low: torch.Tensor, high: torch.Tensor) -> Any:
        if len(low) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return torch_weights.draw_parameters(ensemble, step, low, high)

    monkeypatch.setattr(torch_engine, "draw_parameters", scarce)
    engine = TorchEngine(case.ensemble, case.x_train, case.y_train, device="cpu")
    assert engine.granularity > 120
    assert engine.screen(case.first_draw, case.n_draws).tolist() == expected.tolist()
    assert engine.granularity == 30
    limit = 0
    with pytest.raises(ResourceError, match="does not fit the memory"):
        engine.screen(0, 5)


def test_other_errors_pass_through(
    lenets: tuple[Case, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    case, _ = lenets
    monkeypatch.setattr(torch_engine, "draw_parameters", broken)
    engine = TorchEngine(case.ensemble, case.x_train, case.y_train, device="cpu")
    with pytest.raises(RuntimeError, match="a bug"):
        engine.screen(0, 5)


def test_the_last_draws_have_names() -> None:
    ensemble = Ensemble(mlp(3, 1), priors.make("uniform"), (2,), 2, 0)
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    first = ensemble.max_draws - 20
    found = TorchEngine(ensemble, x, np.arange(4) % 2, device="cpu").screen(first, 20)
    law = ReferenceEngine(ensemble, x, np.arange(4) % 2).screen(first, 20)
    assert (found != BORDERLINE).all()
    assert found.tolist() == law.tolist()


# --- device ------------------------------------------------------------------------------------


def test_devices() -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(ResourceError) as caught:
        find_device(f"cuda:{torch.cuda.device_count()}")
    assert caught.value.exit_code == 5
    for name in ("gpu", "cuda:", "cuda:x", "cpu:0:1", ""):
        with pytest.raises(UsageError, match="unknown device"):
            find_device(name)


def test_reduced_precision_is_switched_off_and_on_again() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        a = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
        exact = a.double() @ a.double()
        with plain_float32():
            inside = (a @ a).double()
        assert float((inside - exact).abs().max()) < 1e-4
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
