"""The command line, imported as `biasgpu.cli`: one file a command, no logic of its own.

Whatever a command does, a Python caller can do in one call. Commands are imported when they are
called, so that `biasgpu --help` answers at once.
"""

from __future__ import annotations

from biasgpu.cli.root import root

__all__ = ["main", "root"]


def main() -> None:
    """The `biasgpu` script."""
    root.main(prog_name="biasgpu")
