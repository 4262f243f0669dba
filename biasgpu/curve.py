"""The curve: the numbers of samples N for which one stream of candidates serves, and what it keeps.

For N such that every class is among the first N samples, at most one arrangement of a draw fits
them (see `biasgpu.decision`), so a draw with a prefix of N or more is one fit at N.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError


def curve_points(
    y_train: npt.NDArray[np.int64], n_classes: int, *, coupled: bool = False
) -> tuple[int, ...]:
    """The N of the curve: multiples of the number of classes up to n_train, and n_train.

    Args:
        y_train: int64 `(n_train,)`.
        n_classes: the number of classes K.
        coupled: batch norms see all training samples, so that n_train is the only N.

    Returns:
        increasing, the last is n_train; only N with every class among the first N samples.

    Raises:
        UsageError: a class has no training sample.
    """
    n_train = len(y_train)
    firsts = []
    for label in range(n_classes):
        places = np.flatnonzero(y_train == label)
        if not len(places):
            raise UsageError(
                f"no training sample has label {label}.",
                why="a fit is counted once a draw, which needs a sample of every class.",
                fix="use more training samples (n_train, --n-train), or fewer classes.",
            )
        firsts.append(int(places[0]))
    if coupled:
        return (n_train,)
    points = [n for n in range(n_classes, n_train, n_classes) if n > max(firsts)]
    return (*points, n_train)


def least_kept(points: tuple[int, ...], before: npt.NDArray[np.int64], curve_fits: int) -> int:
    """The shortest prefix of a draw that `kept_rows` may keep; its arguments are that one's."""
    return min([*_missing(points, before, curve_fits), points[-1]])


def kept_rows(
    prefixes: npt.NDArray[np.uint16],
    points: tuple[int, ...],
    before: npt.NDArray[np.int64],
    curve_fits: int,
) -> npt.NDArray[np.int64]:
    """Which draws of a range are kept: every fit, and at each smaller N the first `curve_fits`.

    It depends on the stream from its first draw only, not on how that was cut into ranges.

    Args:
        prefixes: uint16 `(n,)`, exact; those below `least_kept` may be left out.
        points: the N of the curve.
        before: int64 `(n_train + 1,)`: how many earlier draws of the stream have each prefix.
        curve_fits: fits kept at each smaller N.

    Returns:
        int64: their places among `prefixes`, increasing.
    """
    missing, n_train = _missing(points, before, curve_fits), points[-1]
    # Longer prefixes are among those that have the shortest one that matters.
    places = np.flatnonzero(prefixes >= min([*missing, n_train]))
    values = prefixes[places]
    kept = values == n_train
    for n, count in missing.items():
        kept[np.flatnonzero(values >= n)[:count]] = True
    return places[kept]


def _missing(
    points: tuple[int, ...], before: npt.NDArray[np.int64], curve_fits: int
) -> dict[int, int]:
    """N below n_train of which fits are still to be kept, and how many."""
    at_least = np.cumsum(before[::-1])[::-1]
    return {n: curve_fits - int(at_least[n]) for n in points[:-1] if at_least[n] < curve_fits}


def count_prefixes(prefixes: npt.NDArray[np.integer], n_train: int) -> npt.NDArray[np.int64]:
    """int64 `(n_train + 1,)`: how many of the draws have each exact prefix."""
    return np.bincount(prefixes, minlength=n_train + 1)


def check_point(n_train: int, points: tuple[int, ...]) -> int:
    """The N asked for, if it is one of the curve.

    Raises:
        UsageError: it is not.
    """
    if n_train not in points:
        raise UsageError(
            f"n_train is {n_train}; the curve of this run has {_listed(points)}.",
            why="fits are counted where every class is equally often among the first samples.",
            fix=f"for example n_train={points[-1]}.",
        )
    return n_train


def _listed(points: tuple[int, ...]) -> str:
    if len(points) > 5:
        return f"{points[0]}, {points[1]}, ... {points[-1]}"
    return ", ".join(map(str, points))
