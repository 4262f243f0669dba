"""`biasgpu cite`: BibTeX."""

from __future__ import annotations

import click

from biasgpu.cli import output


@click.command(
    "cite",
    epilog="\b\nExamples:\n  biasgpu cite > references.bib\n  biasgpu cite runs/digits.h5",
)
@click.argument("run", metavar="[RUN.h5]", type=click.Path(), required=False)
@output.common
def command(run: str | None, as_json: bool) -> None:
    """Print BibTeX for the methods a run used.

    Without a file: for what every run uses.
    """
    from biasgpu.citations import citation, keys

    stored = None
    if run is not None:
        import biasgpu

        stored = biasgpu.open(run)
    if as_json:
        output.print_json({"keys": keys(stored), "bibtex": citation(stored)})
        return
    click.echo(citation(stored))
