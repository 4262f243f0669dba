"""The README's table of training and measuring, from the last runs in results.csv."""

from __future__ import annotations

from benchmarks import measures, training

HEAD = ("| measured | found | against | ratio | asked for |", "|---|---|---|---|---|")


def belongs(work: str) -> bool:
    """Whether a row of that work has a place in this table."""
    return work in measures.WIDTHS or work.split(" ")[0] in training.WORKS


def markdown(rows: list[dict[str, str]]) -> str:
    """A table of rows, and a line that says on what they were measured."""
    lines = [*HEAD]
    for row in rows:
        ratio = f"{float(row['ratio']):.1f} x"
        if row["work"] in measures.WIDTHS:
            width = measures.WIDTHS[row["work"]]
            lines.append(
                f"| Lipschitz constants of {measures.N_NETWORKS:,} LeNets {width} on the embedded "
                f"test set | {float(row['elapsed_s']):.1f} s | autograd in batches, "
                f"{float(row['baseline_s']):.0f} s | {ratio} | 60 s |"
            )
            continue
        work, trainer = row["work"].split(" ")
        target = training.TARGETS.get(work) if trainer == "cpu" else None
        asked = f"{target:.0f} x" if target else ""
        lines.append(
            f"| networks trained a second by engine `{trainer}`, "
            f"{work.removeprefix('train-')}, N = 16, 60 epochs | "
            f"{float(row['networks_per_s']):,.0f} | the published way, {row['batch']} at once, "
            f"{float(row['baseline_per_s']):.1f} | {ratio} | {asked} |"
        )
    first = rows[0]
    return "\n".join(
        [*lines, "", f"{first['cpu']}, {first['threads']} threads, {first['time'][:10]}."]
    )
