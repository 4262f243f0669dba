"""The published experiments: their names, and their definitions as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from biasgpu.errors import UsageError, unknown
from biasgpu.experiments.definition import Definition
from biasgpu.experiments.text import SUFFIX, parse


@dataclass(frozen=True)
class Published:
    """A definition that comes with biasgpu.

    Attributes:
        name: "fig5".
        text: its TOML.
    """

    name: str
    text: str

    def definition(self) -> Definition:
        """What it says.

        Raises:
            UsageError: this version cannot do it: it names an architecture or a setting that is
                not known here.
        """
        return parse(self.text, self.name)


@cache
def names() -> tuple[str, ...]:
    """Of all published experiments, figure by figure."""
    found = [
        file.name.removesuffix(SUFFIX) for file in _folder().iterdir() if file.name.endswith(SUFFIX)
    ]
    return tuple(sorted(found, key=_order))


def published(name: str) -> Published:
    """A published experiment.

    Args:
        name: or its beginning, where one name alone begins so.

    Raises:
        UsageError: no such experiment, or several.
    """
    wanted = str(name).strip().lower()
    if wanted not in names():
        begun = [one for one in names() if one.startswith(wanted)] if wanted else []
        if len(begun) != 1:
            raise _not_one(str(name), begun)
        wanted = begun[0]
    return Published(wanted, (_folder() / f"{wanted}{SUFFIX}").read_text(encoding="utf-8"))


def _folder() -> Any:
    return resources.files("biasgpu.experiments") / "published"


def _order(name: str) -> tuple[Any, ...]:
    figure = re.match(r"fig(\d+)", name)
    return (0, int(figure[1]), name) if figure else (1, 0, name)


def _not_one(name: str, begun: list[str]) -> UsageError:
    fix = "biasgpu reproduce --list tells what each shows (biasgpu.experiments.list())."
    if not begun:
        return unknown("experiment", name, names(), fix=fix)
    return UsageError(
        f"{len(begun)} experiments begin with {name!r}: {', '.join(begun)}.",
        why="one is made at a time.",
        fix=f"name one of them whole: biasgpu reproduce {begun[0]}, "
        f"biasgpu.reproduce({begun[0]!r}).",
    )
