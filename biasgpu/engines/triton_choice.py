"""Which engine computes on the GPUs that were asked for. Imports PyTorch only when called."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.base import Engine
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError, needs_extra

if TYPE_CHECKING:
    from biasgpu.engines.triton_direct import TritonDirectEngine

ALL = "all"


def takes(ensemble: Ensemble) -> bool:
    """Whether there are kernels for an ensemble."""
    if isinstance(ensemble, DeferredEnsemble):
        if not ensemble.plan.shared:
            return False
        from biasgpu.engines.triton_engine import unsupported

        return unsupported(ensemble) is None
    return _direct(ensemble)[0] is not None


def _direct(ensemble: Ensemble) -> tuple[type[TritonDirectEngine] | None, str]:
    """The engine for an ensemble of method "direct", or None and why there is none."""
    from biasgpu.engines.triton_batch_norm import TritonBatchNormEngine
    from biasgpu.engines.triton_direct import TritonDirectEngine

    reason = TritonDirectEngine.unsupported(ensemble)
    if reason is None:
        return TritonDirectEngine, ""
    other = TritonBatchNormEngine.unsupported(ensemble)
    return (TritonBatchNormEngine, "") if other is None else (None, other)


def make(
    ensemble: Ensemble,
    x_train: npt.NDArray[np.float32],
    y_train: npt.NDArray[np.int64],
    device: str | None,
) -> Engine:
    """The triton engine; the torch engine, with a notice, for what no kernel of "direct" covers.

    Args:
        ensemble: which networks.
        x_train: float32 `(n_train, *shape)`.
        y_train: int64 `(n_train,)`.
        device: a GPU, several with commas between them, or "all"; None for the first.

    Raises:
        UsageError: a device named twice, one that is no GPU, or an ensemble of method "deferred"
            that the kernels do not take.
        ResourceError: a package or a device is missing.
    """
    for package in ("torch", "triton"):
        if find_spec(package) is None:
            raise needs_extra(package, "the triton engine")
    made = [_on_one(ensemble, x_train, y_train, name) for name in _names(device)]
    if len(made) == 1:
        return made[0]
    from biasgpu.engines.split import SplitEngine

    return SplitEngine(made)


def _names(device: str | None) -> list[str | None]:
    """The devices, one by one."""
    if device == ALL:
        import torch

        return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or [None]
    if device is None or "," not in device:
        return [device]
    names = [name.strip() for name in device.split(",")]
    full = ["cuda:0" if name == "cuda" else name for name in names]
    if len(set(full)) < len(full):
        raise UsageError(
            f"a device is named twice: {device!r}.",
            why="each gets draws of its own; one GPU twice would only wait for itself.",
            fix="name each once: device='cuda:0,cuda:1' (--device cuda:0,cuda:1), or 'all'.",
        )
    return list(full)


def _on_one(
    ensemble: Ensemble,
    x_train: npt.NDArray[np.float32],
    y_train: npt.NDArray[np.int64],
    device: str | None,
) -> Engine:
    if isinstance(ensemble, DeferredEnsemble):
        from biasgpu.engines.triton_engine import TritonDeferredEngine

        return TritonDeferredEngine(ensemble, x_train, y_train, device=device)
    found, reason = _direct(ensemble)
    if found is not None:
        return found(ensemble, x_train, y_train, device=device)
    from biasgpu.engines.torch_engine import TorchEngine
    from biasgpu.engines.triton_device import find_device

    note = f"the torch engine screens in place of triton: {reason}"
    found = str(find_device(device))
    return TorchEngine(ensemble, x_train, y_train, device=found, notice=note)
