"""`python -m benchmarks`: run the benchmarks, print a table, append rows to results/results.csv."""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

import biasgpu
from benchmarks import agreement, baseline, ceilings, screening
from biasgpu.results import provenance

RESULTS = Path(__file__).parent / "results" / "results.csv"


def main() -> None:
    """Measure the works named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", help=f"{', '.join(baseline.WORKS)}; all if none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    parser.add_argument("--no-write", action="store_true", help="leave results.csv alone")
    options = parser.parse_args()
    works = options.works or list(baseline.WORKS)

    best = ceilings.measure(options.threads)
    console = Console(width=150)
    console.print(
        f"ceilings, {options.threads} threads: {best.uniform_words_per_s / 1e9:.2f} G uniform "
        f"words a second, {best.normal_words_per_s / 1e9:.2f} G normal ones, "
        f"{best.products_per_s / 1e9:.0f} G products"
    )
    rows = []
    for work in works:
        wrong = agreement.disagreements(work, n_draws=2000)
        if wrong:
            sys.exit(f"{work}: the engine disagrees with the reference on draws {wrong[:5]}")
        row = screening.measure(
            work, best, threads=options.threads, repeats=options.repeats, seconds=options.seconds
        )
        rows.append(row)
        console.print(f"{work}: {row.candidates_per_s:,.0f} candidates a second, {row.ratio:.0f} x")
    console.print(_table(rows))
    if not options.no_write:
        _append(rows, best, options.threads)


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


def _append(rows: list[screening.Row], best: ceilings.Ceilings, threads: int) -> None:
    about = provenance.collect()
    common = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "biasgpu": biasgpu.__version__,
        "cpu": about.get("cpu", ""),
        "threads": threads,
        "versions": " ".join(f"{k} {v}" for k, v in about.get("versions", {}).items()),
    }
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = None
        for row in rows:
            values = common | asdict(row) | asdict(best)
            if writer is None:
                writer = csv.DictWriter(file, list(values))
                if new:
                    writer.writeheader()
            writer.writerow(values)


if __name__ == "__main__":
    main()
