"""The README's tables, from the last runs in results.csv: `python -m benchmarks.table`."""

from __future__ import annotations

import sys

from benchmarks import (
    baseline,
    batch_norm,
    deferred_table,
    gpu_table,
    records,
    screening,
    study_table,
)

TARGETS = screening.TARGETS | dict.fromkeys(batch_norm.WORKS, batch_norm.TARGET)


def latest() -> list[dict[str, str]]:
    """The rows of the last run against the published way."""
    rows = records.latest(records.read(), baseline.WORKS.__contains__)
    return [row for row in rows if row["work"] in baseline.WORKS]


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
    batch_norms = records.latest(records.read(), batch_norm.WORKS.__contains__)
    if batch_norms:
        sys.stdout.write("\n" + markdown(batch_norms) + "\n")
    deferred = records.latest(records.read(), deferred_table.belongs)
    if deferred:
        sys.stdout.write("\n" + deferred_table.markdown(deferred) + "\n")
    on_gpu = gpu_table.measured()
    predicted = records.read(records.PREDICTIONS)
    sys.stdout.write("\n" + gpu_table.markdown(predicted, on_gpu) + "\n")
    if on_gpu:
        sys.stdout.write("\n" + gpu_table.kernels(on_gpu) + "\n")
    study = records.latest(records.read(), study_table.belongs)
    if study:
        sys.stdout.write("\n" + study_table.markdown(study) + "\n")
