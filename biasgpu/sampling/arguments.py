"""What `sample`, `train` and `resume` check and note of their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biasgpu.errors import UsageError
from biasgpu.results import provenance
from biasgpu.sampling.parts import Worker
from biasgpu.sampling.stopping import Rules

if TYPE_CHECKING:
    from biasgpu.experiment import Experiment
    from biasgpu.training.experiment import Training


def about_session(
    engine: Worker, threads: int | None, rules: Rules, confidence: float
) -> dict[str, Any]:
    """The provenance of a session (JSON-able)."""
    return {
        **provenance.collect(),
        "engine": engine.name,
        "device": engine.device,
        "threads": threads,
        "stopping": rules.to_dict(),
        "confidence": float(confidence),
    }


def check_options(confidence: float, batch_draws: int | None) -> None:
    """Refuse what no run can have.

    Raises:
        UsageError: names it.
    """
    if not 0 < confidence < 1:
        raise UsageError(
            f"confidence is {confidence}; it must lie between 0 and 1.",
            why="it is the probability with which the interval covers the truth.",
            fix="for example confidence=0.95 (--confidence 0.95).",
        )
    if batch_draws is not None and batch_draws < 1:
        raise UsageError(
            f"batch_draws is {batch_draws}; it must be 1 or more.",
            why="so many draws are decided at a time.",
            fix="leave it out: it changes no result.",
        )


def check_room(experiment: Experiment | Training, rules: Rules) -> None:
    """Refuse to look at more than there is.

    Raises:
        UsageError: says how many there are.
    """
    n = experiment.n_counted
    draws = rules.max_draws(n)
    left = experiment.last_draw - experiment.first_draw
    if draws is not None and draws > left:
        what = rules.counted
        raise UsageError(
            f"{what} is {rules.candidates}; the stream has {n * left} {what}.",
            why="indices are 64-bit names.",
            fix="ask for fewer, begin earlier (first_index, --first-index), or use another seed.",
        )


def end_draw(experiment: Experiment | Training, rules: Rules) -> int:
    """The draw that a session must stop before."""
    draws = rules.max_draws(experiment.n_counted)
    last = experiment.last_draw
    return last if draws is None else min(last, experiment.first_draw + draws)
