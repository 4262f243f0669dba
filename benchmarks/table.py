"""The README's table of speeds, from the last run in results.csv: `python -m benchmarks.table`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from benchmarks.screening import TARGETS

RESULTS = Path(__file__).parent / "results" / "results.csv"


def latest() -> list[dict[str, str]]:
    """The rows of the run that was measured last."""
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["time"] == rows[-1]["time"]]


def markdown(rows: list[dict[str, str]]) -> str:
    """A table of one run, and a line that says on what it was measured."""
    lines = [
        "| work | candidates/s | published way, networks/s | ratio | asked for | words a draw | "
        "products a draw | floor, µs a draw | of the floor's speed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        target = TARGETS.get(row["work"])
        lines.append(
            f"| {row['work']} | {_number(row, 'candidates_per_s')} | "
            f"{_number(row, 'baseline_per_s')} (batches of {row['batch']}) | "
            f"{float(row['ratio']):.0f} x | {f'{target:.0f} x' if target else '50 M/s'} | "
            f"{_number(row, 'words')} | {_number(row, 'products')} | "
            f"{float(row['floor_s']) * 1e6:.3f} | {float(row['fraction']):.0%} |"
        )
    first = rows[0]
    lines += [
        "",
        f"{first['cpu']}, {first['threads']} threads, {first['time'][:10]}; ceilings measured in "
        f"the same run: {float(first['uniform_words_per_s']) / 1e9:.1f} G uniform words, "
        f"{float(first['normal_words_per_s']) / 1e9:.1f} G normal ones and "
        f"{float(first['products_per_s']) / 1e9:.0f} G products a second.",
    ]
    return "\n".join(lines)


def _number(row: dict[str, str], name: str) -> str:
    return f"{float(row[name]):,.0f}"


if __name__ == "__main__":
    sys.stdout.write(markdown(latest()) + "\n")
