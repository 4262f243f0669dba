"""Trainers by name. Each is imported only when it is made: they bring large packages with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines import AUTO, available
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError, needs_extra, unknown
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers.base import Trainer, Trajectories

NAMES = ("reference", "torch", "cpu", "triton")
PACKAGE = {"torch": "torch", "cpu": "numba", "triton": "triton"}


def make(
    name: str,
    ensemble: Ensemble,
    x_train: npt.NDArray[np.float32],
    y_train: npt.NDArray[np.int64],
    recipe: Recipe,
    *,
    gradient_norms: bool = False,
    device: str | None = None,
    threads: int | None = None,
) -> Trainer:
    """A trainer for one ensemble, training set and recipe.

    Args:
        name: "reference", "torch", "cpu", "triton", or "auto": "torch" for a device that is not the
            CPU, else the first of "cpu", "torch", "reference" that is installed and takes the
            ensemble.
        ensemble: which networks; method "direct".
        x_train: float32 `(n_train, *shape)`.
        y_train: int64 `(n_train,)`.
        recipe: how to train.
        gradient_norms: record them at every epoch.
        device: "cpu", "cuda", "cuda:1"; None lets the trainer choose.
        threads: CPU threads; None takes all.

    Raises:
        UsageError: an unknown name, or an ensemble or device that the trainer does not take.
        ResourceError: the trainer's package or device is missing.
    """
    if name not in (AUTO, *NAMES):
        raise unknown("engine", name, (AUTO, *NAMES))
    if isinstance(ensemble, DeferredEnsemble):
        raise UsageError(
            "networks of method 'deferred' cannot be trained.",
            why="training changes every weight, and that method draws only what it is asked.",
            fix="method='direct' (--method direct).",
        )
    if threads is not None and threads < 1:
        raise UsageError(
            f"threads is {threads}; it must be 1 or more.",
            why="the work needs one thread at least.",
            fix="leave it out to take all cores, or give 1 or more: threads=1 (--threads 1).",
        )
    x_train = np.ascontiguousarray(x_train, dtype=np.float32)
    y_train = np.ascontiguousarray(y_train, dtype=np.int64)
    if name == AUTO:
        on_cpu = device in (None, "cpu")
        name = _choose(ensemble, recipe, len(y_train)) if on_cpu else "torch"
    elif name in ("reference", "cpu") and device not in (None, "cpu"):
        raise UsageError(
            f"the {name} engine computes on the CPU, not on {device}.",
            why="only the torch and triton engines use other devices.",
            fix="engine='torch' (--engine torch).",
        )
    if name in PACKAGE and not _installed(name):
        raise needs_extra(PACKAGE[name], f"the {name} engine")
    if recipe.searches and gradient_norms:
        raise UsageError(
            f"gradient_norms with optimizer {recipe.optimizer!r}.",
            why="a search takes no gradient.",
            fix="leave gradient_norms out (--gradient-norms), or train by optimizer='sgd' "
            "(--optimizer sgd).",
        )
    if name == "reference":
        from biasgpu.training.trainers.reference import ReferenceTrainer

        return ReferenceTrainer(ensemble, x_train, y_train, recipe, gradient_norms=gradient_norms)
    if name == "cpu":
        return _cpu(ensemble, recipe, len(y_train))[0](
            ensemble, x_train, y_train, recipe, gradient_norms=gradient_norms, threads=threads
        )
    if name == "torch":
        from biasgpu.training.trainers.torch import TorchTrainer
        from biasgpu.training.trainers.torch_search import TorchSearchTrainer

        return (TorchSearchTrainer if recipe.searches else TorchTrainer)(
            ensemble, x_train, y_train, recipe,
            gradient_norms=gradient_norms, device=device, threads=threads,
        )  # fmt: skip
    from biasgpu.training.trainers.triton import TritonTrainer

    return TritonTrainer(
        ensemble, x_train, y_train, recipe, gradient_norms=gradient_norms, device=device
    )


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(PACKAGE[name]) is not None


def _choose(ensemble: Ensemble, recipe: Recipe, n_train: int = 2) -> str:
    reasons = available()
    if reasons["cpu"] is None and _cpu(ensemble, recipe, n_train)[1] is None:
        return "cpu"
    return "torch" if reasons["torch"] is None else "reference"


def _cpu(
    ensemble: Ensemble, recipe: Recipe, n_train: int
) -> tuple[Callable[..., Trainer], str | None]:
    """Which cpu trainer it is to be, and why it does not take this, or None.

    Sixteen networks side by side where their layers allow it, else one at a time.
    """
    from biasgpu.training.trainers import cpu, cpu_planes
    from biasgpu.training.trainers.cpu_search import CpuSearchTrainer

    if recipe.searches:
        return CpuSearchTrainer, cpu.unsupported(ensemble, recipe)
    if cpu_planes.needed(ensemble.steps):
        return cpu_planes.CpuPlanesTrainer, cpu_planes.unsupported(ensemble, recipe, n_train)
    return cpu.CpuTrainer, cpu.unsupported(ensemble, recipe)


__all__ = ["AUTO", "NAMES", "Trainer", "Trajectories", "make"]
