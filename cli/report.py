"""`biasgpu report`: figures, tables and the page of an experiment, made anew from its files."""

from __future__ import annotations

import click

from biasgpu.cli import output
from biasgpu.cli.experiment_output import show_experiment


@click.command("report", epilog="\b\nExample:\n  biasgpu report runs/fig5-scale0.25")
@click.argument("folder", metavar="FOLDER", type=click.Path())
@output.common
def command(folder: str, as_json: bool) -> None:
    """Make the figures and report of an experiment anew.

    From its files alone, with the tables; also of one that is not finished. The same files give the
    same page; figures or tables that you have changed are kept as .bak.
    """
    import biasgpu

    show_experiment(biasgpu.report(folder), as_json)
