"""Before a run goes on: what is left to do, and are its stored fits what they are rebuilt as?"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasgpu.errors import RefusedError
from biasgpu.evaluate import evaluate
from biasgpu.outcome import Outcome
from biasgpu.reopen import from_stored
from biasgpu.results import read
from biasgpu.run import Run
from biasgpu.sampling.stopping import Rules

COLUMNS = (
    "index",
    "prefix",
    "margin",
    "test_accuracy",
    "test_accuracy_per_class",
    "test_predictions",
)


@dataclass(frozen=True, eq=False)
class Found:
    """A stored run.

    Attributes:
        run: as it was left.
        rules: when to stop: those given, else the stored ones.
        nothing_to_do: why it need not go on, or "".
    """

    run: Any  # a `Run`, or `Trained`
    rules: Any  # as they were given: `Rules`, or `TrainingRules`
    nothing_to_do: str


def look(path: str | os.PathLike[str], given: Rules, *, confidence: float | None = None) -> Found:
    """Read a run that is to go on.

    Args:
        path: its results file.
        given: stopping rules; if empty, the stored ones are taken.
        confidence: of the intervals; None takes the stored one.

    Raises:
        DamagedFileError: damaged or foreign.
        UsageError: neither given nor stored rules.
    """
    run = from_stored(read(path), confidence=confidence)
    sessions = [run.provenance, *run.provenance.get("resumed", [])]
    rules = type(given).from_dict(sessions[-1].get("stopping") or {}) if given.empty else given
    rules.require()
    if run.complete and given.empty:
        reached = run.stop_reason
    else:
        reached = rules.reached(run.n_fits, run.n_draws, run.elapsed_s, run.experiment.n_counted)
    if not reached or (not run.complete and _ends_there(run, rules, reached)):
        return Found(run, rules, "")
    text = (
        f"{os.fspath(path)} has reached its stopping rule: {run.n_fits} fits, "
        f"{run.experiment.n_counted * run.n_draws} {rules.counted}, {run.elapsed_s:.1f} s. "
        "To go on, ask for more in total: "
        f"fits={2 * max(1, run.n_fits)} (--fits {2 * max(1, run.n_fits)})."
    )
    return Found(run, rules, text)


def _ends_there(run: Outcome, rules: Rules, reached: str) -> bool:
    """Whether a run that was cut short ended where the rule would have ended it.

    By fits that is so only if its last draw brought the last fit asked for: it was killed between
    its last commit and its end. Otherwise the rule came too late to say anything.
    """
    if reached != "fits":
        return True
    indices = run.fits.index[run.fits.prefix == run.task.n_train]
    last_draw = run.experiment.first_draw + run.n_draws - 1
    return (
        run.n_fits == rules.fits
        and len(indices) > 0
        and int(indices[-1]) // run.ensemble.n_arrangements == last_draw
    )


def check_stored(run: Run, *, threads: int | None = None) -> None:
    """Rebuild up to three stored rows, the first, the last and a random one, by the law.

    Raises:
        RefusedError: they are not what is stored, to the bit.
    """
    n_rows = len(run.fits)
    if not n_rows:
        return
    # Which one is drawn decides nothing but what is checked.
    places = np.unique([0, random.randrange(n_rows), n_rows - 1])
    stored = run.fits.take(places)
    draws = stored.index // np.uint64(run.ensemble.n_arrangements)
    rebuilt = evaluate(
        run.ensemble,
        run.task,
        draws,
        keep_predictions=run.experiment.keep_predictions,
        threads=threads,
    )
    for name in COLUMNS:
        old, new = getattr(stored, name), getattr(rebuilt, name)
        if old is None:
            continue
        same = (old == new) | ((old != old) & (new != new))
        if not same.all():
            row = int(np.argmin(same.reshape(len(places), -1).all(axis=1)))
            raise RefusedError(
                f"{run.output}: the fit with index {stored.index[row]} is not what it is rebuilt "
                f"as: {name} is {old[row]} in the file and {new[row]} now.",
                why="a run goes on only where its fits can be rebuilt to the bit; the file was "
                "changed, or this version or machine computes something else.",
                fix="see biasgpu verify for what differs, and begin a new run.",
            )
