"""What a draw costs against the width of its layers, by method "deferred" and by "direct"."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import deferred
from benchmarks.screening import draws_for
from biasgpu import architectures, engines, methods, priors
from biasgpu.sampling.screening import screen

WORK = "deferred-cost"
WIDTHS = {
    "deferred": tuple(2**k for k in range(8, 17)),
    "direct": tuple(2**k for k in range(4, 12)),
}
WIDE = 256  # from here on a slope is fitted: narrower layers cost less than what is around them
ARRANGEMENTS = 2  # candidates of a draw
_NAME = re.compile(r"(deferred|direct)-cost-(\d+)")


@dataclass(frozen=True)
class Row:
    """One method at one width, in candidates a second: median, slowest and fastest turn."""

    work: str
    candidates_per_s: float
    low: float
    high: float


def measure(method: str, width: int, *, threads: int, repeats: int, seconds: float) -> Row:
    """Measure one width; a turn takes `seconds`, or as long as the engine's smallest range does."""
    training = deferred.task()
    architecture, prior = architectures.mlp(width, deferred.DEPTH), priors.make(deferred.PRIOR)
    ensemble = methods.ensemble(method, training, architecture, prior, seed=1)
    assert ensemble.n_arrangements == ARRANGEMENTS
    engine = engines.make("cpu", ensemble, training.x_train, training.y_train, threads=threads)
    n_draws, rates = draws_for(engine, seconds), []
    for turn in range(repeats):
        start = time.perf_counter()
        screen(engine, turn * n_draws, n_draws, threads=threads)
        rates.append(ARRANGEMENTS * n_draws / (time.perf_counter() - start))
    engine.close()
    return Row(f"{method}-cost-{width}", statistics.median(rates), min(rates), max(rates))


def measure_all(*, threads: int, repeats: int, seconds: float) -> list[Row]:
    """Every method at each of its widths; turns are a quarter as long as elsewhere."""
    return [
        measure(method, width, threads=threads, repeats=repeats, seconds=seconds / 4)
        for method, widths in WIDTHS.items()
        for width in widths
    ]


def curves(rows: Sequence[Mapping[str, str]]) -> dict[str, tuple[list[int], list[float]]]:
    """For each method widths and microseconds a draw, from rows of results.csv."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        match = _NAME.fullmatch(row["work"])
        if match:
            widths, costs = found.setdefault(match[1], ([], []))
            widths.append(int(match[2]))
            costs.append(1e6 * ARRANGEMENTS / float(row["candidates_per_s"]))
    return found


def slope(widths: Sequence[int], costs: Sequence[float], start: int = WIDE) -> float:
    """The exponent of cost in width, by least squares in logarithms; NaN for fewer than two widths.

    Args:
        widths: units a layer.
        costs: of a draw, in any unit.
        start: narrower widths are left out.
    """
    x, y = np.log(np.asarray(widths, float)), np.log(np.asarray(costs, float))
    wide = np.asarray(widths) >= start
    x, y = x[wide], y[wide]
    if len(x) < 2:
        return float("nan")
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())
