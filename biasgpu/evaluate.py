"""What the law says of draws that are kept: prefix, arrangement, margin, test accuracy.

Everything here is a function of a draw's name and the task alone; in which groups the draws come
changes no bit of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import exact
from biasgpu.decision import decide, margins, permutation, predictions
from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError
from biasgpu.fits import Fits
from biasgpu.task import Task

GROUP_BYTES = 16 << 20  # logits held at once
Draws = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Judged:
    """Draws on a training set, by the law.

    Attributes:
        prefix: int64 `(n,)`: the longest prefix any arrangement of the draw classifies.
        arrangement: int64 `(n,)`: the arrangement that does.
        margin: float64 `(n,)`: the least (correct logit - best other logit) over the prefix;
            infinite where the prefix is empty.
    """

    prefix: npt.NDArray[np.int64]
    arrangement: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]


def evaluate(
    ensemble: Ensemble,
    task: Task,
    draws: Draws,
    *,
    keep_predictions: bool = False,
    threads: int | None = None,
) -> Fits:
    """Rows of results for draws, each in its best arrangement.

    Args:
        ensemble: which networks.
        task: training and test samples.
        draws: uint64 `(n,)`, increasing.
        keep_predictions: fill the column `test_predictions`.
        threads: CPU threads; None takes all.

    Returns:
        one row a draw, in the order given.

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    parts = [Fits.empty(task.n_classes, task.n_test, keep_predictions)]
    for group in groups(len(draws), max(task.n_train, task.n_test) * ensemble.n_outputs):
        names = draws[group]
        judged = judge(ensemble, task.x_train, task.y_train, names, threads=threads)
        parts.append(_tested(ensemble, task, names, judged, keep_predictions, threads))
    return Fits.concatenate(parts)


def judge(
    ensemble: Ensemble,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    draws: Draws,
    *,
    threads: int | None = None,
) -> Judged:
    """Prefix, arrangement and margin of draws.

    Args:
        ensemble: which networks.
        x: float32 `(samples, *shape)`.
        y: int64 `(samples,)`.
        draws: uint64 `(n,)`.
        threads: CPU threads; None takes all.

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    logits = exact.logits(ensemble, draws, x, threads=threads)
    decided = decide(logits, y, ensemble, draws)
    outside = np.arange(len(y)) >= decided.prefix[:, None]
    # Behind the first error a logit may be infinite; nothing there is looked at.
    usable = np.where(outside[..., None], 0.0, logits)
    by_class = _arranged(usable, decided.arrangement)
    margin = np.where(outside, np.inf, margins(by_class, y)).min(axis=1)
    return Judged(decided.prefix, decided.arrangement, margin)


def _tested(
    ensemble: Ensemble,
    task: Task,
    draws: Draws,
    judged: Judged,
    keep_predictions: bool,
    threads: int | None,
) -> Fits:
    answers = np.empty((len(draws), task.n_test), dtype=np.uint8)
    # A test set too large for one group goes in pieces.
    for part in groups(task.n_test, len(draws) * ensemble.n_outputs):
        logits = exact.logits(ensemble, draws, task.x_test[part], threads=threads)
        _check_finite(logits, ensemble, draws)
        answers[:, part] = predictions(_arranged(logits, judged.arrangement))
    overall, per_class = accuracies(answers, task)
    arrangement = judged.arrangement.astype(np.uint64)
    return Fits(
        index=draws * np.uint64(ensemble.n_arrangements) + arrangement,
        prefix=judged.prefix,
        margin=judged.margin,
        test_accuracy=overall,
        test_accuracy_per_class=per_class,
        test_predictions=answers if keep_predictions else None,
    )


def accuracies(
    answers: npt.NDArray[np.uint8], task: Task
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Test accuracies, overall and per class.

    Args:
        answers: uint8 `(n, n_test)`, the classes predicted.
        task: with the test set.

    Returns:
        float64 `(n,)`, NaN where the test set is empty, and `(n, K)`, NaN for a class without test
        samples.
    """
    correct = answers == task.y_test
    per_class = np.full((len(answers), task.n_classes), np.nan)
    for label in range(task.n_classes):
        mine = task.y_test == label
        if mine.any():
            per_class[:, label] = correct[:, mine].sum(axis=1) / int(mine.sum())
    overall = correct.sum(axis=1) / task.n_test if task.n_test else np.full(len(answers), np.nan)
    return overall, per_class


def _arranged(
    logits: npt.NDArray[np.float64], arrangement: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Logits by class, each draw `(samples, outputs)` in its own arrangement."""
    n_draws, n_samples, n_outputs = logits.shape
    if n_outputs == 1:
        result = np.zeros((n_draws, n_samples, 2))
        result[..., 1] = logits[..., 0] * np.where(arrangement, -1.0, 1.0)[:, None]
        return result
    result = np.empty_like(logits)
    for one in np.unique(arrangement).tolist():
        rows = arrangement == one
        for label, unit in enumerate(permutation(n_outputs, one)):
            result[rows, :, label] = logits[rows, :, unit]
    return result


def _check_finite(logits: npt.NDArray[np.float64], ensemble: Ensemble, draws: Draws) -> None:
    finite = np.isfinite(logits).all(axis=(1, 2))
    if not finite.all():
        draw = int(draws[int(np.argmin(finite))])
        raise NonFiniteError(
            f"draw {draw} of seed {ensemble.seed} fits, but has a logit on the test set that is "
            "infinite or not a number.",
            why="such a network classifies nothing; its weights or inputs are too large.",
            fix="use a prior of smaller scale (--prior kaiming-normal), or scale the inputs.",
        )


def groups(n: int, values: int) -> list[slice]:
    """Slices of `n` things of so many float64 `values` each, within `GROUP_BYTES`."""
    size = max(1, GROUP_BYTES // (8 * max(1, values)))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
