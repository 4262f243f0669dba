"""What the engines with Triton kernels share: devices by name, their memory, lists on them."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from biasgpu.errors import ResourceError, UsageError
from biasgpu.kernels import launch

MEMORY_SHARE = 0.5  # of what is free
INTERPRETER_BYTES = 1 << 26


@dataclass(frozen=True)
class PlaceList:
    """Places of draws, and on the device their number."""

    values: Tensor
    counter: Tensor

    @classmethod
    def empty(cls, n: int, device: torch.device) -> PlaceList:
        """Room for n."""
        return cls(
            torch.empty(n, dtype=torch.int64, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
        )

    def length(self) -> int:
        """Waits for the device."""
        return int(self.counter.item())


def find_device(device: str | None) -> torch.device:
    """The GPU for a name; in Triton's interpreter the CPU, unless a GPU is named.

    Raises:
        UsageError: the name of no GPU.
        ResourceError: there is no such GPU.
    """
    if launch.interpreted() and device in (None, "cpu"):
        return torch.device("cpu")
    kind, _, number = (device or "cuda").partition(":")
    if kind != "cuda" or not (number.isdigit() or (device or "cuda") == "cuda"):
        raise UsageError(
            f"the triton engine computes on a GPU, not on {device!r}.",
            why="its kernels are compiled for GPUs; they know cuda, and cuda with a number.",
            fix="device='cuda' (--device cuda), or engine='cpu' (--engine cpu).",
        )
    if int(number or 0) >= torch.cuda.device_count():
        raise ResourceError(
            f"there is no device {device or 'cuda'}.",
            why=f"PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here.",
            fix="engine='cpu' (--engine cpu), or install a driver and a CUDA build of PyTorch.",
        )
    return torch.device("cuda", int(number or 0))


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Within it kernels start on a GPU; nothing in Triton's interpreter."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def budget_bytes(device: torch.device) -> int:
    """Memory that a batch may take: a share of what is free, or kept by PyTorch for later use."""
    if device.type != "cuda":
        return INTERPRETER_BYTES
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(MEMORY_SHARE * (torch.cuda.mem_get_info(device)[0] + kept))


def release_memory(device: torch.device) -> None:
    """Give back what PyTorch keeps for later use, before less is asked for."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed for want of memory."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        "out of memory" in text or "can't allocate memory" in text or "alloc_cpu" in text
    )


def about(device: torch.device) -> dict[str, str]:
    """What a GPU is, and what runs it; nothing for the CPU."""
    if device.type != "cuda":
        return {}
    known = torch.cuda.get_device_properties(device)
    return {
        "gpu": known.name,
        "capability": f"{known.major}.{known.minor}",
        "processors": str(known.multi_processor_count),
        "memory_bytes": str(known.total_memory),
        "torch": torch.__version__,
        "triton": metadata.version("triton"),
        "cuda": str(torch.version.cuda or torch.version.hip),
        "driver": _driver(str(getattr(known, "uuid", ""))),
    }


def _driver(uuid: str) -> str:
    """The driver's version and the clock's limit of a GPU; empty where nothing says."""
    query = "--query-gpu=driver_version,clocks.max.sm"
    # PyTorch's numbers are of the devices it may see, the driver's of all.
    command = ["nvidia-smi", query, "--format=csv,noheader", f"--id=GPU-{uuid}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
