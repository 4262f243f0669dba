"""A run, or trained networks, from a results file."""

from __future__ import annotations

import os
from typing import Any

from biasgpu.errors import DamagedFileError, UsageError
from biasgpu.experiment import Experiment
from biasgpu.run import Run


def open(path: str | os.PathLike[str], *, confidence: float | None = None) -> Any:
    """What a results file holds, from the file alone; also while it is being written.

    Args:
        path: the file.
        confidence: of the intervals; None takes the one the run was made with.

    Returns:
        a `Run` of what `sample` found, or `Trained`, what `train` made.

    Raises:
        BiasgpuError: it cannot be read.
        DamagedFileError: damaged or foreign.
        UsageError: it is not there, it has a prior or layer of the user's own that is not
            registered here, or the confidence lies outside (0, 1).
    """
    from biasgpu.results import read

    return from_stored(read(path), confidence=confidence)


def from_stored(stored: Any, *, confidence: float | None = None) -> Any:
    """What `biasgpu.results.read` found, as `Run` or `Trained`.

    Raises:
        DamagedFileError, UsageError: as `open`.
    """
    kind, experiment = _experiment(stored)
    if stored.fits.optional != experiment.row_shapes:
        raise DamagedFileError(
            f"{stored.path} is damaged: its columns are not those of its configuration.",
            why="what was asked for, the task and the layers decide their shapes.",
            fix="use a copy or a backup (.bak), or run again.",
        )
    if confidence is None:
        kept = stored.provenance.get("confidence")
        confidence = kept if isinstance(kept, float) and 0 < kept < 1 else 0.95
    elif not 0 < confidence < 1:
        raise UsageError(
            f"confidence is {confidence}; it must lie between 0 and 1.",
            why="it is the probability with which the interval covers the truth.",
            fix="for example confidence=0.95.",
        )
    return kind(
        experiment=experiment,
        n_draws=max(0, stored.next_draw - experiment.first_draw),
        prefix_counts=stored.prefix_counts,
        fits=stored.fits,
        stop_reason=stored.stop_reason,
        complete=stored.complete,
        elapsed_s=stored.elapsed_s,
        counters=stored.counters,
        provenance=stored.provenance,
        confidence=confidence,
        output=stored.path,
    )


def _experiment(stored: Any) -> tuple[type[Any], Any]:
    """What the file holds, and what it was made from."""
    if "kind" not in stored.config:
        return Run, Experiment.from_config(stored.config, stored.task)
    from biasgpu.training.experiment import Training
    from biasgpu.training.trained import Trained

    training = Training.from_config(stored.config, stored.task)
    fits, n_arrangements = stored.fits, training.ensemble.n_arrangements
    if (
        (fits.prefix != training.task.n_train).any()
        or (fits.index % n_arrangements).any()
        or (fits.epochs is not None and (fits.epochs > training.recipe.epochs).any())
    ):
        raise DamagedFileError(
            f"{stored.path} is damaged: a row is none of a network that was trained so.",
            why="kept are networks without training error, outputs as drawn, after the recipe's "
            "epochs at most.",
            fix="use a copy or a backup (.bak), or train again.",
        )
    return Trained, training
