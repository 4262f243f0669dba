"""What the law says of draws that are kept: prefix, arrangement, margin, test accuracy.

Everything here is a function of a draw's name and the task alone; in which groups the draws come
changes no bit of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import answers, exact
from biasgpu.decision import decide, margins
from biasgpu.ensemble import Ensemble
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
    by_class = answers.arranged(usable, decided.arrangement)
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
    predicted = np.empty((len(draws), task.n_test), dtype=np.uint8)
    # A test set too large for one group goes in pieces.
    for part in groups(task.n_test, len(draws) * ensemble.n_outputs):
        predicted[:, part] = answers.classify(
            ensemble, draws, judged.arrangement, task.x_test[part], threads=threads
        )
    overall, per_class = accuracies(predicted, task)
    arrangement = judged.arrangement.astype(np.uint64)
    return Fits(
        index=draws * np.uint64(ensemble.n_arrangements) + arrangement,
        prefix=judged.prefix,
        margin=judged.margin,
        test_accuracy=overall,
        test_accuracy_per_class=per_class,
        test_predictions=predicted if keep_predictions else None,
    )


def accuracies(
    predicted: npt.NDArray[np.uint8], task: Task
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Test accuracies, overall and per class.

    Args:
        predicted: uint8 `(n, n_test)`, the classes predicted.
        task: with the test set.

    Returns:
        float64 `(n,)`, NaN where the test set is empty, and `(n, K)`, NaN for a class without test
        samples.
    """
    correct = predicted == task.y_test
    per_class = np.full((len(predicted), task.n_classes), np.nan)
    for label in range(task.n_classes):
        mine = task.y_test == label
        if mine.any():
            per_class[:, label] = correct[:, mine].sum(axis=1) / int(mine.sum())
    overall = correct.sum(axis=1) / task.n_test if task.n_test else np.full(len(predicted), np.nan)
    return overall, per_class


def groups(n: int, values: int) -> list[slice]:
    """Slices of `n` things of so many float64 `values` each, within `GROUP_BYTES`."""
    size = max(1, GROUP_BYTES // (8 * max(1, values)))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
