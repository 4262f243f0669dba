"""From float64 logits to decisions: arrangements, predictions, prefixes, margins.

A network predicts the arg max over its logits, a tie going to the lowest class. A one-logit head
stands for the logits (0, z). An arrangement is a permutation of the output units in lexicographic
order (class c reads unit permutation[c]), or the sign of a single output (arrangement 1 reads -z).

With every class among the first N samples at most one arrangement of a draw fits them: were there
two, take the highest class c at which they differ; the unit that the second gives to c ties with
the first's on a sample of class c, and under the first it must belong to a class above c, where
both agree. So counting draws counts fits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError

Logits = npt.NDArray[np.float64]


def permutation(n: int, arrangement: int) -> tuple[int, ...]:
    """The permutation of `n` things with that lexicographic number."""
    left, result = list(range(n)), []
    for k in range(n, 0, -1):
        size = _factorial(k - 1)
        place, arrangement = divmod(arrangement, size)
        result.append(left.pop(place))
    return tuple(result)


def arrangement_of(order: tuple[int, ...]) -> int:
    """The lexicographic number of a permutation: the inverse of `permutation`."""
    number = 0
    for position, unit in enumerate(order):
        smaller = sum(later < unit for later in order[position + 1 :])
        number += smaller * _factorial(len(order) - 1 - position)
    return number


def _factorial(n: int) -> int:
    return n * _factorial(n - 1) if n > 1 else 1


def arrange(logits: Logits, arrangement: int) -> Logits:
    """Logits by class.

    Args:
        logits: float64 `(samples, outputs)` as drawn.
        arrangement: which arrangement of the outputs.

    Returns:
        float64 `(samples, classes)`.
    """
    if logits.shape[-1] == 1:
        z = -logits if arrangement else logits
        return np.concatenate([np.zeros_like(z), z], axis=-1)
    return logits[..., list(permutation(logits.shape[-1], arrangement))]


def predictions(by_class: Logits) -> npt.NDArray[np.int64]:
    """The predicted class of each sample: arg max over the last axis, ties to the lowest class."""
    return np.argmax(by_class, axis=-1)


def margins(by_class: Logits, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Each sample's correct logit minus the best other one: float64 `(..., samples)`."""
    correct = np.take_along_axis(
        by_class, np.broadcast_to(labels, by_class.shape[:-1])[..., None], axis=-1
    )
    others = by_class.copy()
    np.put_along_axis(
        others, np.broadcast_to(labels, by_class.shape[:-1])[..., None], -np.inf, axis=-1
    )
    return correct[..., 0] - others.max(axis=-1)


@dataclass(frozen=True)
class Decided:
    """What the law says of some draws.

    Attributes:
        prefix: int64 `(n,)`: the longest prefix any arrangement of the draw classifies.
        arrangement: int64 `(n,)`: an arrangement that does (the only one, where every class is
            in the prefix).
    """

    prefix: npt.NDArray[np.int64]
    arrangement: npt.NDArray[np.int64]


def decide(
    logits: Logits, labels: npt.NDArray[np.int64], ensemble: Ensemble, draws: npt.NDArray[np.uint64]
) -> Decided:
    """Prefix and arrangement of each draw.

    Args:
        logits: float64 `(n, samples, outputs)` by the law.
        labels: int64 `(samples,)`.
        ensemble: says how many arrangements there are.
        draws: uint64 `(n,)`, for the error message.

    Raises:
        NonFiniteError: a logit is infinite or not a number, on a sample up to the first error.
    """
    finite = np.asarray(np.isfinite(logits).all(axis=-1))
    all_finite = bool(finite.all())
    usable = logits if all_finite else np.where(finite[..., None], logits, 0.0)
    if ensemble.n_outputs <= 2:
        decided = _decide_two(usable, labels, ensemble.n_arrangements)
    else:
        each = [_decide_many(row, labels) for row in usable]
        prefix, arrangement = np.array(each, dtype=np.int64).reshape(-1, 2).T
        decided = Decided(prefix, arrangement)
    refuse_non_finite(finite, decided.prefix, ensemble, draws)
    return decided


def refuse_non_finite(
    finite: npt.NDArray[np.bool_],
    prefix: npt.NDArray[np.int64],
    ensemble: Ensemble,
    draws: npt.NDArray[np.uint64],
) -> None:
    """Only samples up to the first error decide; what comes after is nobody's business, so that
    stopping at the first error is no less strict than going on.

    Args:
        finite: bool `(n, samples)`: whether all logits of a sample are.
        prefix: int64 `(n,)`: samples classified, of these.
        ensemble, draws: for the error message.

    Raises:
        NonFiniteError: a logit is infinite or not a number, on a sample up to the first error.
    """
    reached = ~finite.all(axis=-1) & (prefix >= np.argmin(finite, axis=1))
    if reached.any():
        draw = int(draws[int(np.argmax(reached))])
        raise NonFiniteError(
            f"draw {draw} of seed {ensemble.seed} has a logit that is infinite or not a number.",
            why="such a network classifies nothing; its weights or inputs are too large.",
            fix="use a prior of smaller scale (--prior kaiming-normal), or scale the inputs.",
        )


def of_two(
    logits: Logits,
    labels: npt.NDArray[np.int64],
    n_arrangements: int,
    known: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """For one or two outputs: the prefix under each arrangement, int64 `(n, n_arrangements)`.

    Args:
        logits: float64 `(n, samples, outputs)`.
        labels: int64 `(samples,)`.
        n_arrangements: the first so many are tried.
        known: bool `(n, samples)`: samples that count as classified, whatever their logits.
    """
    right = np.stack(
        [predictions(arrange(logits, a)) == labels for a in range(n_arrangements)], axis=-1
    )
    if known is not None:
        right |= known[..., None]
    return np.where(right.all(axis=1), right.shape[1], np.argmin(right, axis=1))


def _decide_two(logits: Logits, labels: npt.NDArray[np.int64], n_arrangements: int) -> Decided:
    prefix = of_two(logits, labels, n_arrangements)
    arrangement = np.argmax(prefix, axis=1)
    return Decided(np.take_along_axis(prefix, arrangement[:, None], axis=1)[:, 0], arrangement)


def _decide_many(logits: Logits, labels: npt.NDArray[np.int64]) -> tuple[int, int]:
    """For K > 2 outputs: follow the samples, giving classes to units as they force it.

    Where units tie, every unit that may be the right one is tried; ties being rare, that is cheap.
    """
    n_outputs = logits.shape[1]
    tops = [np.flatnonzero(row == row.max()).tolist() for row in logits]
    best = (0, 0)
    # Each branch: the next sample, class -> unit so far, and "this unit's class is above c".
    branches: list[tuple[int, dict[int, int], list[tuple[int, int]]]] = [(0, {}, [])]
    while branches:
        sample, units, above = branches.pop()
        complete = _complete(units, above, n_outputs)
        if complete is None:
            continue
        if sample > best[0] or best == (0, 0):
            best = max(best, (sample, arrangement_of(complete)), key=lambda found: found[0])
        if sample == len(labels):
            continue
        label, top = int(labels[sample]), tops[sample]
        for unit in (
            [units[label]] if label in units else [u for u in top if u not in units.values()]
        ):
            if unit in top:
                ties = [(other, label) for other in top if other != unit]
                branches.append((sample + 1, {**units, label: unit}, above + ties))
    return best


def _complete(
    units: dict[int, int], above: list[tuple[int, int]], n: int
) -> tuple[int, ...] | None:
    """A whole permutation that keeps to the classes given and the ties' demands, if any."""
    floor = [-1] * n
    for unit, label in above:
        floor[unit] = max(floor[unit], label)
    if any(floor[unit] >= label for label, unit in units.items()):
        return None
    free_classes = [c for c in range(n) if c not in units]
    free_units = sorted(set(range(n)) - set(units.values()), key=lambda unit: (floor[unit], unit))
    # Lowest demands first onto the lowest classes: if that fails, every assignment fails.
    if any(c <= floor[unit] for c, unit in zip(free_classes, free_units, strict=True)):
        return None
    order = dict(units) | dict(zip(free_classes, free_units, strict=True))
    return tuple(order[c] for c in range(n))


def all_prefixes(
    logits: Logits, labels: npt.NDArray[np.int64], n_arrangements: int
) -> npt.NDArray[np.int64]:
    """The prefix of every arrangement of one draw, by trying them all: the law at its plainest.

    Args:
        logits: float64 `(samples, outputs)`.

    Returns:
        int64 `(n_arrangements,)`.
    """
    result = []
    for arrangement in range(n_arrangements):
        right = predictions(arrange(logits, arrangement)) == labels
        result.append(sum(1 for _ in itertools.takewhile(bool, right)))
    return np.array(result, dtype=np.int64)
