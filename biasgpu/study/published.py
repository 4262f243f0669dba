"""The published claims, tested on the comparisons that there are."""

from __future__ import annotations

from collections.abc import Callable

from biasgpu.study import contrasts
from biasgpu.study.axes import Axis, source_label, source_of
from biasgpu.study.bootstrap import Bootstrap
from biasgpu.study.cells import Cell
from biasgpu.study.claims import (
    ALIKE,
    DEEPER,
    WIDER_SGD,
    WIDTH_DRAWN,
    Claim,
    Kind,
    both,
    decide,
    rule,
)
from biasgpu.study.tables import UNIT, Slopes

ONE_SEED = "one data seed: the interval covers networks alone"
PRIOR = "uniform"  # U[-1, 1]
_ON_WIDTH: tuple[tuple[str, Kind, str], ...] = (
    (WIDER_SGD, "up", "SGD"),
    (WIDTH_DRAWN, "no difference", "guess and check"),
)


def on_axis(pooled: Slopes, margin: float) -> list[Claim]:
    """The claims about width, or about depth.

    Args:
        pooled: a comparison over all N.
        margin: of equivalence.
    """
    sources = " and ".join(filter(None, (pooled.drawn_from, pooled.trained_from)))
    where, unit = f"{pooled.where}; {sources}", UNIT[pooled.axis]
    known = {"guess and check": pooled.drawn_slope, "SGD": pooled.trained_slope}
    given = {name: quantity for name, quantity in known.items() if quantity}
    missing = [f"{name} has no two {pooled.axis}s" for name in known if name not in given]
    said = [ONE_SEED] if len(pooled.data_seeds) == 1 else []
    if pooled.axis == "depth":
        decision = both(
            decide("down", pooled.drawn_slope, margin), decide("down", pooled.trained_slope, margin)
        )
        said_rule = f"{rule('down', unit, margin)}; for both ways"
        note = "; ".join(missing + said)
        return [Claim(DEEPER, where, given, unit, said_rule, decision, note)]
    made = []
    for text, kind, name in _ON_WIDTH:
        found = {name: given[name]} if name in given else {}
        note = "; ".join([entry for entry in missing if entry.startswith(name)] + said)
        decision = decide(kind, known[name], margin)
        made.append(Claim(text, where, found, unit, rule(kind, unit, margin), decision, note))
    return made


def untested(axis: Axis, margin: float) -> list[Claim]:
    """The claims about an axis along which there is no comparison."""
    unit = UNIT[axis]
    note = f"no two {axis}s of one architecture have networks"
    kinds: list[tuple[str, Kind]] = [(DEEPER, "down")]
    if axis == "width":
        kinds = [(text, kind) for text, kind, _ in _ON_WIDTH]
    return [
        Claim(text, "", {}, unit, rule(kind, unit, margin), "not tested", note)
        for text, kind in kinds
    ]


def alike(cells: list[Cell], start: Callable[..., Bootstrap], margin: float) -> list[Claim]:
    """SGD from U[-1, 1] beside guess and check under it: architecture by architecture, N by N.

    Args:
        cells: with networks.
        start: makes a bootstrap of test accuracies and data seeds.
        margin: of equivalence.
    """
    said_rule = rule("no difference", "", margin)
    under = sorted(
        (cell for cell in cells if cell.prior == PRIOR),
        key=lambda cell: (cell.way, str(cell.architecture), cell.n_train, cell.data_seed),
    )
    groups = dict.fromkeys(
        (cell.architecture.name, cell.task, source_of(cell)) for cell in under if cell.way == "sgd"
    )
    made = []
    for name, task, source in groups:
        chosen = [
            cell
            for cell in under
            if (cell.architecture.name, cell.task) == (name, task)
            and (cell.way == "guess-and-check" or source_of(cell) == source)
        ]
        trained = [pair for pair in enumerate(chosen) if pair[1].way == "sgd"]
        drawn = [pair for pair in enumerate(chosen) if pair[1].way == "guess-and-check"]
        contrast = contrasts.difference(trained, drawn)
        if not contrast.weights:
            continue
        found = start(
            [cell.test_accuracy for cell in chosen], [cell.data_seed for cell in chosen]
        ).quantity(contrast)
        where = ", ".join(filter(None, (name, task, source_label(source))))
        decision = decide("no difference", found, margin)
        note = ONE_SEED if found.n_seeds == 1 else ""
        named = {"SGD minus guess and check": found}
        made.append(Claim(ALIKE, where, named, "", said_rule, decision, note))
    note = f"no SGD from init {PRIOR} beside guess and check under prior {PRIOR}"
    return made or [Claim(ALIKE, "", {}, "", said_rule, "not tested", note)]
