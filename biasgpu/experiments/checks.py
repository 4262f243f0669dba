"""Checks of what a definition file says: each gives the value, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from biasgpu.errors import UsageError, suggestion


def wrong(name: str, value: Any, expected: str, example: str) -> UsageError:
    """The error for a value of the wrong kind.

    Args:
        name: of the key.
        value: what it has.
        expected: what it should be.
        example: a line of TOML.
    """
    shown = repr(value)
    return UsageError(
        f"{name} is {shown[:80]}{'...' * (len(shown) > 80)}; it must be {expected}.",
        why="a definition is read strictly, before anything is run.",
        fix=f"for example {example}; biasgpu reproduce fig5 --print-config shows a whole one, "
        "biasgpu.experiments.published('fig5') in Python.",
    )


def check_keys(kind: str, of: str, config: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse a key that is not known.

    Raises:
        UsageError: names the nearest one.
    """
    for key in config:
        if key not in known:
            raise UsageError(
                f"unknown {kind} {key!r} of {of}.{suggestion(str(key), known)}",
                why=f"known: {', '.join(known)}.",
                fix="use one of these names; docs/experiments.md explains them.",
            )


def text(name: str, value: Any) -> str:
    """A text without line ends or blanks around it.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str):
        raise wrong(name, value, "a text", f'{name} = "..."')
    return " ".join(value.split())


def known_text(kind: str, value: Any, known: Collection[str]) -> str:
    """One of several texts.

    Raises:
        UsageError: it is another; the nearest is named.
    """
    if not isinstance(value, str) or value not in known:
        raise UsageError(
            f"unknown {kind} {value!r}.{suggestion(str(value), known)}",
            why=f"known: {'; '.join(known)}.",
            fix=f"use one of these for the {kind}, word by word, or leave it out.",
        )
    return value


def whole(name: str, value: Any) -> int:
    """A whole number of 1 or more.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(name, value, "a whole number of 1 or more", f"{name} = 16")
    return value
