"""A run in words and tables, from its JSON-able summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biasgpu.cli.output import note, stdout
from biasgpu.cli.parsing import format_count, format_duration

if TYPE_CHECKING:
    from biasgpu.outcome import Outcome

DASH = "-"


def number(value: float | None, form: str = ".4g") -> str:
    """A number in the given form; a dash where there is none."""
    return DASH if value is None or value != value else format(value, form)


def interval(values: Sequence[float | None] | None, form: str = ".4g") -> str:
    """`low to high`, or a dash."""
    if not values or all(value is None for value in values):
        return DASH
    low, high = (number(value, form) if value is not None else "inf" for value in values)
    return f"{low} to {high}"


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return DASH if value is None or value != value else f"{100 * value:.1f}%"


def accuracy_line(statistics: Mapping[str, Any] | None) -> str:
    """`91.2% on average, std 3.1%, 80.0% to 98.0%`."""
    if not statistics or statistics.get("mean") is None:
        return DASH
    return (
        f"{percent(statistics['mean'])} on average, std {percent(statistics.get('std'))}, "
        f"{percent(statistics.get('min'))} to {percent(statistics.get('max'))}"
    )


def print_summary(summary: Mapping[str, Any], heading: str) -> None:
    """What was found, on stdout."""
    out = stdout()
    out.print(heading, style="bold")
    confidence = summary.get("confidence", 0.95)
    n_train, rate = summary.get("n_train"), summary.get("candidates_per_s")
    rows = [
        ("candidates", f"{summary['n_candidates']:,}"),
        ("fits", f"{summary['n_fits']:,}"),
        (
            "fit probability",
            f"{number(summary.get('fit_probability'))}  "
            f"({confidence:.0%}: {interval(summary.get('fit_probability_interval'))})",
        ),
        (
            "-log2 P",
            f"{number(summary.get('minus_log2_fit_probability'), '.2f')}  "
            f"(independent guessing: {n_train})",
        ),
        ("test accuracy", accuracy_line(summary.get("test_accuracy"))),
        ("work", work_line(summary, f"{format_count(rate)} candidates/s" if rate else "")),
        ended_line(summary),
    ]
    for label, value in rows:
        out.print(f"  {label:<16} {value}")


def ended_line(summary: Mapping[str, Any]) -> tuple[str, str]:
    """What ended it: a label, and words."""
    ended_by = summary.get("stopped_by")
    if ended_by == "killed":
        return "cut off", "killed before it could say so; --resume goes on with it"
    if ended_by:
        return "stopped by", str(ended_by)
    return "still running", "these are the results so far"


def work_line(summary: Mapping[str, Any], speed: str) -> str:
    """How long it took, how fast it was, and what did it."""
    parts = [f"{format_duration(summary.get('elapsed_s') or 0.0)}"]
    if speed:
        parts.append(speed)
    if summary.get("engine"):
        parts.append(f"engine {summary['engine']} on {summary.get('device', 'cpu')}")
    return ", ".join(parts)


def note_not_kept(run: Outcome, indices: Iterable[int]) -> None:
    """Say of networks that they are none of those a run found, on stderr."""
    kept = set(run.fits.index.tolist())
    for index in indices:
        if index not in kept:
            note(
                f"Note: {index} is not a fit of this run: it is none of the {len(kept):,} "
                "networks that the file keeps."
            )


def print_curve(curve: Sequence[Mapping[str, Any]]) -> None:
    """Fit probability and test accuracy for each N, on stdout."""
    from rich import box
    from rich.table import Table

    if not curve:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("n_train", "fits", "-log2 P", "interval", "test accuracy", "std"):
        table.add_column(heading, justify="right")
    for point in curve:
        accuracy = point.get("test_accuracy") or {}
        table.add_row(
            str(point["n_train"]),
            f"{point['n_fits']:,}",
            number(point.get("minus_log2_fit_probability"), ".2f"),
            interval(point.get("interval"), ".2f"),
            percent(accuracy.get("mean")),
            percent(accuracy.get("std")),
        )
    stdout().print(table)
