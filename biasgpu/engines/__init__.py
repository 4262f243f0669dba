"""Engines by name. Each is imported only when it is made: they bring large packages with them."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines import triton_choice
from biasgpu.engines.base import BORDERLINE, MAX_TRAIN, Engine, Prefixes
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError, needs_extra, unknown

NAMES = ("reference", "torch", "cpu", "triton")
AUTO = "auto"
# What each one computes with.
PACKAGE = {"reference": "numpy", "torch": "torch", "cpu": "numba", "triton": "triton"}
GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of drivers


def available() -> dict[str, str | None]:
    """For each engine None if it can be made here, else why not. Imports none of them."""
    reasons = {
        name: None if find_spec(package) else f"{package} is not installed"
        for name, package in PACKAGE.items()
    }
    reasons["triton"] = reasons["triton"] or reasons["torch"] or _no_gpu()
    return reasons


def _no_gpu() -> str | None:
    """Why there is certainly no GPU, or None: there may be one. Quick, without PyTorch."""
    return None if any(map(os.path.exists, GPU_FILES)) else "there is no GPU driver"


def _has_gpu() -> bool:
    """Whether the triton engine can compute here; imports PyTorch where that is likely."""
    if _no_gpu() or not (find_spec("torch") and find_spec("triton")):
        return False
    import torch

    return torch.cuda.is_available()


def make(
    name: str,
    ensemble: Ensemble,
    x_train: npt.NDArray[np.float32],
    y_train: npt.NDArray[np.int64],
    *,
    device: str | None = None,
    threads: int | None = None,
) -> Engine:
    """An engine for one ensemble and training set.

    Args:
        name: "reference", "torch", "cpu", "triton", or "auto": "triton" where there is a GPU,
            unless the device is the CPU; else the first of "cpu", "torch", "reference" that is
            installed and takes the ensemble. Where no kernel takes an ensemble of method "direct",
            "triton" is the torch engine on the GPU, whose notice says so.
        ensemble: which networks.
        x_train: float32 `(n_train, *shape)`.
        y_train: int64 `(n_train,)`.
        device: "cpu", "cuda", "cuda:1"; for triton also several, "cuda:0,cuda:1", or "all"; None
            lets the engine choose.
        threads: CPU threads; None takes all.

    Raises:
        UsageError: an unknown name, an ensemble or device the engine does not take, fewer than one
            thread, or more training samples than a prefix can count.
        ResourceError: the engine's package or device is missing.
    """
    if name not in (AUTO, *NAMES):
        raise unknown("engine", name, (AUTO, *NAMES))
    if threads is not None and threads < 1:
        raise UsageError(
            f"threads is {threads}; it must be 1 or more.",
            why="the work needs one thread at least.",
            fix="leave it out to take all cores, or give 1 or more: threads=1 (--threads 1).",
        )
    if len(y_train) > MAX_TRAIN:
        raise UsageError(
            f"n_train is {len(y_train)}; engines count up to {MAX_TRAIN} samples.",
            why="a prefix is kept in 16 bits.",
            fix=f"use fewer training samples: n_train={MAX_TRAIN // 2 * 2} (--n-train) at most.",
        )
    x_train = np.ascontiguousarray(x_train, dtype=np.float32)
    y_train = np.ascontiguousarray(y_train, dtype=np.int64)
    on_cpu = device in (None, "cpu")
    deferred = isinstance(ensemble, DeferredEnsemble)
    if name == AUTO and (not on_cpu or (device is None and _triton_takes(ensemble))):
        name = "triton" if deferred or find_spec("triton") else "torch"
    if name == "triton":
        return triton_choice.make(ensemble, x_train, y_train, device)
    if name == AUTO:
        name = _choose(ensemble)
        # Nobody asked for a GPU: PyTorch stands in for the compiled engine here.
        device = device or "cpu"
    elif name != "torch" and not on_cpu:
        raise UsageError(
            f"the {name} engine computes on the CPU, not on {device}.",
            why="only the triton and torch engines use other devices.",
            fix="engine='triton' (--engine triton), or engine='torch'.",
        )
    if deferred:
        return _deferred(name, ensemble, x_train, y_train, threads)
    if name == "reference":
        from biasgpu.engines.reference import ReferenceEngine

        return ReferenceEngine(ensemble, x_train, y_train)
    reason = available()[name]
    if reason:
        raise needs_extra(PACKAGE[name], f"the {name} engine")
    if name == "torch":
        from biasgpu.engines.torch_engine import TorchEngine

        return TorchEngine(ensemble, x_train, y_train, device=device, threads=threads)
    refusal = _cpu_refusal(ensemble)
    if refusal:
        raise UsageError(
            f"the cpu engine does not take this ensemble: {refusal}.",
            why="it compiles the layers and priors that biasgpu brings along.",
            fix="engine='torch' (--engine torch), or engine='auto'.",
        )
    if isinstance(ensemble, BatchNormEnsemble):
        from biasgpu.engines.cpu.batch_norm_engine import BatchNormEngine

        return BatchNormEngine(ensemble, x_train, y_train, threads=threads)
    from biasgpu.engines.cpu.engine import CpuEngine

    return CpuEngine(ensemble, x_train, y_train, threads=threads)


def _cpu_refusal(ensemble: Ensemble) -> str | None:
    """Why the cpu engine cannot take an ensemble of method "direct", or None."""
    if isinstance(ensemble, BatchNormEnsemble):
        from biasgpu.engines.cpu.batch_norm_engine import BatchNormEngine

        return BatchNormEngine.supports(ensemble)
    from biasgpu.engines.cpu.engine import CpuEngine

    return CpuEngine.supports(ensemble)


def _triton_takes(ensemble: Ensemble) -> bool:
    """Whether a GPU is here, and the right place for an ensemble."""
    if not _has_gpu():
        return False
    # What no kernel takes is the torch engine's on the GPU, except where it does not know the law.
    return not isinstance(ensemble, DeferredEnsemble) or triton_choice.takes(ensemble)


def _deferred(
    name: str,
    ensemble: DeferredEnsemble,
    x_train: npt.NDArray[np.float32],
    y_train: npt.NDArray[np.int64],
    threads: int | None,
) -> Engine:
    """An engine for method "deferred"."""
    if name == "reference":
        from biasgpu.engines.reference import ReferenceEngine

        return ReferenceEngine(ensemble, x_train, y_train)
    if name != "cpu":
        raise UsageError(
            f"the {name} engine does not know method 'deferred'.",
            why="it draws every weight.",
            fix="engine='cpu' (--engine cpu), or method='direct' (--method direct).",
        )
    reason = available()[name]
    if reason:
        raise needs_extra(PACKAGE[name], f"the {name} engine")
    from biasgpu.engines.cpu.deferred import DeferredCpuEngine

    return DeferredCpuEngine(ensemble, x_train, y_train, threads=threads)


def _choose(ensemble: Ensemble) -> str:
    reasons = available()
    if isinstance(ensemble, DeferredEnsemble):
        return "cpu" if reasons["cpu"] is None else "reference"
    if reasons["cpu"] is None and _cpu_refusal(ensemble) is None:
        return "cpu"
    return "torch" if reasons["torch"] is None else "reference"


__all__ = ["AUTO", "BORDERLINE", "MAX_TRAIN", "NAMES", "Engine", "Prefixes", "available", "make"]
