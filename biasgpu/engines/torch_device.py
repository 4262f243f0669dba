"""PyTorch's devices: found by name, told when their memory ran out, held to plain float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from biasgpu.errors import ResourceError, UsageError


def find_device(device: str | None) -> torch.device:
    """The torch device for a name; None takes a GPU if there is one.

    Raises:
        UsageError: an unknown device.
        ResourceError: a GPU is asked for and there is none.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or not (number.isdigit() or device in ("cpu", "cuda")):
        raise UsageError(
            f"unknown device {device!r}.",
            why="the torch engine knows cpu, cuda, and cuda with a number: cuda:1.",
            fix="device='cpu' (--device cpu).",
        )
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ResourceError(
            f"there is no device {device}.",
            why=f"PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here.",
            fix="device='cpu' (--device cpu), or install a driver and a CUDA build of PyTorch.",
        )
    return torch.device(device)


@contextmanager
def plain_float32(threads: int | None = None) -> Iterator[None]:
    """Within it float32 products and convolutions are just that (no TF32, no bfloat16), on so many
    threads."""
    threads_before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # PyTorch 2.9 and later
        mkldnn: Any = vars(torch.backends)["mkldnn"]
        backends: list[Any] = [matmul, mkldnn.matmul, mkldnn.conv]
        before = [backend.fp32_precision for backend in backends]

        def set_precisions(values: list[str]) -> None:
            for backend, value in zip(backends, values, strict=True):
                backend.fp32_precision = value
    else:
        before = [torch.get_float32_matmul_precision()]

        def set_precisions(values: list[str]) -> None:
            torch.set_float32_matmul_precision("highest" if "ieee" in values else values[0])

    set_precisions(["ieee"] * len(before))
    try:
        yield
    finally:
        set_precisions(before)
        if threads:
            torch.set_num_threads(threads_before)


def out_of_memory(error: Exception) -> bool:
    """Whether an exception of PyTorch says that there is no memory left."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        "out of memory" in text or "can't allocate memory" in text or "alloc_cpu" in text
    )
