"""Is what a run says true? Every kept network is rebuilt from its name and decided again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biasgpu import exact
from biasgpu.decision import arrange, margins, predictions
from biasgpu.ensemble import Ensemble
from biasgpu.fits import Fits
from biasgpu.task import Task

if TYPE_CHECKING:
    from biasgpu.outcome import Outcome
    from biasgpu.run import Run

CHUNK_VALUES = 4_000_000  # float64 logits held at once
BY_REFERENCE = 4  # networks that are also decided by the reference itself, not its compiled twin
PLAIN_PRODUCTS = 2e9  # of a network that the reference is asked about at all: some ten seconds
MAX_PROBLEMS = 20
TOLERANCE = 1e-12  # of a mean of zeros and ones, which may have been summed in another order


@dataclass
class Recheck:
    """What was found.

    Attributes:
        n_rows: networks to check: fits, and those kept for smaller N.
        n_checked: networks checked.
        n_wrong: those of which something is not as stored.
        problems: the first of them, in words.
        elapsed_s: how long it took.
        notes: what could not be checked, and why.
    """

    n_rows: int
    n_checked: int = 0
    n_wrong: int = 0
    problems: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as stored."""
        return not self.problems and self.n_wrong == 0 and self.n_checked == self.n_rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "ok": self.ok,
            "n_rows": self.n_rows,
            "n_checked": self.n_checked,
            "n_wrong": self.n_wrong,
            "problems": self.problems,
            "elapsed_s": self.elapsed_s,
            "notes": self.notes,
        }


def recheck(
    run: Run, *, threads: int | None = None, on_progress: Callable[[Recheck], None] | None = None
) -> Recheck:
    """Rebuild every kept network of a run and compare it with what is stored.

    Checked are prefix, margin, test accuracy, overall and per class, and predictions if kept; the
    totals against the rows; and the compiled law against the reference on some networks.

    Args:
        run: the run, most likely from `biasgpu.open`.
        threads: CPU threads; None takes all.
        on_progress: called now and then.
    """
    task, fits = run.task, run.fits
    ensemble = run.ensemble
    found = Recheck(n_rows=len(fits))
    start = time.monotonic()
    check_totals(run, found)
    x = np.concatenate([task.x_train, task.x_test])
    plainly = ensemble.products(len(x)) < PLAIN_PRODUCTS
    chunk = max(1, CHUNK_VALUES // max(1, len(x) * ensemble.n_outputs))
    for begin in range(0, len(fits), chunk):
        part = fits.take(slice(begin, begin + chunk))
        draws = part.index // np.uint64(ensemble.n_arrangements)
        logits = exact.logits(ensemble, draws, x, threads=threads)
        for row in range(len(part)):
            wrong = differences(ensemble, task, part, row, logits[row])
            if begin + row < BY_REFERENCE and plainly:
                plain = ensemble.logits(int(draws[row]), x)
                if not np.array_equal(plain, logits[row]):
                    wrong.append("the compiled law and the reference differ (a bug in biasgpu)")
            found.n_checked += 1
            if wrong:
                found.n_wrong += 1
                add_problem(found, f"index {part.index[row]}: {'; '.join(wrong)}")
        found.elapsed_s = time.monotonic() - start
        if on_progress:
            on_progress(found)
    found.elapsed_s = time.monotonic() - start
    return found


def differences(
    ensemble: Ensemble, task: Task, fits: Fits, row: int, logits: npt.NDArray[np.float64]
) -> list[str]:
    """What is not as stored, in words; `logits` are those of training and test set, as drawn."""
    by_class = arrange(logits, int(fits.index[row]) % ensemble.n_arrangements)
    train, test = by_class[: task.n_train], by_class[task.n_train :]
    right = predictions(train) == task.y_train
    prefix = len(right) if right.all() else int(np.argmin(right))
    answers = predictions(test)
    wrong = []
    if prefix != fits.prefix[row]:
        wrong.append(f"prefix is {fits.prefix[row]} in the file and {prefix} rebuilt")
    elif prefix:
        margin = float(margins(train, task.y_train)[:prefix].min())
        if margin != fits.margin[row]:
            wrong.append(f"margin is {fits.margin[row]!r} in the file and {margin!r} rebuilt")
    if task.n_test:
        correct = answers == task.y_test
        if abs(correct.mean() - fits.test_accuracy[row]) > TOLERANCE:
            stored, rebuilt = fits.test_accuracy[row], correct.mean()
            wrong.append(f"test accuracy is {stored} in the file and {rebuilt} rebuilt")
        for label in np.unique(task.y_test):
            stored = fits.test_accuracy_per_class[row, label]
            if abs(correct[task.y_test == label].mean() - stored) > TOLERANCE:
                wrong.append(f"test accuracy of class {task.class_names[label]} differs")
    kept = fits.test_predictions
    if kept is not None and not np.array_equal(kept[row], answers):
        wrong.append(f"{int((kept[row] != answers).sum())} test predictions differ")
    return wrong


def check_totals(run: Outcome, found: Recheck) -> None:
    """Hold what is counted against the rows."""
    n_rows = int((run.fits.prefix == run.task.n_train).sum())
    if n_rows != run.n_fits:
        add_problem(found, f"the file counts {run.n_fits} fits and holds {n_rows}")
    if len(np.unique(run.fits.index)) != len(run.fits):
        add_problem(found, "an index is stored twice")


def add_problem(found: Recheck, problem: str) -> None:
    """Note a problem; the first `MAX_PROBLEMS` are kept."""
    if len(found.problems) < MAX_PROBLEMS:
        found.problems.append(problem)
