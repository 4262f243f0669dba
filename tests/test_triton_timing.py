"""Kernels are timed as they run, lists emptied in between, and held against a model of their work.

No GPU is needed: events and a GPU's properties are faked where a test goes through that code.
"""

from __future__ import annotations

import types
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

import biasgpu
from biasgpu import bench
from biasgpu.architectures import mlp
from biasgpu.engines import triton_clock, triton_device, triton_screened, triton_timing
from biasgpu.engines.triton_clock import Clock, Spread
from biasgpu.engines.triton_screened import DeviceEngine
from biasgpu.engines.triton_timing import Launch, kernel_times, launches, total_work
from biasgpu.kernels import work
from biasgpu.layout import n_words
from tests.direct_cases import CASES
from tests.kernel_cases import DEVICE, DeferredCase

DEFERRED = DeferredCase(mlp(5, 1), n_train=3)


class Event:
    """In place of a CUDA event: the n-th that is recorded happens after n^2 milliseconds."""

    recorded = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.ms = 0.0

    def record(self) -> None:
        Event.recorded += 1
        self.ms = float(Event.recorded**2)

    def synchronize(self) -> None:
        assert self.ms, "it was never recorded"

    def elapsed_time(self, other: Event) -> float:
        return other.ms - self.ms


def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that takes the CPU for a GPU."""
    known = types.SimpleNamespace(L2_cache_size=1 << 12, total_memory=1 << 20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: known)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(triton_clock, "FLUSH_BYTES", 1 << 10)
    monkeypatch.setattr(Event, "recorded", 0)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **(k | {"device": "cpu"})))
    return Clock(torch.device("cuda", 1))


def test_a_gpu_is_timed_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = _clock(monkeypatch), []
    assert clock._other.numel() == 4 << 12  # four times the cache
    clock._other.fill_(1)
    took = clock.seconds(lambda: seen.append(int(clock._other.sum())))
    assert seen == [0]  # the cache was filled before
    assert took == pytest.approx(3e-3)  # between the first event and the second
    spread = clock.spread(lambda: seen.append(0), 3)
    assert len(seen) == 5
    assert (spread.median, spread.low, spread.high) == pytest.approx((15e-3, 11e-3, 19e-3))
    rate = spread.rate(30)
    assert rate.median == pytest.approx(2000)
    assert rate.low < rate.median < rate.high
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)


def test_what_runs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    known = types.SimpleNamespace(
        name="A GPU", major=9, minor=0, multi_processor_count=132, total_memory=5
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: known)
    monkeypatch.setattr(triton_device, "_driver", lambda _: "1.2, 1980 MHz")
    found = triton_device.about(torch.device("cuda", 0))
    assert (found["gpu"], found["capability"], found["processors"]) == ("A GPU", "9.0", "132")
    assert found["torch"] == torch.__version__ and found["driver"] == "1.2, 1980 MHz"
    assert triton_device.about(torch.device("cpu")) == {}


def test_memory_that_pytorch_keeps_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20)
    assert triton_device.budget_bytes(torch.device("cuda", 0)) == 65


def test_every_launch_is_made_again_and_lists_are_emptied() -> None:
    engine = replace(CASES["points"], n_draws=70).engine()
    found = launches(engine, 0, False, 70)
    kinds = [one.kernel.__name__ for one in found]
    assert kinds[-1] == "_decide_kernel" and set(kinds[:-1]) == {"_dense_kernel"}
    decide = found[-1]
    counters = [v for name, v in decide._given.items() if name.endswith("counter_ptr")]
    before = [int(one.item()) for one in counters]
    assert len(counters) == 2 and before[0] > 0
    decide.reset()
    assert [int(one.item()) for one in counters] == [0, 0]
    decide.start()
    assert [int(one.item()) for one in counters] == before
    assert [one.kernel.__name__ for one in launches(engine, -1, False, 70)] == []


def test_kernels_of_both_methods_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    times: dict[str, DeviceEngine] = {"direct": CASES["convolutions"].engine()}
    times["deferred"] = DEFERRED.engine()
    kinds = {
        "direct": ["draw", "convolution", "draw", "convolution", "dense", "dense", "decide"],
        "deferred": ["reject", "outputs", "gram", "factor", "check"],
    }
    starts, devices, resets = list[str](), list[str](), list[str]()
    start, reset = Launch.start, Launch.reset
    monkeypatch.setattr(
        Launch, "reset", lambda one: (resets.append(one.kernel.__name__), reset(one))
    )
    monkeypatch.setattr(
        triton_timing, "on_device", lambda device: (devices.append(device.type), nullcontext())[1]
    )
    monkeypatch.setattr(
        Launch, "start", lambda one: (starts.append(one.kernel.__name__), start(one))
    )
    for method, engine in times.items():
        starts.clear()
        resets.clear()
        rows = kernel_times(engine, 1, repeats=2)
        assert [row.kernel for row in rows] == kinds[method]
        assert starts == 3 * [f"_{kind}_kernel" for kind in kinds[method]]  # in order
        assert resets == starts  # no list is filled twice
        assert devices == 3 * (devices[:1])  # two stages, and what is timed: on the engine's own
        devices.clear()
        for row in rows:
            assert row.low <= row.draws_per_s <= row.high
            makes = row.kernel in ("draw", "dense", "reject", "outputs", "gram")
            assert (row.words_per_s > 0) == makes
            assert row.bytes_per_s > 0
        assert [row.layer for row in rows][-1] == max(row.layer for row in rows)


def test_work_is_counted_word_by_word() -> None:
    case = CASES["convolutions"]
    engine = case.engine()
    found = [one.work for one in launches(engine, 0, False, 1)]
    each = [one.words / one.draws for one in found]
    assert sum(each) == n_words(case.ensemble.steps)
    # Direct: a draw's products on two samples, each weight twice in dense layers.
    engine.screen(0, 64)
    given = dict(engine.given)
    assert given[0, False] == 64
    assert all(n <= 64 for n in given.values())
    total = total_work(engine)
    assert total.draws == sum(given.values())
    assert total.words == n_words(case.ensemble.steps) * total.draws
    assert total.flops == 2 * total.products > 0


def test_work_by_hand() -> None:
    dense = {
        "n": 10, "n_units": 3, "n_inputs": 5, "blocks_per_unit": 2, "SAMPLES": 2, "UNITS": 2,
        "WIDE": False,
    }  # fmt: skip
    assert work.of("_dense_kernel", dense, 2) == work.Work(
        10, 10 * 24, 10 * 2 * 2 * 15, 10 * 4 * (2 * 2 * 5 * 2 + 2 * 2 * 3)
    )
    gram = {
        "N_SAMPLES": 4, "ROWS": 2, "COLUMNS": 2, "LANES": 32, "n_chunks": 1, "n_tiles": 2,
        "DIAGONAL": True, "WIDE": False,
    }  # fmt: skip
    found = work.of("_gram_kernel", gram, 7)
    assert (found.draws, found.words) == (7, 7 * 256 * (2 + 4))
    assert found.products == 7 * 256 * (10 + 2 * 3)
    below = work.of("_gram_kernel", gram | {"DIAGONAL": False}, 7)
    assert below.words == 7 * 256 * 4 and below.products == 7 * 256 * (10 + 4)
    with pytest.raises(ValueError, match="no model of _other_kernel"):
        work.of("_other_kernel", {}, 1)


def test_the_benchmark_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of `biasgpu bench`, in the interpreter."""
    monkeypatch.setattr(triton_device, "about", lambda _: {"gpu": "none"})
    task = biasgpu.task("kink", n_train=4)
    found = bench.measure(task, biasgpu.mlp(3, 1), "uniform", engine="triton", time_s=0.01)
    assert found.engine == "triton"
    assert [one["kernel"] for one in found.kernels] == ["dense", "dense", "decide"]
    assert set(found.ceilings) == {
        "words_per_s", "flops_per_s", "tf32_flops_per_s", "bf16_flops_per_s", "bytes_per_s",
    }  # fmt: skip
    assert all(value > 0 for value in found.ceilings.values())
    assert found.words_per_s > 0 and found.flops_per_s > 0
    assert found.about == {"gpu": "none"}


@pytest.mark.parametrize("method", ["direct", "deferred"])
def test_all_kernels_can_be_compiled_before_the_first_draw(method: str) -> None:
    engine: DeviceEngine
    engine = (
        replace(CASES["points"], n_draws=3).engine() if method == "direct" else DEFERRED.engine()
    )
    before = engine.given.copy()
    started = list[tuple[int, bool]]()
    start = engine.start_stage

    def noted(number: int, wide: bool, n_draws: int) -> None:
        started.append((number, wide))
        start(number, wide, n_draws)

    engine.start_stage = noted  # type: ignore[method-assign]
    engine.prepare()
    assert started == []  # the interpreter compiles nothing
    engine.warm()
    assert started == [kind for kind in engine.kinds if kind[0] < triton_screened.WARM_STAGES]
    assert {wide for _, wide in started} == {False, True}
    assert engine.given[0, False] == before[0, False]
    engine.given.clear()
    assert engine.screen(3, 5).tolist() is not None
    assert set(engine.given) <= set(engine.kinds)
    assert DEVICE.type == engine.device.split(":")[0]


def test_timing_leaves_the_launchers_as_they_were() -> None:
    from biasgpu.kernels import direct_launch, launch

    engine = replace(CASES["points"], n_draws=3).engine()
    run: Any = launch._run
    with pytest.raises(RuntimeError, match="a bug"), triton_timing._recorded([]):
        assert launch._run is not run and direct_launch._run is launch._run
        raise RuntimeError("a bug")
    assert launch._run is run and direct_launch._run is run
    engine.close()


def test_a_gpu_compiles_before_the_first_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, warmed = CASES["points"].engine(), list[bool]()
    monkeypatch.setattr(engine, "warm", lambda: warmed.append(True))
    monkeypatch.setattr(engine, "_device", types.SimpleNamespace(type="cuda"))
    engine.begin()
    assert warmed == [True]
