"""`biasgpu data`: which data sets there are, what is known of one, and getting its files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from biasgpu.cli import output

_data_dir = click.option(
    "--data-dir",
    metavar="DIR",
    help="Where official data files lie.  [default: $BIASGPU_DATA_DIR, or the cache]",
)


@click.group("data", epilog="\b\nExamples:\n  biasgpu data list\n  biasgpu data fetch mnist")
@output.debug_option
def command() -> None:
    """List, describe and fetch data sets."""


@command.command("list", epilog="\b\nExample:\n  biasgpu data list --json")
@_data_dir
@output.common
def list_(data_dir: str | None, as_json: bool) -> None:
    """List the data sets, and which of them are here."""
    from biasgpu.data import catalogue

    _print(catalogue.available(data_dir), as_json, catalogue.table)


@command.command("info", epilog="\b\nExample:\n  biasgpu data info cifar10")
@click.argument("name")
@_data_dir
@output.common
def info_(name: str, data_dir: str | None, as_json: bool) -> None:
    """Show one data set: classes, files, checksums, terms."""
    from biasgpu.data import catalogue

    _print(catalogue.info(name, data_dir), as_json, catalogue.text)


@command.command("fetch", epilog="\b\nExample:\n  biasgpu data fetch fashion-mnist")
@click.argument("name")
@_data_dir
@output.common
def fetch_(name: str, data_dir: str | None, as_json: bool) -> None:
    """Download a data set's official files, and check them."""
    from biasgpu.data import catalogue

    started: set[str] = set()

    def progress(file: str, _done: int, total: int) -> None:
        if file not in started:
            started.add(file)
            output.note(f"fetching {file} ({total / 1e6:.1f} MB)")

    _print(catalogue.fetch(name, data_dir, progress), as_json, catalogue.text)


def _print(content: Any, as_json: bool, render: Callable[[Any], str]) -> None:
    if as_json:
        output.print_json(content)
    else:
        click.echo(render(content))
