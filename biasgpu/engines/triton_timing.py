"""How long each kernel of an engine's first stage takes, and what it makes of that time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from biasgpu.engines.triton_clock import Clock, Spread
from biasgpu.engines.triton_device import on_device
from biasgpu.engines.triton_screened import DeviceEngine
from biasgpu.kernels import batch_norm_launch, direct_launch, launch
from biasgpu.kernels.direct_plan import BLOCK
from biasgpu.kernels.work import Work, of

REPEATS = 5
LAYERS = ("draw", "dense", "outputs", "gram", "digits", "parameters", "element")  # begin with these


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments, ready to be started again."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    options: dict[str, Any]

    def start(self) -> None:
        """Start it."""
        self.kernel[self.grid](*self.args, **self.options)

    def reset(self) -> None:
        """Empty the lists that it appends to: they have room for one launch."""
        for name, value in self._given.items():
            if name.endswith("counter_ptr"):
                value.zero_()

    @property
    def work(self) -> Work:
        """By the model of `kernels.work`."""
        numbers = {name: v for name, v in self._given.items() if isinstance(v, int)}
        return of(self.kernel.__name__, numbers | self.options, self.grid[0])

    @property
    def _given(self) -> dict[str, Any]:
        names = [name for name in self.kernel.arg_names if name not in self.options]
        return dict(zip(names, self.args, strict=True))


@dataclass(frozen=True)
class KernelTime:
    """A kernel of the first stage, measured alone.

    Attributes:
        kernel: its name; `layer`: that it works for, numbered from 0.
        draws_per_s, low, high: draws that it takes a second: the median, the least and the most.
        words_per_s: random words it makes.
        flops_per_s: products and sums of values and of their bounds, two each.
        bytes_per_s: read and written, of the caches mostly.
    """

    kernel: str
    layer: int
    draws_per_s: float
    low: float
    high: float
    words_per_s: float
    flops_per_s: float
    bytes_per_s: float


def kernel_times(engine: DeviceEngine, n_draws: int, repeats: int = REPEATS) -> list[KernelTime]:
    """Time the kernels of the first stage and of what comes before it, one by one.

    In float32, or in float64 where the engine has no other.

    Args:
        engine: whose kernels.
        n_draws: draws of a launch, if there is memory for so many.
        repeats: how often each is timed, after one to warm up.
    """
    wide = (0, False) not in engine.kinds
    found = [one for number in (-1, 0) for one in launches(engine, number, wide, n_draws)]
    clock = Clock(torch.device(engine.device))
    times: list[list[float]] = [[] for _ in found]
    with on_device(torch.device(engine.device)):
        for repeat in range(repeats + 1):
            # In order, so that each finds what the one before it leaves.
            for one, seconds in zip(found, times, strict=True):
                one.reset()
                took = clock.seconds(one.start)
                if repeat:
                    seconds.append(took)
    rows, layer, before = [], -1, ""
    for one, seconds in zip(found, times, strict=True):
        kind, work = one.kernel.__name__.strip("_").removesuffix("_kernel"), one.work
        layer += kind in LAYERS
        layer += kind == "product" and before != "digits"
        before = kind
        spread = Spread.of(seconds)
        draws, each = spread.rate(work.draws), 1 / spread.median
        rows.append(
            KernelTime(
                kind, max(layer, 0), draws.median, draws.low, draws.high, each * work.words,
                each * work.flops, each * work.memory_bytes,
            )
        )  # fmt: skip
    return rows


def launches(engine: DeviceEngine, number: int, wide: bool, n_draws: int) -> list[Launch]:
    """The launches of a stage, each made once: see `DeviceEngine.start_stage`."""
    found: list[Launch] = []
    with on_device(torch.device(engine.device)), _recorded(found):
        engine.start_stage(number, wide, n_draws)
    return found


def total_work(engine: DeviceEngine) -> Work:
    """What its kernels had to do for all draws that it was given so far."""
    draws, words, products, memory = 0, 0.0, 0.0, 0.0
    for (number, wide), n in engine.given.items():
        draws += n
        for one in launches(engine, number, wide, BLOCK):
            work = one.work
            words += n * work.words / work.draws
            products += n * work.products / work.draws
            memory += n * work.memory_bytes / work.draws
    return Work(draws, round(words), round(products), round(memory))


@contextmanager
def _recorded(found: list[Launch]) -> Iterator[None]:
    """Within it every launch is noted, and made."""
    modules: tuple[Any, ...] = (launch, direct_launch, batch_norm_launch)
    run = launch._run

    def noted(kernel: Any, on: torch.Tensor, grid: tuple[int, ...]) -> Callable[..., None]:
        def started(*args: Any, **options: Any) -> None:
            run(kernel, on, grid)(*args, **options)
            found.append(Launch(kernel, grid, args, options))

        return started

    for module in modules:
        module._run = noted
    try:
        yield
    finally:
        for module in modules:
            module._run = run
