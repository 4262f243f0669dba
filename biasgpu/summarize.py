"""A run in JSON-able numbers: what the command line prints and figures draw."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from biasgpu import estimates
from biasgpu.errors import BiasgpuError
from biasgpu.estimates import Summary

if TYPE_CHECKING:
    from biasgpu.outcome import Outcome
    from biasgpu.run import Run
    from biasgpu.task import Task

_ENDED_BY = {"interrupted": "user", "failed": "error"}  # by stop reason; rules name themselves


def summarize(run: Run) -> dict[str, Any]:
    """The whole result but for the rows; what is unknown or infinite is None."""
    found = run.estimate()
    task, experiment, architecture = run.task, run.experiment, run.architecture
    n_arrangements = run.ensemble.n_arrangements
    return {
        "task": about_task(task),
        "architecture": str(architecture),
        "head": architecture.head,
        "bias": architecture.bias,
        "prior": str(run.prior),
        "method": experiment.method,
        "seed": run.seed,
        "n_train": task.n_train,
        "n_arrangements": n_arrangements,
        "first_index": n_arrangements * experiment.first_draw,
        "n_draws": run.n_draws,
        "n_candidates": run.n_candidates,
        "n_fits": run.n_fits,
        "fit_probability": found.probability,
        "fit_probability_interval": [found.low, found.high],
        "minus_log2_fit_probability": found.minus_log2,
        "confidence": run.confidence,
        "estimator": found.method,
        "test_accuracy": accuracy(run, task.n_train),
        "curve": run.curve,
        "stopped_by": ended_by(run),
        "stop_reason": run.stop_reason,
        "complete": run.complete,
        "elapsed_s": run.elapsed_s,
        "candidates_per_s": run.candidates_per_s,
        "n_borderline": run.n_borderline,
        "engine": run.engine,
        "device": run.device,
        "output": None if run.output is None else os.fspath(run.output),
        "versions": dict(run.last_session.get("versions", {})),
    }


def about_task(task: Task) -> dict[str, Any]:
    """What a summary says of its task."""
    return {
        "name": task.name,
        "classes": list(task.class_names),
        "n_test": task.n_test,
        "checksum": task.checksum,
        "config": task.config,
        "sources": task.sources,
    }


def ended_by(run: Outcome) -> str:
    """What ended a run, in one word.

    Returns:
        "fits", "candidates", "networks" or "time", a rule; "user"; "error"; "killed" where it was
        cut off without a word; "" while it is running.
    """
    if run.stop_reason:
        return _ENDED_BY.get(run.stop_reason, run.stop_reason)
    from biasgpu.results import read_status

    try:
        running = run.output is not None and read_status(run.output).get("state") == "running"
    except BiasgpuError:
        running = False  # its status file was lost: a run that goes on would have made another
    return "" if running else "killed"


def curve_point(run: Run, n_train: int) -> dict[str, Any]:
    """One N of the curve; see `Run.curve`."""
    found = run.estimate(n_train)
    return {
        "n_train": n_train,
        "n_fits": found.n_fits,
        "fit_probability": found.probability,
        "fit_probability_interval": [found.low, found.high],
        "minus_log2_fit_probability": found.minus_log2,
        "interval": [found.minus_log2_low, found.minus_log2_high],
        "test_accuracy": accuracy(run, n_train),
    }


def accuracy(run: Run, n_train: int) -> dict[str, Any]:
    """Statistics of the test accuracies of `run.fits_at(n_train)`."""
    if not run.task.n_test:
        return asdict(Summary(0, None, None, None, None, None, None))
    return estimates.summary(run.fits_at(n_train).test_accuracy, run.confidence).to_dict()
