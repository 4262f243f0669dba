"""Trained networks in JSON-able numbers: what the command line prints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from biasgpu import estimates
from biasgpu.summarize import about_task, ended_by
from biasgpu.training.experiment import KIND

if TYPE_CHECKING:
    from biasgpu.training.trained import Trained


def summarize(trained: Trained) -> dict[str, Any]:
    """The whole result but for the rows; what is unknown or infinite is None."""
    found, experiment = trained.estimate(), trained.experiment
    architecture = trained.architecture
    accuracies = trained.test_accuracy if trained.task.n_test else ()
    return {
        "kind": KIND,
        "task": about_task(trained.task),
        "architecture": str(architecture),
        "head": architecture.head,
        "bias": architecture.bias,
        "init": str(trained.init),
        "recipe": trained.recipe.to_config(),
        "seed": trained.seed,
        "n_train": trained.task.n_train,
        "first_index": trained.ensemble.n_arrangements * experiment.first_draw,
        "n_networks": trained.n_networks,
        "n_fits": trained.n_fits,
        "n_diverged": trained.n_diverged,
        "success_rate": found.probability,
        "success_rate_interval": [found.low, found.high],
        "confidence": trained.confidence,
        "estimator": found.method,
        "test_accuracy": estimates.summary(accuracies, trained.confidence).to_dict(),
        "kept": sorted(trained.fits.optional),
        "stopped_by": ended_by(trained),
        "stop_reason": trained.stop_reason,
        "complete": trained.complete,
        "elapsed_s": trained.elapsed_s,
        "networks_per_s": trained.networks_per_s,
        "engine": trained.engine,
        "device": trained.device,
        "output": None if trained.output is None else os.fspath(trained.output),
        "versions": dict(trained.last_session.get("versions", {})),
    }
