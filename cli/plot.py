"""`biasgpu plot`: figures from results files."""

from __future__ import annotations

import click

from biasgpu.cli import output
from biasgpu.errors import UsageError


@click.command(
    "plot",
    epilog="\b\nExample: two widths in one figure\n"
    "  biasgpu plot runs/narrow.h5 runs/wide.h5 -o widths.png",
)
@click.argument("runs", metavar="RUN.h5...", type=click.Path(), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(),
    required=True,
    help="The figure to make: .png, .pdf or .svg.",
)
@click.option("--label", "labels", metavar="TEXT", multiple=True, help="One a file; repeatable.")
@click.option("--overwrite", is_flag=True, help="Replace a figure that exists.")
@output.common
def command(
    runs: tuple[str, ...], path: str, labels: tuple[str, ...], overwrite: bool, as_json: bool
) -> None:
    """Draw fit probability and test accuracy against n_train.

    One line for each results file.
    """
    import biasgpu
    from biasgpu import figures

    found = [biasgpu.open(run) for run in runs]
    for run, stored in zip(runs, found, strict=True):
        if isinstance(stored, biasgpu.Trained):
            raise UsageError(
                f"{run} holds trained networks, which have no curve against n_train.",
                why="networks are trained for one n_train, drawn ones serve every smaller one too.",
                fix="compare both over n_train with biasgpu compare, and plot the folder it makes.",
            )
    figure = figures.curve(found, labels=list(labels) or None)
    figures.save(figure, path, overwrite=overwrite)
    if as_json:
        output.print_json({"output": path, "runs": list(runs)})
    else:
        output.stdout().print(path)
