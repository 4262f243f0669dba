"""The help pages as Markdown: `python -m biasgpu.cli.pages > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from biasgpu.cli.root import root

WIDTH = 100
_HEAD = """# Command line

What `biasgpu COMMAND --help` says, for every command. (`make docs-cli` writes this page from the
commands themselves, and a test compares the two.)

Exit codes: 0 done, 1 failure, 2 usage, 3 refused (it would overwrite, or settings differ), 4
damaged or foreign file, 5 no usable GPU or out of memory, 130 interrupted, 143 terminated. Results
go to stdout, everything else to stderr; with `--json`, stdout holds one JSON document and nothing
else.
"""


def markdown() -> str:
    """The page `docs/cli.md`."""
    sections = [_HEAD]
    for path, text in _pages(root, "biasgpu", None):
        sections.append(f"## {path}\n\n```text\n{text}\n```\n")
    return "\n".join(sections)


def _pages(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, str]]:
    ctx = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    help_text = "\n".join(line.rstrip() for line in command.get_help(ctx).splitlines())
    yield ctx.command_path, help_text
    if isinstance(command, click.Group):
        for child in command.list_commands(ctx):
            found = command.get_command(ctx, child)
            if found is not None:
                yield from _pages(found, child, ctx)


if __name__ == "__main__":
    click.echo(markdown(), nl=False)
