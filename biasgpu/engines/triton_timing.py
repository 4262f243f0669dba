"""How long each kernel of method "direct" takes, and what the device can do at best, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from biasgpu.engines.triton_direct import TritonDirectEngine
from biasgpu.kernels import ceilings, direct_launch
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels.launch import OPTIONS, interpreted

REPEATS = 5
ROWS = 8


@dataclass(frozen=True)
class KernelTime:
    """A kernel of the first stage, the fastest of several times.

    Attributes:
        kernel: its name; `layer`: of the program, numbered from 0.
        draws_per_s: draws that it takes a second.
    """

    kernel: str
    layer: int
    draws_per_s: float


def kernel_times(engine: TritonDirectEngine, n_draws: int) -> list[KernelTime]:
    """Time the kernels that the first stage starts, one by one, in float32.

    Args:
        engine: whose layers.
        n_draws: draws of a launch.
    """
    names, best = engine.names(0, n_draws), dict[int, tuple[str, float]]()
    stage = engine.stages[0]
    space = engine.space(stage.padded, n_draws, False)
    names = names.slice(0, space.capacity)
    run = direct_launch._run
    number = 0

    def timed(kernel: Any, on: torch.Tensor, grid: tuple[int, ...]) -> Any:
        def launched(*args: Any, **options: Any) -> None:
            nonlocal number
            took = _seconds(lambda: run(kernel, on, grid)(*args, **options), on.device)
            name, before = best.get(number, (kernel.__name__, took))
            best[number] = (name, min(before, took))
            number += 1

        return launched

    direct_launch._run = timed
    try:
        for _ in range(REPEATS + 1):  # the first time compiles
            number = 0
            engine.forward(names, stage, False, space)
    finally:
        direct_launch._run = run
    found, layer, before = [], -1, ""
    for name, took in best.values():
        kind = name.strip("_").removesuffix("_kernel")
        layer += kind in ("draw", "dense", "digits") or (kind, before == "digits") == (
            "product",
            False,
        )
        before = kind
        found.append(KernelTime(kind, layer, names.places.numel() / max(took, 1e-9)))
    return found


def device_ceilings(device: torch.device, programs: int = 1 << 14) -> dict[str, float]:
    """Random words, float32 operations and bytes copied a second.

    Args:
        device: a GPU, or the CPU in Triton's interpreter (whose numbers mean nothing).
        programs: of 64 threads.
    """
    rounds = 1 if interpreted() else 256
    threads = programs * plan.BLOCK
    whole = torch.zeros(threads, dtype=torch.int32, device=device)
    real = torch.zeros(threads, dtype=torch.float32, device=device)
    other = torch.empty_like(real)
    options: dict[str, Any] = {"num_warps": direct_launch.WARPS, **OPTIONS}
    words: Any = ceilings._words_kernel[(programs,)]
    products: Any = ceilings._products_kernel[(programs,)]

    def best(work: Callable[[], Any]) -> float:
        return min([_seconds(work, device) for _ in range(REPEATS + 1)][1:])

    took = {
        "words": best(lambda: words(whole, rounds, BLOCK=plan.BLOCK, **options)),
        "products": best(
            lambda: products(real, 16 * rounds, ROWS=ROWS, BLOCK=plan.BLOCK, **options)
        ),
        "copied": best(lambda: other.copy_(real)),
    }
    return {
        "words_per_s": 4 * rounds * threads / took["words"],
        "flops_per_s": 2 * ROWS * 16 * rounds * threads / took["products"],
        "bytes_per_s": 8 * threads / took["copied"],
    }


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return max(time.perf_counter() - start, 1e-9)
