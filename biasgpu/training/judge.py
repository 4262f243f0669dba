"""What became of trained networks, by the law: who fits, by what margin, and how it generalises.

Trainers compute in float32; whether a network ends without training error is decided here, in
float64 on its float32 weights, so that the same weights get the same verdict whoever made them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import given
from biasgpu.decision import arrange, margins, predictions
from biasgpu.errors import NonFiniteError
from biasgpu.evaluate import accuracies, groups
from biasgpu.fits import Fits
from biasgpu.measured import measured
from biasgpu.networks import GivenNetworks
from biasgpu.training.experiment import Training
from biasgpu.training.trainers.base import Trajectories

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Judged:
    """Trained networks on their training set.

    Attributes:
        prefix: int64 `(n,)`: how many of the first training samples each classifies before its
            first error, a logit that is infinite or not a number being one.
        diverged: bool `(n,)`: whether any training logit is infinite or not a number.
        margin: float64 `(n,)`: the least (correct logit - best other logit) over the prefix;
            infinite where the prefix is empty.
    """

    prefix: npt.NDArray[np.int64]
    diverged: npt.NDArray[np.bool_]
    margin: npt.NDArray[np.float64]


def judge(training: Training, flat: Weights, *, threads: int | None = None) -> Judged:
    """Decide networks on the training set.

    Args:
        training: says which task and layers.
        flat: float32 `(n, n_parameters)`.
        threads: CPU threads; None takes all.
    """
    task, steps = training.task, training.ensemble.steps
    prefix = np.zeros(len(flat), np.int64)
    diverged = np.zeros(len(flat), np.bool_)
    margin = np.full(len(flat), np.inf)
    for group in groups(len(flat), task.n_train * steps[-1].out_shape[0]):
        logits = arrange(given.logits(steps, flat[group], task.x_train, threads=threads), 0)
        finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(logits).all(axis=-1))
        usable = np.where(finite[..., None], logits, 0.0)
        right = finite & (predictions(usable) == task.y_train)
        ends = np.where(right.all(axis=1), task.n_train, np.argmin(right, axis=1))
        outside = np.arange(task.n_train) >= ends[:, None]
        prefix[group] = ends
        diverged[group] = ~finite.all(axis=1)
        margin[group] = np.where(outside, np.inf, margins(usable, task.y_train)).min(axis=1)
    return Judged(prefix, diverged, margin)


def rows_of(
    training: Training,
    draws: npt.NDArray[np.uint64],
    trained: Trajectories,
    judged: Judged,
    *,
    weights: bool,
    threads: int | None = None,
) -> Fits:
    """Rows of results for networks.

    Args:
        training: what they are of.
        draws: uint64 `(n,)`, increasing.
        trained: what became of them.
        judged: the verdict on them.
        weights: with the column `weights`.
        threads: CPU threads; None takes all.

    Raises:
        NonFiniteError: a logit on the test set is infinite or not a number.
    """
    task, steps = training.task, training.ensemble.steps
    final = trained.weights[:, -1]
    answers = np.empty((len(draws), task.n_test), np.uint8)
    # Few networks at a time, and a test set too large for one group in pieces.
    for some in groups(len(draws), task.n_test * steps[-1].out_shape[0]):
        n_outputs = len(final[some]) * steps[-1].out_shape[0]
        for part in groups(task.n_test, n_outputs):
            classes, finite = given.classify(steps, final[some], task.x_test[part], threads=threads)
            _check_finite(finite, training, draws[some])
            answers[some, part] = classes
    overall, per_class = accuracies(answers, task)
    rows = Fits(
        index=draws * np.uint64(training.ensemble.n_arrangements),
        prefix=judged.prefix,
        margin=judged.margin,
        test_accuracy=overall,
        test_accuracy_per_class=per_class,
        test_predictions=answers if training.keep_predictions else None,
        gradient_norm=trained.gradient_norms if training.gradient_norms else None,
        weights=trained.weights if weights else None,
        epochs=trained.epochs,
    )
    if not training.measures:
        return rows
    networks = GivenNetworks(task, steps, np.ascontiguousarray(final))
    return measured(rows, networks, threads=threads)


def _check_finite(
    finite: npt.NDArray[np.bool_], training: Training, draws: npt.NDArray[np.uint64]
) -> None:
    if not finite.all():
        draw = int(draws[int(np.argmin(finite))])
        raise NonFiniteError(
            f"the network trained from draw {draw} of seed {training.seed} fits, but has a logit "
            "on the test set that is infinite or not a number.",
            why="such a network classifies nothing; its weights or inputs are too large.",
            fix="use a smaller learning rate (learning_rate=0.001, --learning-rate 0.001), or "
            "scale the inputs.",
        )
