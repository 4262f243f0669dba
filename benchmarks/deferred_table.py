"""The table of what was measured of method "deferred", beside what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import cost, deferred, plain, start, wide

RATIO = 10_000  # draws against draws, at width 512
SPEED = {"deferred-512": 3e6, "deferred-4096": 3.5e5}  # candidates a second
SLOPE, WIDE_S, WIDE_BYTES, START_S = 1.1, 120.0, 4e9, 10.0
_HOW = {
    "fresh": "new matrices by `torch.randn`",
    "in-place": "`normal_` into kept memory",
    "workers": "the same, a Python thread a core",
}


def belongs(work: str) -> bool:
    """Whether a work is in this table."""
    return work.startswith(("deferred-", "direct-cost-", "plain-"))


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """A table of the rows of one run, and a line that says on what it was measured."""
    by_work = {row["work"]: row for row in rows if belongs(row["work"])}
    lines = ["| measured | found | asked for |", "|---|---|---|"]
    for work in deferred.WORKS:
        if work in by_work:
            lines += _speed(by_work, work)
    lines += _costs(rows)
    if wide.WORK in by_work:
        row = by_work[wide.WORK]
        lines.append(
            f"| width {wide.WIDTH:,}: {row['n_fits']} fits with test accuracy "
            f"({float(row['test_accuracy']):.1%}) | {float(row['elapsed_s']):.0f} s, "
            f"{float(row['peak_bytes']) / 1e9:.1f} GB | {WIDE_S:.0f} s, {WIDE_BYTES / 1e9:.0f} GB |"
        )
    for work, what in ((start.WARM, "compiled before"), (start.COLD, "nothing compiled")):
        if work in by_work:
            lines.append(
                f"| `biasgpu sample --width 512` to the first fits shown, {what} | "
                f"{float(by_work[work]['elapsed_s']):.1f} s | {START_S:.0f} s |"
            )
    if by_work:
        lines += ["", _where(next(iter(by_work.values())))]
    return "\n".join(lines)


def _speed(rows: dict[str, dict[str, str]], work: str) -> list[str]:
    row, width = rows[work], deferred.WORKS[work]
    speed = float(row["candidates_per_s"])
    normals_s = float(row["words"]) / float(row["quick_normals_per_s"])
    lines = [
        f"| width {width:,}: candidates a second | {speed:,.0f} | {SPEED[work]:,.0f} |",
        f"| width {width:,}: a draw's floor, {float(row['words']):,.0f} normals and "
        f"{float(row['products']):,.0f} products | {float(row['floor_s']) * 1e6:.3f} µs, "
        f"{float(row['fraction']):.0%} of its speed reached ({normals_s * speed / 2:.0%} of that "
        "of the normals alone) | |",
    ]
    for way in plain.WAYS:
        other = rows.get(f"plain-{width}-{way}")
        if other is not None:
            rate = float(other["candidates_per_s"])
            asked = f"{RATIO:,} x" if width == 512 else ""
            lines.append(
                f"| width {width:,}: draws, against PyTorch drawing the matrices ({_HOW[way]}, "
                f"batches of {other['batch']}: {rate / 2:,.3g} draws a second) | "
                f"{speed / rate:,.0f} x | {asked} |"
            )
    return lines


def _costs(rows: Sequence[dict[str, str]]) -> list[str]:
    lines = []
    for method, (widths, costs) in cost.curves(rows).items():
        if max(widths) <= cost.WIDE:
            continue
        lines.append(
            f"| exponent of a draw's cost in the width, `{method}`, {cost.WIDE:,} to "
            f"{max(widths):,} (there {costs[-1]:,.0f} µs) | {cost.slope(widths, costs):.2f} | "
            f"{f'below {SLOPE}' if method == 'deferred' else ''} |"
        )
    return lines


def _where(row: dict[str, str]) -> str:
    return (
        f"{row['cpu']}, {row['threads']} threads, {row['time'][:10]}; ceilings measured in the "
        f"same run: {float(row['quick_normals_per_s']) / 1e9:.1f} G normals and "
        f"{float(row['products_per_s']) / 1e9:.0f} G products a second."
    )
