"""A study in words and tables, from its JSON-able summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biasgpu.cli.options import DEFAULT_BINS
from biasgpu.cli.output import note, print_json, stdout
from biasgpu.cli.summary import DASH, number, percent

MAX_PROBLEMS = 10
WAY = {"guess-and-check": "G&C", "sgd": "SGD"}


def show_study(path: str, as_json: bool, bins: str | None = None) -> None:
    """What a study's folder holds, on stdout; with bins what lies in each of them."""
    import biasgpu

    found = biasgpu.open_study(path)
    cells = found.cells()
    if bins is not None:
        show_bins(cells, bins, as_json)
        return
    summary = found.summary(cells)
    if as_json:
        print_json(summary)
        return
    print_study(summary)
    print_verdict(found.verdict(cells))


def show_bins(cells: Sequence[Any], bins: str, as_json: bool) -> None:
    """Test accuracy by bin of weight-normalised loss, on stdout."""
    from biasgpu.study.bins import bins_table, loss_bins

    rows = loss_bins(cells, None if bins == DEFAULT_BINS else bins)
    if as_json:
        print_json({"bins": [row.to_dict() for row in rows]})
        return
    header, *lines = bins_table(rows)
    stdout().print("Test accuracy by bin of weight-normalised loss", style="bold")
    print_rows(list(header), [list(line) for line in lines])
    note("In brackets: networks, or for an empty bin the 95 % bound of the share that lies in it.")


def print_study(summary: Mapping[str, Any]) -> None:
    """The cells, what is wrong with some, and the verdict, on stdout."""
    out = stdout()
    definition, status = summary["definition"], summary["status"]
    classes = " vs ".join(map(str, definition["classes"]))
    seeds = ", ".join(map(str, definition["data_seeds"]))
    out.print(f"{definition['data']} {classes}, data seeds {seeds}", style="bold")
    done, total = status.get("n_done"), status.get("n_jobs")
    if status.get("state") != "finished" or done != total:
        out.print(f"  {status.get('state', 'unknown')}: {done} of {total} files complete")
    print_cells(summary["table"])
    print_problems(summary)


def print_cells(rows: Sequence[Mapping[str, Any]]) -> None:
    """For each architecture and N, side by side what either way found."""
    sources = list(dict.fromkeys((row["way"], source(row)) for row in rows))
    found: dict[tuple[str, int], dict[Any, Mapping[str, Any]]] = {}
    for row in rows:
        place = found.setdefault((row["architecture"], row["n_train"]), {})
        place[row["way"], source(row)] = row
    header = ["architecture", "N"]
    for way, name in sources:
        header += [f"{WAY[way]} {name}: accuracy", "-log2 P" if way != "sgd" else "success"]
        header += ["networks"]
    lines: list[list[str]] = []
    for (architecture, n_train), of in found.items():
        line = [architecture, str(n_train)]
        line += [text for one in sources for text in _cells(of.get(one))]
        line.append("*" if any(row["problems"] for row in of.values()) else "")
        lines.append(line)
    print_rows([*header, ""], lines, numbers=True)


def source(row: Mapping[str, Any]) -> str:
    """What a row's networks come from: "uniform", "kaiming-uniform, epoch 3"."""
    return row["prior"] + ("" if row["epoch"] is None else f", epoch {row['epoch']}")


def print_problems(summary: Mapping[str, Any]) -> None:
    """What the stars in the table stand for; files that could not be made say how to mend it."""
    out = stdout()
    said = [
        f"{row['architecture']}, N {row['n_train']}, {WAY[row['way']]} {source(row)}, {problem}"
        for row in summary["table"]
        for problem in row["problems"]
    ]
    if said:
        out.print("* Not as many networks as asked for:")
        for line in said[:MAX_PROBLEMS]:
            out.print(f"  {line}")
        if len(said) > MAX_PROBLEMS:
            out.print(
                f"  and {len(said) - MAX_PROBLEMS} more: biasgpu show {summary['path']} --json"
            )
    for fix in dict.fromkeys(problem.get("fix", "") for problem in summary["problems"].values()):
        out.print(f"Fix:   {fix}")


def print_verdict(verdict: Any) -> None:
    """Slopes, and whether the published claims hold here."""
    out = stdout()
    header, *rows = verdict.table()
    if rows:
        out.print("Slopes of test accuracy, in percentage points", style="bold")
        print_rows(list(header), [list(row) for row in rows])
    header, *rows = verdict.claims_table()
    if rows:
        out.print("The published claims", style="bold")
        print_rows(list(header), [list(row) for row in rows])


def print_rows(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False
) -> None:
    """A table of text, or of numbers behind a first column of text."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(header):
        table.add_column(heading, justify="right" if numbers and place else "left")
    for row in rows:
        table.add_row(*row)
    stdout().print(table)


def _cells(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return [DASH, DASH, DASH]
    accuracy, spread = row["test_accuracy"], row["test_accuracy_std"]
    shown = percent(accuracy)
    if spread is not None:
        shown += f" ± {100 * spread:.1f}"
    drawn = row["way"] == "guess-and-check"
    second = number(row["minus_log2_probability"], ".2f") if drawn else percent(row["success_rate"])
    return [shown, second, f"{row['n_networks']:,}"]
