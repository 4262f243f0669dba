"""Experiments in words: the list of published ones, a plan, and what came of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from biasgpu.cli import output
from biasgpu.cli.parsing import format_duration
from biasgpu.cli.study_table import print_rows

SIGN = {"holds": "holds", "does not hold": "does not hold", "not decided": "cannot tell"}
MOST_PROBLEMS = 5


def show_list(entries: Sequence[Any], as_json: bool) -> None:
    """The published experiments, on stdout."""
    if as_json:
        output.print_json([entry.to_dict() for entry in entries])
        return
    out = output.stdout()
    rows = [
        [
            entry.name,
            entry.title,
            "-" if entry.n_networks is None else f"{entry.n_networks:,}",
            entry.problem or "yes",
        ]
        for entry in entries
    ]
    print_rows(["name", "shows", "networks", "can run here"], rows)
    claims = list(dict.fromkeys(claim for entry in entries for claim in entry.claims))
    out.print("Claims under test", style="bold")
    for claim in claims:
        named = ", ".join(entry.name for entry in entries if claim in entry.claims)
        out.print(f"  {claim}: {named}")
    for note in dict.fromkeys(entry.note for entry in entries if entry.note):
        output.note(f"Note: {note}")
    out.print("Next: biasgpu reproduce fig5 --scale 0.1 --plan")


def plan_lines(planned: Any) -> list[str]:
    """A plan in a few lines."""
    plan = planned.plan
    lines = [f"{planned.title}, scale {planned.scale:g}, in {planned.folder}"]
    if planned.note:
        lines.append(f"Note: {planned.note}")
    done = f"{plan.n_complete} of {plan.n_files} files are complete"
    if plan.n_left_out:
        done += f", {plan.n_left_out} are left out"
    if not plan.items:
        return [*lines, f"{done}: nothing is left to do but tables and figures."]
    lines.append(f"{done}; to do: {len(plan.items)} files, {plan.n_networks:,} networks.")
    if plan.seconds is None:
        return lines
    lines.append(
        f"It will take some {format_duration(plan.seconds)} (measured here just now; -log2 P is "
        "taken to go on in a line where no network fits within the probe)."
    )
    limited = sum(item.limited for item in plan.items)
    if limited:
        lines.append(f"{limited} files will end by their time limit, with fewer networks.")
    unknown = [item for item in plan.items if item.seconds is None]
    if unknown:
        lines.append(f"{len(unknown)} files are not in the estimate: {unknown[0].note}")
    return lines


def show_plan(planned: Any, as_json: bool) -> None:
    """A plan with its cells, on stdout."""
    if as_json:
        said = {"output": os.fspath(planned.folder), "scale": planned.scale, "note": planned.note}
        output.print_json({"title": planned.title, **said, **planned.plan.to_dict()})
        return
    out = output.stdout()
    groups: dict[tuple[str, ...], list[Any]] = {}
    for item in planned.plan.items:
        job = item.job
        way = "guess and check" if job.way == "guess-and-check" else "SGD"
        groups.setdefault((item.part, way, str(job.architecture), job.prior), []).append(item)
    rows = []
    for (part, *names), items in groups.items():
        known = [item.seconds for item in items if item.seconds is not None]
        seconds = format_duration(sum(known)) if known else "-"
        numbers = [str(len(items)), f"{sum(item.n_networks for item in items):,}", seconds]
        rows.append([part, *names, *numbers])
    if rows:
        print_rows(["study", "way", "architecture", "from", "files", "networks", "estimate"], rows)
    for line in plan_lines(planned):
        out.print(line)


def show_experiment(made: Any, as_json: bool) -> None:
    """What came of an experiment, on stdout."""
    if as_json:
        output.print_json(made.summary())
        return
    out = output.stdout()
    out.print(f"{made.definition.title}, scale {made.definition.scale:g}", style="bold")
    cells = made.cells
    lacking = [cell for cell in cells if cell.problem]
    n_networks = sum(cell.n_networks for cell in cells)
    out.print(f"  {n_networks:,} networks in {len(cells)} cells, {len(lacking)} of them not full")
    if made.verdict is not None:
        _, *rows = made.verdict.claims_table()
        tested = [row for row in rows if row[0] in made.definition.claims]
        if tested:
            print_rows(
                ["claim", "verdict", "found", "where"],
                [[row[0], SIGN.get(str(row[3]), str(row[3])), row[2], row[1]] for row in tested],
            )
    for name, problem in list(made.problems.items())[:MOST_PROBLEMS]:
        out.print(f"Problem: {name}: {problem['what']}")
    for path in made.kept_aside:
        output.note(f"Note: somebody had changed a file; it is kept as {path}")
    out.print(f"Figures, table.csv, table.json and the report are in {made.path}:")
    for path in (made.report, *(path for path in made.outputs if path.suffix == ".png")):
        out.print(f"  {os.fspath(path)}")
