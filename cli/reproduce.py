"""`biasgpu reproduce`: a published experiment from its definition to its report."""

from __future__ import annotations

from typing import Any

import click

from biasgpu.cli import signals
from biasgpu.cli.experiment_options import experiment_options, run_experiment
from biasgpu.errors import UsageError


@click.command(
    "reproduce",
    epilog="\b\nExamples:\n"
    "  biasgpu reproduce --list\n"
    "  biasgpu reproduce fig5 --scale 0.25 --plan\n"
    "  biasgpu reproduce fig3-lenet-mnist --scale 0.1 --only '*data200*'\n"
    "  biasgpu reproduce fig5 --print-config > mine.toml",
)
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--list", "listed", is_flag=True, help="List the published experiments.")
@experiment_options
@click.pass_context
@signals.one_stop()
def command(ctx: click.Context, name: str | None, listed: bool, **given: Any) -> None:
    """Run a published experiment, up to its report.

    Says what it will do and how long that will take, makes the networks, and ends with figures, a
    table and a one-page report with the verdicts. The same command goes on after any interruption
    and ends with the same report.
    """
    if listed:
        from biasgpu import experiments
        from biasgpu.cli.experiment_output import show_list

        show_list(experiments.list(given["data_dir"]), given["as_json"])
        return
    if name is None:
        raise UsageError(
            "no experiment is named.",
            why="one is made at a time.",
            fix="biasgpu reproduce --list names them (biasgpu.experiments.list()); "
            "for example biasgpu reproduce fig5 --scale 0.1",
        )
    run_experiment(ctx, name, True, given)
