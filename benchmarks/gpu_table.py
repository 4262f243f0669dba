"""The table of the GPU engine: predictions beside what was measured, where a GPU was at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks import gpu_names, records

Row = Mapping[str, str]


def measured() -> list[dict[str, str]]:
    """The rows of the last run on a GPU; none if there was none."""
    return records.latest(records.read(), belongs)


def belongs(work: str) -> bool:
    """Whether a work was measured on a GPU."""
    return work.startswith(gpu_names.PREFIX)


def markdown(predicted: Sequence[Row], found: Sequence[Row]) -> str:
    """One table, and a line that says what its numbers are.

    Args:
        predicted: the rows of `records.PREDICTIONS`.
        found: `measured()`.
    """
    by_work = {row["work"].removeprefix(gpu_names.PREFIX): row for row in found}
    guessed = {row["work"]: row for row in predicted}
    lines = [
        "| work | candidates/s, predicted | measured | asked for | x the published way, "
        "predicted | measured | x vmap, measured | borderline |",
        "|---|---|---|---|---|---|---|---|",
    ]
    works = [work for work in gpu_names.WORKS if work in guessed or work in by_work]
    lines += [_line(work, guessed.get(work), by_work.get(work)) for work in works]
    return "\n".join([*lines, "", *_about(predicted, found)])


def kernels(found: Sequence[Row]) -> str:
    """What each kernel of a first stage reached, beside the ceilings of the run."""
    lines = [
        "| kernel | draws/s (spread) | words/s | of the ceiling | TFLOP/s | of the ceiling | "
        "GB/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        if not row.get("draws_per_s"):
            continue
        words, flops = float(row["words_per_s"]), float(row["flops_per_s"])
        lines.append(
            f"| {row['work'].removeprefix(gpu_names.PREFIX)} | {_spread(row, 'draws_per_s')} | "
            f"{words:.3g} | {words / float(row['gpu_words_per_s']):.0%} | {flops / 1e12:.3g} | "
            f"{flops / float(row['gpu_flops_per_s']):.0%} | "
            f"{float(row['memory_bytes_per_s']) / 1e9:,.0f} |"
        )
    return "\n".join(lines)


def _line(work: str, guess: Row | None, row: Row | None) -> str:
    target = gpu_names.TARGETS.get(work)
    ratio = gpu_names.RATIO if target else None
    cells = [
        work,
        _millions(float(guess["candidates_per_s"])) if guess else "",
        _spread(row, "candidates_per_s") if row else "",
        f"{_millions(target)}, {ratio:.0f} x" if target else "",
        f"{float(guess['ratio']):.0f} x, at least {float(guess['ratio_at_least']):.0f} x"
        if guess
        else "",
        _ratio(row, "ratio", "batch"),
        _ratio(row, "vmap_ratio", "vmap_batch"),
        f"{float(row['borderline']):.2%}" if row else "",
    ]
    return f"| {' | '.join(cells)} |"


def _about(predicted: Sequence[Row], found: Sequence[Row]) -> list[str]:
    lines = []
    if predicted:
        first = predicted[0]
        lines.append(
            f"**Predictions are no measurements.** They are for one {first['gpu']}: instructions "
            f"in the kernels that Triton {first['triton']} compiles for sm_90, at "
            f"{gpu_names.REACHED:.0%} of what the pipe that binds allows; of the published way "
            "what its kernels move and multiply (`benchmarks/published_prediction.py`)."
        )
    if found:
        row = next((row for row in found if row.get("candidates_per_s")), found[0])
        lines.append(
            f"Measured on {row['gpu']} (driver {row['driver']}), torch {row['torch']}, Triton "
            f"{row['triton']}, {row['time'][:10]}; medians (slowest to fastest); ceilings measured "
            f"in the same run: {float(row['gpu_words_per_s']) / 1e9:,.0f} G words, "
            f"{float(row['gpu_flops_per_s']) / 1e12:.1f} TFLOP/s in float32, "
            f"{float(row['gpu_tf32_flops_per_s']) / 1e12:.0f} in TF32 and "
            f"{float(row['gpu_bf16_flops_per_s']) / 1e12:.0f} in bfloat16 on tensor cores, "
            f"{float(row['gpu_bytes_per_s']) / 1e9:,.0f} GB/s copied."
        )
    else:
        lines.append("Nothing was measured yet: there was no GPU. `python -m benchmarks.gpu` does.")
    return [" ".join(lines)]


def _millions(value: float) -> str:
    return f"{value / 1e9:.1f} billion" if value >= 1e9 else f"{value / 1e6:,.0f} million"


def _spread(row: Row, name: str) -> str:
    values = (float(row[key]) for key in (name, "low", "high"))
    middle, low, high = (f"{value:,.0f}" for value in values)
    return f"{middle} ({low} to {high})"


def _ratio(row: Row | None, name: str, batch: str) -> str:
    if row is None or not float(row.get(name) or 0):
        return ""
    return f"{float(row[name]):,.0f} x (batches of {row[batch]})"
