"""Can any network of an ensemble fit a task? What is plain to see is said before any work."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ImpossibleTaskError
from biasgpu.task import Task


def check_task(task: Task, ensemble: Ensemble) -> None:
    """Refuse a task that no network of the ensemble can fit, as far as can be seen at once.

    Inputs that the layers before the first weights make equal get one label. Without biases every
    layer is positively homogeneous: inputs that are positive multiples of each other get one label
    too (but for rounding, which no one wants to wait for), and an input of zeros gets label 0.

    Raises:
        ImpossibleTaskError: names the samples.
    """
    features = _features(task, ensemble)
    pair = _conflict(features, task.y_train)
    if pair:
        raise _impossible(
            task,
            *pair,
            "become equal before they reach the first weights",
            "use another architecture",
        )
    if any(getattr(step.layer, "bias", "zero") == "prior" for step in ensemble.steps):
        return
    size = np.abs(features).max(axis=1, keepdims=True)
    zero = np.flatnonzero((size[:, 0] == 0) & (task.y_train != 0))
    if len(zero):
        raise ImpossibleTaskError(
            f"no {ensemble.architecture.name} without biases can fit this task: training sample "
            f"{zero[0]} is all zeros and has label {task.y_train[zero[0]]}.",
            why="without biases every logit of such an input is 0, and a tie goes to label 0.",
            fix="draw the biases from the prior: bias='prior' (--bias prior).",
        )
    # Ratios of float32 numbers that are equal have equal float64 quotients, others have not.
    pair = _conflict(features / np.where(size == 0, 1.0, size), task.y_train)
    if pair:
        raise _impossible(
            task,
            *pair,
            "are multiples of each other, which networks without biases cannot tell apart",
            "draw the biases from the prior: bias='prior' (--bias prior)",
        )


def _features(task: Task, ensemble: Ensemble) -> npt.NDArray[np.float64]:
    """What reaches the first weights: float64 `(n_train, features)`."""
    x = task.x_train.astype(np.float64)
    for step in ensemble.steps:
        if step.layer.has_weights:
            break
        x = reference.apply(step.layer, x)
    return x.reshape(len(x), -1)


def _conflict(x: npt.NDArray[np.float64], y: npt.NDArray[np.int64]) -> tuple[int, int] | None:
    """Two samples with equal inputs and different labels."""
    seen: dict[bytes, int] = {}
    for place, row in enumerate(x + 0.0):  # -0.0 and 0.0 are equal
        first = seen.setdefault(row.tobytes(), place)
        if y[first] != y[place]:
            return first, place
    return None


def _impossible(task: Task, first: int, second: int, why: str, fix: str) -> ImpossibleTaskError:
    return ImpossibleTaskError(
        f"no such network can fit this task: training samples {first} and {second} have the labels "
        f"{task.y_train[first]} and {task.y_train[second]}, but {why}.",
        why="a network gives one input one label.",
        fix=f"{fix}, remove one of the samples, or use n_train <= {second} (--n-train).",
    )
