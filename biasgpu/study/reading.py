"""Cells from the files of a study: what each holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import biasgpu
from biasgpu import estimates
from biasgpu.errors import BiasgpuError
from biasgpu.estimates import Estimate
from biasgpu.fits import Fits
from biasgpu.study.cells import Cell, Floats
from biasgpu.study.definition import Study
from biasgpu.study.jobs import Job
from biasgpu.study.work import check, epochs_of

NOT_BEGUN = "not begun"


def read_cells(study: Study, job: Job, folder: Path, problem: str = "") -> list[Cell]:
    """The cells of one file: one for each N that it serves.

    Args:
        study: the definition.
        job: the file.
        folder: where it is.
        problem: why it could not be made, if it could not.
    """
    path = folder / job.file
    if not path.exists():
        return _without(study, job, problem or NOT_BEGUN)
    try:
        found = biasgpu.open(path)
        check(found, job, study)
        if job.way == "sgd":
            return [_trained_cell(study, job, found, problem)]
        named = {*study.n, job.n_train}
        points = [n for n in found.experiment.points if found.experiment.curve_fits or n in named]
        return [_drawn_cell(study, job, found, n, problem) for n in points]
    except BiasgpuError as error:
        return _without(study, job, problem or error.what)


def _drawn_cell(study: Study, job: Job, run: Any, n_train: int, problem: str) -> Cell:
    fits, estimate = run.fits_at(n_train), run.estimate(n_train)
    missing = _missing(run, estimate, study.fits, f"{estimate.n_candidates:,} candidates")
    if n_train < run.task.n_train and not run.experiment.curve_fits:
        missing = f"its file keeps networks at N = {run.task.n_train} alone"
    return _cell(study, job, run, n_train, fits, estimate, problem or missing)


def _trained_cell(study: Study, job: Job, trained: Any, problem: str) -> Cell:
    estimate = trained.estimate()
    missing = _missing(trained, estimate, study.trained, f"{trained.n_networks:,} trained")
    cell = _cell(study, job, trained, job.n_train, trained.fits, estimate, problem or missing)
    cell.about.update(n_trained=trained.n_networks, n_diverged=trained.n_diverged)
    return cell


def _cell(
    study: Study, job: Job, found: Any, n_train: int, fits: Fits, estimate: Estimate, problem: str
) -> Cell:
    from biasgpu.measures.columns import normalized_loss_at, weight_normalized_loss_at

    logits, y = fits.train_logits, found.task.y_train
    loss: Floats | None = None
    weight_loss: Floats | None = None
    if logits is not None and len(fits):
        if fits.lipschitz is not None:
            loss = normalized_loss_at(logits, y, fits.lipschitz, n_train)
        if fits.frobenius is not None:
            weight_loss = weight_normalized_loss_at(logits, y, fits.frobenius, n_train)
    return Cell(
        **_shared(study, job),
        n_train=n_train,
        estimate=estimate,
        test_accuracy=fits.test_accuracy,
        normalized_loss=loss,
        weight_normalized_loss=weight_loss,
        gradient_norms=fits.gradient_norm,
        n_classes=found.task.n_classes,
        task=f"{found.task.name} {' vs '.join(found.task.class_names)}",
        problem=problem,
        about={
            **_about(study, job),
            "elapsed_s": found.elapsed_s,
            "engine": str(found.last_session.get("engine", "")),
            "stopped_by": found.stop_reason,
        },
    )


def _without(study: Study, job: Job, problem: str) -> list[Cell]:
    """The cells of a file that there is not, or that cannot be read."""
    nothing = estimates.estimate(0, 0, stopped_by="user")
    points = (job.n_train,)
    if job.way == "guess-and-check" and not job.architecture.coupled:
        points = tuple(sorted({*study.n, job.n_train}))
    return [
        Cell(
            **_shared(study, job),
            n_train=n_train,
            estimate=nothing,
            test_accuracy=np.zeros(0),
            n_classes=study.n_classes,
            task=study.task_name,
            problem=problem,
            about=_about(study, job),
        )
        for n_train in points
    ]


def _shared(study: Study, job: Job) -> dict[str, Any]:
    return {
        "way": job.way,
        "architecture": job.architecture,
        "prior": job.prior,
        "data_seed": job.data_seed,
        "epoch": job.epoch,
        "optimizer": study.optimizer if job.way == "sgd" else "",
    }


def _about(study: Study, job: Job) -> dict[str, Any]:
    epochs = {"epochs": epochs_of(job, study)} if job.way == "sgd" else {}
    return {"file": job.file, "seed": job.seed, **epochs}


def _missing(found: Any, estimate: Estimate, asked: int, tried: str) -> str:
    """Why there are fewer networks than were asked for; "" if there are as many."""
    if estimate.n_fits >= asked:
        return ""
    ended = {
        "candidates": "all that were to be tried",
        "networks": "all that were to be trained",
        "time": "the time was up",
        "interrupted": "interrupted",
        "failed": "cut short by an error",
    }.get(found.stop_reason, "not finished")
    many = "none" if not estimate.n_fits else f"only {estimate.n_fits:,}"
    return f"{many} of {asked:,} found in {tried}: {ended}"
