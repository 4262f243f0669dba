"""Trained networks in words, from their JSON-able summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biasgpu.cli.output import stdout
from biasgpu.cli.parsing import format_count
from biasgpu.cli.summary import accuracy_line, ended_line, percent, work_line


def print_trained(summary: Mapping[str, Any], heading: str) -> None:
    """What was trained and what came of it, on stdout."""
    out = stdout()
    out.print(heading, style="bold")
    low, high = summary["success_rate_interval"]
    rate = summary.get("networks_per_s")
    rows = [
        ("networks", f"{summary['n_networks']:,}"),
        ("without error", f"{summary['n_fits']:,}"),
        (
            "success rate",
            f"{percent(summary.get('success_rate'))}  "
            f"({summary.get('confidence', 0.95):.0%}: {percent(low)} to {percent(high)})",
        ),
        ("test accuracy", accuracy_line(summary.get("test_accuracy"))),
        ("recipe", recipe_line(summary["recipe"])),
        ("work", work_line(summary, f"{format_count(rate)} networks/s" if rate else "")),
        ended_line(summary),
    ]
    if summary.get("n_diverged"):
        rows.insert(2, ("diverged", f"{summary['n_diverged']:,}"))
    for label, value in rows:
        out.print(f"  {label:<16} {value}")


def recipe_line(recipe: Mapping[str, Any]) -> str:
    """`sgd, learning rate 0.01, batch 2, 60 epochs`."""
    if "proposals" in recipe:
        text = (
            f"{recipe['optimizer']}, first step {recipe['learning_rate']:g}, halved after "
            f"{recipe['tries']} tries, {recipe['epochs']} epochs of {recipe['proposals']} proposals"
        )
    else:
        text = (
            f"{recipe['optimizer']}, learning rate {recipe['learning_rate']:g}, "
            f"batch {recipe['batch_size']}, {recipe['epochs']} epochs"
        )
    return f"{text}, stopping early" if recipe.get("stop_early") else text
