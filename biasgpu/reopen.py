"""A run from its results file."""

from __future__ import annotations

import os
from typing import Any

from biasgpu.errors import UsageError
from biasgpu.experiment import Experiment
from biasgpu.run import Run


def open(path: str | os.PathLike[str], *, confidence: float | None = None) -> Run:
    """The run in a results file, from the file alone; also while it is being written.

    Args:
        path: the file.
        confidence: of the intervals; None takes the one the run was made with.

    Raises:
        BiasgpuError: it cannot be read.
        DamagedFileError: damaged or foreign.
        UsageError: it is not there, it has a prior or layer of the user's own that is not
            registered here, or the confidence lies outside (0, 1).
    """
    from biasgpu.results import read

    return from_stored(read(path), confidence=confidence)


def from_stored(stored: Any, *, confidence: float | None = None) -> Run:
    """The run that `biasgpu.results.read` found.

    Raises:
        DamagedFileError, UsageError: as `open`.
    """
    experiment = Experiment.from_config(stored.config, stored.task)
    if confidence is None:
        kept = stored.provenance.get("confidence")
        confidence = kept if isinstance(kept, float) and 0 < kept < 1 else 0.95
    elif not 0 < confidence < 1:
        raise UsageError(
            f"confidence is {confidence}; it must lie between 0 and 1.",
            why="it is the probability with which the interval covers the truth.",
            fix="for example confidence=0.95.",
        )
    return Run(
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
