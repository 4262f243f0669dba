"""`biasgpu status`: how far a run is."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from biasgpu.cli import options, output
from biasgpu.cli.parsing import DURATION, format_count, format_duration


@click.command("status", epilog="\b\nExample:\n  biasgpu status runs/digits.h5 --watch")
@options.run_argument
@click.option("--watch", is_flag=True, help="Show it again and again until the run ends.")
@click.option(
    "--every",
    "every_s",
    metavar="DURATION",
    type=DURATION,
    default="2s",
    show_default=True,
    help="How often, with --watch.",
)
@output.common
def command(run: str, watch: bool, every_s: float, as_json: bool) -> None:
    """Show how far a run is, without touching its file.

    Reads the small status file that a run keeps beside its results, so that watching never
    disturbs it.
    """
    import biasgpu
    from biasgpu.results import read_status

    while True:
        status = biasgpu.open_study(run).status() if os.path.isdir(run) else read_status(run)
        if as_json:
            output.print_json(status)
        else:
            output.stdout().print(_line(run, status))
        if not watch or status.get("state") != "running":
            return
        time.sleep(every_s)


def _line(run: str, status: dict[str, Any]) -> str:
    parts = [f"{run}: {status.get('state', 'unknown')}"]
    if "n_jobs" in status:
        parts.append(f"{status['n_done']} of {status['n_jobs']} files complete")
        if status.get("n_problems"):
            parts.append(f"{status['n_problems']} with problems")
        if status.get("current"):
            parts.append(str(status["current"]))
    if "n_candidates" in status:
        counted = status.get("counted", "candidates")
        parts.append(f"{format_count(status['n_candidates'])} {counted}")
    if status.get("candidates_per_s"):
        parts.append(f"{format_count(status['candidates_per_s'])}/s")
    if "n_fits" in status:
        parts.append(f"{status['n_fits']:,} fits")
    if status.get("counted") == "networks":
        if status.get("fit_probability") is not None:
            parts.append(f"{status['fit_probability']:.1%} succeed")
    elif status.get("minus_log2_fit_probability") is not None:
        parts.append(f"-log2 P {status['minus_log2_fit_probability']:.2f}")
    if status.get("elapsed_s") is not None:
        parts.append(format_duration(status["elapsed_s"]))
    if status.get("state") == "running" and status.get("remaining_s") is not None:
        parts.append(f"{format_duration(status['remaining_s'])} left")
    return ", ".join(parts)
