"""`python -m benchmarks`: run the benchmarks, print tables, append rows to results/results.csv."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import (
    agreement,
    baseline,
    batch_norm,
    ceilings,
    cost,
    deferred,
    deferred_table,
    measures,
    records,
    screening,
    start,
    training,
    wide,
)

DEFERRED = (*deferred.WORKS, cost.WORK, wide.WORK, start.WARM)
TRAINING = tuple(training.WORKS)
MEASURES = tuple(measures.WIDTHS)
BATCH_NORM = tuple(batch_norm.WORKS)
GROUPS = {
    "deferred": DEFERRED,
    "training": TRAINING,
    "measures": MEASURES,
    "batch-norm": BATCH_NORM,
}
WORKS = (*baseline.WORKS, *BATCH_NORM, *DEFERRED, *TRAINING, *MEASURES)
AGREEMENT = {"deferred-512": 2000, "deferred-4096": 200}  # draws held against the law


def main() -> None:
    """Measure the works named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "works",
        nargs="*",
        metavar="WORK",
        help=f"{', '.join(WORKS)}; {', '.join(map(repr, GROUPS))} for those of a kind; all if none",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    parser.add_argument("--no-write", action="store_true", help="leave results.csv alone")
    options = parser.parse_args()
    works = _works(parser, options.works)

    # First of all: nothing is measured while the engine is wrong.
    if any(work in DEFERRED for work in works):
        for work, n_draws in AGREEMENT.items():
            wrong = agreement.deferred_disagreements(deferred.WORKS[work], n_draws)
            if wrong:
                sys.exit(f"{work}: the engine disagrees with the law on draws {wrong[:5]}")
    if cost.WORK in works:
        wrong = agreement.direct_disagreements(64, n_draws=2000)
        if wrong:
            sys.exit(f"direct-cost: the engine disagrees with the reference on draws {wrong[:5]}")
    for work in set(works) & set(TRAINING):
        wrong = training.disagreements(work)
        if wrong:
            sys.exit(f"{work}: not where the law is after an epoch: {', '.join(wrong)}")
    best = ceilings.measure(options.threads)
    console = Console(width=150)
    console.print(
        f"ceilings, {options.threads} threads: {best.uniform_words_per_s / 1e9:.2f} G uniform "
        f"words a second, {best.normal_words_per_s / 1e9:.2f} G normal ones, "
        f"{best.quick_normals_per_s / 1e9:.2f} G quick ones, {best.products_per_s / 1e9:.0f} G "
        "products"
    )
    rows: list[Any] = []
    for work in works:
        if work in DEFERRED:
            found = _measure_deferred(work, best, options)
        elif work in BATCH_NORM:
            wrong = batch_norm.disagreements(work, n_draws=50)
            if wrong:
                sys.exit(f"{work}: the engine disagrees with the reference on draws {wrong[:5]}")
            found = [batch_norm.measure(work, best, **_turns(options))]
        elif work in TRAINING:
            found = training.measure(work, **_turns(options))
        elif work in MEASURES:
            wrong = measures.disagreement(work)
            if wrong > measures.WRONG:
                sys.exit(f"{work}: {wrong:.2%} of the norms are not those of autograd")
            found = [measures.measure(work, **_turns(options))]
        else:
            wrong = agreement.disagreements(work, n_draws=2000)
            if wrong:
                sys.exit(f"{work}: the engine disagrees with the reference on draws {wrong[:5]}")
            found = [screening.measure(work, best, **_turns(options))]
        for row in found:
            console.print(_line(row))
        rows += found
    published = [row for row in rows if row.work in baseline.WORKS]
    if published:
        console.print(_table(published))
    written = records.complete(rows, best, options.threads)
    if any(deferred_table.belongs(row["work"]) for row in written):
        console.print(deferred_table.markdown(written), markup=False, soft_wrap=True)
    if not options.no_write:
        records.append(written)


def _works(parser: argparse.ArgumentParser, named: list[str]) -> list[str]:
    works: dict[str, None] = {}
    for name in named or WORKS:
        if name not in GROUPS and name not in WORKS:
            known = ", ".join((*WORKS, *GROUPS))
            parser.error(f"no work is named {name!r}; there are {known}")
        works |= dict.fromkeys(GROUPS.get(name, (name,)))
    return list(works)


def _turns(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("threads", "repeats", "seconds")}


def _measure_deferred(work: str, best: ceilings.Ceilings, options: argparse.Namespace) -> list[Any]:
    if work in deferred.WORKS:
        row, ways = deferred.measure(work, best, **_turns(options))
        return [row, *ways]
    if work == cost.WORK:
        return cost.measure_all(**_turns(options))
    if work == wide.WORK:
        return [wide.measure(options.threads)]
    return start.measure(options.threads, repeats=min(3, options.repeats))


def _line(row: Any) -> str:
    if isinstance(row, screening.Row):
        return (
            f"{row.work}: {row.candidates_per_s:,.0f} candidates a second, {row.ratio:,.0f} x, "
            f"{row.fraction:.0%} of the floor's speed"
        )
    if isinstance(row, measures.Row):
        return f"{row.work}: {row.elapsed_s:.1f} s, PyTorch {row.baseline_s:.0f} s"
    if isinstance(row, training.Row):
        return (
            f"{row.work}: {row.networks_per_s:,.1f} networks a second, {row.ratio:,.1f} x the "
            f"published way's {row.baseline_per_s:,.1f} ({row.batch} at once)"
        )
    if isinstance(row, (wide.Row, start.Row)):
        return f"{row.work}: {row.elapsed_s:.1f} s"
    return f"{row.work}: {row.candidates_per_s:,.0f} candidates a second"


def _table(rows: list[screening.Row]) -> Table:
    table = Table(title="N = 16, MNIST 7 vs 0 (mlp-2-8-1: 60 points in the plane), uniform prior")
    for column in (
        "work", "candidates/s", "published/s", "batch", "ratio", "target",
        "words/draw", "products/draw", "floor us/draw", "of floor", "borderline",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "work" else "right")
    for row in rows:
        target = screening.TARGETS.get(row.work)
        table.add_row(
            row.work,
            f"{row.candidates_per_s:,.0f}\n({row.low:,.0f} to {row.high:,.0f})",
            f"{row.baseline_per_s:,.0f}\n({row.baseline_low:,.0f} to {row.baseline_high:,.0f})",
            f"{row.batch}",
            f"{row.ratio:.0f} x",
            f"{target:.0f} x" if target else "50 M/s",
            f"{row.words:,.0f}",
            f"{row.products:,.0f}",
            f"{row.floor_s * 1e6:.3f}",
            f"{row.fraction:.0%}",
            f"{row.borderline:.2%}",
        )
    return table


if __name__ == "__main__":
    main()
