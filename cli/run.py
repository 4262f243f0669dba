"""`biasgpu run`: one's own experiment, from a definition file."""

from __future__ import annotations

from typing import Any

import click

from biasgpu.cli import signals
from biasgpu.cli.experiment_options import experiment_options, run_experiment


@click.command(
    "run",
    epilog="\b\nExamples:\n"
    "  biasgpu reproduce fig5 --print-config > mine.toml   # then change it\n"
    "  biasgpu run mine.toml --scale 0.1\n"
    "  biasgpu run runs/mine-scale0.1                      # go on with it",
)
@click.argument("definition", metavar="FILE.toml|FOLDER", type=click.Path())
@experiment_options
@click.pass_context
@signals.one_stop()
def command(ctx: click.Context, definition: str, **given: Any) -> None:
    """Run an experiment of your own, or go on with one.

    Takes a definition file (docs/experiments.md), or the folder of an experiment that was begun,
    also of a published one. Works as `biasgpu reproduce` does.
    """
    run_experiment(ctx, definition, False, given)
