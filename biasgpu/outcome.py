"""What a run and a trained run have in common: totals, rows, and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.architectures import Architecture
from biasgpu.ensemble import Ensemble
from biasgpu.fits import Fits
from biasgpu.layout import Step
from biasgpu.task import Task

if TYPE_CHECKING:
    from biasgpu.estimates import StoppedBy
    from biasgpu.experiment import Experiment
    from biasgpu.training.experiment import Training

INTERRUPTED = "interrupted"
_STOPPED_BY: dict[str, StoppedBy] = {
    "fits": "fits",
    "candidates": "candidates",
    "networks": "candidates",
    "time": "time",
}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Outcome:
    """What came of going through a stream of draws.

    Attributes:
        experiment: all that decides what is found.
        n_draws: draws decided.
        prefix_counts: int64 `(n_train + 1,)`: how many draws have each exact prefix.
        fits: the rows kept, by index.
        stop_reason: the rule that ended it; "interrupted" or "failed" where it was cut short, ""
            where it goes on or was killed.
        complete: whether a stopping rule was reached.
        elapsed_s: seconds of work, over all sessions.
        counters: further totals by name.
        provenance: versions, machine, date, engine, stopping rules (JSON-able); sessions that
            resumed it have the same in the list `resumed`.
        confidence: of the intervals.
        output: the results file, or None.
    """

    experiment: Experiment | Training
    n_draws: int
    prefix_counts: npt.NDArray[np.int64]
    fits: Fits
    stop_reason: str
    complete: bool
    elapsed_s: float
    counters: Mapping[str, int]
    provenance: Mapping[str, Any]
    COUNTERS: ClassVar[tuple[str, ...]] = ()
    confidence: float = 0.95
    output: Path | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The experiment, JSON-able."""
        return self.experiment.to_config()

    @property
    def task(self) -> Task:
        """The training samples and the test set."""
        return self.experiment.task

    @property
    def architecture(self) -> Architecture:
        """The layers."""
        return self.experiment.architecture

    @property
    def seed(self) -> int:
        """The 64-bit seed of the stream."""
        return self.experiment.seed

    @property
    def ensemble(self) -> Ensemble:
        """All networks that are drawn, or that training begins with."""
        return self.experiment.ensemble

    @property
    def steps(self) -> tuple[Step, ...]:
        """The layers in their places."""
        return self.ensemble.steps

    @property
    def engine(self) -> str:
        """What did the work, in the last session."""
        return str(self.last_session.get("engine", ""))

    @property
    def device(self) -> str:
        """Where."""
        return str(self.last_session.get("device", ""))

    @property
    def last_session(self) -> Mapping[str, Any]:
        """The provenance of the last session: its engine, device, versions, stopping rules."""
        return (self.provenance.get("resumed") or [self.provenance])[-1]

    @property
    def stopped_by(self) -> StoppedBy:
        """What ended it, as estimates take it: "fits", "candidates", "time", else "user"."""
        return _STOPPED_BY.get(self.stop_reason, "user")

    @property
    def n_fits(self) -> int:
        """Networks without training error."""
        return int(self.prefix_counts[-1])

    def summary(self) -> dict[str, Any]:
        """The whole result but for the rows, JSON-able; what is unknown or infinite is None."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.n_fits

    def __bool__(self) -> bool:
        return True  # a run without fits is a run all the same
