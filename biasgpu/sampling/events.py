"""What happens while sampling, for whoever draws it: the library never prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biasgpu.outcome import Outcome


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class Started(Event):
    """Everything is checked and made; sampling begins.

    Attributes:
        engine, device: what screens, and where.
        seed: of the stream.
        n_train: training samples.
        n_arrangements: candidates a draw makes, as they are counted.
        n_candidates, n_fits, elapsed_s: what an earlier session did; 0 in a new run.
        fits, candidates, time_s: the stopping rules, in total.
        output: the results file, or None.
        counted: what `n_candidates` and `candidates` count: "candidates", or "networks" that are
            trained.
    """

    engine: str
    device: str
    seed: int
    n_train: int
    n_arrangements: int
    n_candidates: int
    n_fits: int
    elapsed_s: float
    fits: int | None
    candidates: int | None
    time_s: float | None
    output: Path | None
    counted: str = "candidates"


@dataclass(frozen=True)
class Progress(Event):
    """A batch has been decided.

    Attributes:
        n_candidates, n_fits: in total.
        fit_probability: fits a candidate; None without candidates.
        fit_probability_interval: its exact confidence interval.
        minus_log2_fit_probability: None while there is no fit.
        candidates_per_s: over the last seconds; None in the first second, when it says nothing.
        elapsed_s: seconds of work, over all sessions.
        remaining_s: estimated seconds to the nearest stopping rule; None while unknown.
        n_borderline: draws the engine left to the law, in total.
        best_prefix: the longest prefix that any candidate classifies so far.
        counted: "candidates", or "networks" that are trained: what `n_candidates` counts and the
            probability is taken of.
    """

    n_candidates: int
    n_fits: int
    fit_probability: float | None
    fit_probability_interval: tuple[float, float]
    minus_log2_fit_probability: float | None
    candidates_per_s: float | None
    elapsed_s: float
    remaining_s: float | None
    n_borderline: int
    best_prefix: int
    counted: str = "candidates"


@dataclass(frozen=True)
class Committed(Event):
    """What was found up to here is safe in the results file.

    Attributes:
        n_candidates, n_fits: committed in total.
        n_rows: rows in the file.
    """

    n_candidates: int
    n_fits: int
    n_rows: int


@dataclass(frozen=True)
class Finished(Event):
    """A stopping rule was reached.

    Attributes:
        reason: "fits", "candidates" or "time".
        run: the result.
    """

    reason: str
    run: Outcome


@dataclass(frozen=True)
class Interrupted(Event):
    """The user stopped it; what was decided is committed. `KeyboardInterrupt` is raised next.

    Attributes:
        run: the result so far.
        output: the results file to resume, or None.
    """

    run: Outcome
    output: Path | None


@dataclass(frozen=True)
class Note(Event):
    """Something the user may want to know.

    Attributes:
        text: one sentence or two.
    """

    text: str


OnEvent = Callable[[Event], None]
