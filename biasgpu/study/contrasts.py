"""What a verdict measures: slopes, gains and differences, as sums over cells.

A slope is the least-squares slope of the cells' mean test accuracies against the axis, with an
intercept for each N and data seed: only networks of one task and N are set beside each other, and a
missing cell tilts nothing. Every cell counts alike, however many networks it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from biasgpu.study.bootstrap import Contrast
from biasgpu.study.cells import Cell

Place = Callable[[Cell], float]
Indexed = list[tuple[int, Cell]]


def slope(cells: Iterable[tuple[int, Cell]], place: Place) -> Contrast:
    """Accuracy per unit of the axis.

    Args:
        cells: with their places among those resampled; of one way.
        place: where a cell lies on the axis.
    """
    weights: dict[int, float] = {}
    shares: dict[int, float] = {}
    for (_, data_seed), members in _tasks(cells).items():
        x = [place(cell) for _, cell in members]
        mean = sum(x) / len(x)
        share = sum((value - mean) ** 2 for value in x)
        if len(set(x)) < 2:
            continue
        weights.update({i: value - mean for (i, _), value in zip(members, x, strict=True)})
        shares[data_seed] = shares.get(data_seed, 0.0) + share
    return Contrast(weights, shares)


def gain(cells: Sequence[tuple[int, Cell]], place: Place) -> Contrast:
    """Accuracy at the far end of the axis minus accuracy at the near end, tasks that have both."""
    places = [place(cell) for _, cell in cells]
    ends = {min(places): -1.0, max(places): 1.0} if places else {}
    weights: dict[int, float] = {}
    shares: dict[int, float] = {}
    for (_, data_seed), members in _tasks(cells).items():
        found = {ends[place(cell)]: i for i, cell in members if place(cell) in ends}
        if len(found) == 2:
            weights.update({i: sign for sign, i in found.items()})
            shares[data_seed] = shares.get(data_seed, 0.0) + 1.0
    return Contrast(weights, shares)


def difference(first: Indexed, second: Indexed) -> Contrast:
    """Mean accuracy of `first` minus that of `second`, over what both have."""
    weights: dict[int, float] = {}
    shares: dict[int, float] = {}
    others = {_key(cell): i for i, cell in second}
    for i, cell in first:
        if _key(cell) in others:
            weights[i], weights[others[_key(cell)]] = 1.0, -1.0
            shares[cell.data_seed] = shares.get(cell.data_seed, 0.0) + 1.0
    return Contrast(weights, shares)


def common(first: Indexed, second: Indexed) -> tuple[Indexed, Indexed]:
    """The cells of either whose architecture, N and data seed the other has too."""
    in_first = {_key(cell) for _, cell in first}
    in_second = {_key(cell) for _, cell in second}
    return (
        [pair for pair in first if _key(pair[1]) in in_second],
        [pair for pair in second if _key(pair[1]) in in_first],
    )


def _key(cell: Cell) -> tuple:
    return cell.architecture, cell.n_train, cell.data_seed


def _tasks(cells: Iterable[tuple[int, Cell]]) -> dict[tuple[int, int], Indexed]:
    found: dict[tuple[int, int], Indexed] = {}
    for i, cell in cells:
        found.setdefault((cell.n_train, cell.data_seed), []).append((i, cell))
    return found
