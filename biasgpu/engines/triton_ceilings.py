"""What a device can do at best, by the kernels' own instructions or its maker's library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from biasgpu.engines.triton_clock import Clock
from biasgpu.kernels import ceilings, direct_launch
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels.launch import OPTIONS, interpreted

ROWS = 8
PROGRAMS = 1 << 14  # of 64 threads: more than fit a GPU at a time
ROUNDS = 256
MATRIX = 8192
COPIED_BYTES = 1 << 30  # far more than a cache
# The narrowest types whose products may make up float32's, by several of them.
MATRICES = {"tf32": torch.float32, "bf16": torch.bfloat16}


def device_ceilings(device: torch.device, repeats: int = 5) -> dict[str, float]:
    """The best of several measurements of each, a second.

    Args:
        device: a GPU, which must be the current one; or the CPU in Triton's interpreter (whose
            numbers mean nothing).
        repeats: of each.

    Returns:
        `words_per_s` Philox words, `flops_per_s` fused float32 products (two each),
        `tf32_flops_per_s` and `bf16_flops_per_s` of the tensor cores, `bytes_per_s` read and
        written by a copy.
    """
    clock, toy = Clock(device), interpreted()
    programs, rounds = (1, 1) if toy else (PROGRAMS, ROUNDS)
    size, copied = (16, 1 << 8) if toy else (MATRIX, COPIED_BYTES)
    if device.type == "cuda":
        copied = min(copied, torch.cuda.mem_get_info(device)[0] // 8)
    threads = programs * plan.BLOCK
    options: dict[str, Any] = {"num_warps": direct_launch.WARPS, **OPTIONS}
    found = dict[str, float]()

    def best(name: str, amount: float, work: Callable[[], Any]) -> None:
        found[name] = clock.spread(work, repeats).rate(amount).high

    whole = torch.zeros(threads, dtype=torch.int32, device=device)
    words: Any = ceilings._words_kernel[(programs,)]
    best(
        "words_per_s", 4 * rounds * threads,
        lambda: words(whole, rounds, BLOCK=plan.BLOCK, **options),
    )  # fmt: skip
    real = torch.zeros(threads, dtype=torch.float32, device=device)
    products: Any = ceilings._products_kernel[(programs,)]
    best(
        "flops_per_s", 2 * ROWS * 16 * rounds * threads,
        lambda: products(real, 16 * rounds, ROWS=ROWS, BLOCK=plan.BLOCK, **options),
    )  # fmt: skip
    for name, kind in MATRICES.items():
        with _tensor_float32():
            best(f"{name}_flops_per_s", 2.0 * size**3, _product(size, kind, device))
    source = torch.zeros(copied, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    best("bytes_per_s", 2 * copied, lambda: target.copy_(source))
    return found


def _product(size: int, kind: torch.dtype, device: torch.device) -> Callable[[], Any]:
    """A product of two square matrices."""
    # Of noise: a GPU that multiplies ones needs less power, and is faster than it ever is at work.
    a, b = (torch.randn((size, size), dtype=kind, device=device) for _ in range(2))
    c = torch.empty_like(a)
    return lambda: torch.matmul(a, b, out=c)


@contextmanager
def _tensor_float32() -> Iterator[None]:
    """Within it float32 matrices may go through tensor cores, rounded to TF32."""
    matmul: Any = torch.backends.cuda.matmul
    # PyTorch 2.9 and later refuse the older name once the newer one was used.
    name, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else _OLD
    before = getattr(matmul, name)
    setattr(matmul, name, value)
    try:
        yield
    finally:
        setattr(matmul, name, before)


_OLD = ("allow_tf32", True)
