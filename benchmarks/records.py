"""results.csv: a row for everything measured, with when, where and by what."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import biasgpu
from biasgpu.results import provenance

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from benchmarks.ceilings import Ceilings

RESULTS = Path(__file__).parent / "results" / "results.csv"
PREDICTIONS = RESULTS.with_name("predictions.csv")  # of GPUs, by `direct_prediction`


def read(path: Path = RESULTS) -> list[dict[str, str]]:
    """All rows, oldest first; what a row does not have is empty."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file, restval=""))


def latest(rows: Sequence[dict[str, str]], belongs: Callable[[str], bool]) -> list[dict[str, str]]:
    """The rows of the last run that measured one of the works for which `belongs` is true."""
    times = [row["time"] for row in rows if belongs(row["work"])]
    return [row for row in rows if times and row["time"] == times[-1]]


def complete(
    rows: Sequence[DataclassInstance],
    ceilings: Ceilings | Mapping[str, float],
    threads: int,
    device: Mapping[str, str] | None = None,
) -> list[dict[str, str]]:
    """Rows as they are written: what was measured, when, on what, and the ceilings of the run.

    Args:
        rows: what was measured.
        ceilings: of the cores, or of a GPU by name.
        threads: of the cores.
        device: what a GPU is and what runs it, if one was measured.
    """
    about = provenance.collect()
    common: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "biasgpu": biasgpu.__version__,
        "cpu": about.get("cpu", ""),
        "threads": threads,
        "versions": " ".join(f"{k} {v}" for k, v in about.get("versions", {}).items()),
    }
    common |= device or {}
    best = dict(ceilings) if isinstance(ceilings, Mapping) else asdict(ceilings)
    found = [common | asdict(row) | best for row in rows]
    return [{name: str(value) for name, value in row.items()} for row in found]


def append(rows: Sequence[Mapping[str, str]], path: Path = RESULTS) -> None:
    """Add rows; a column that the file does not have yet is added, empty for the rows before."""
    before = read(path)
    columns = list(dict.fromkeys(name for row in (*before, *rows) for name in row))
    temporary = path.with_suffix(".new")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows([*before, *rows])
    temporary.replace(path)
