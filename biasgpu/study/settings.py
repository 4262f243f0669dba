"""Checks of a study's settings: each gives the value in its one form, or says what is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from biasgpu.errors import UsageError

_OPTIONS = {
    "architectures": "width",
    "widths": "width",
    "depths": "depth",
    "time_s": "time",
    "priors": "prior",
    "inits": "init",
}
_FLAGS = ("stop_early", "gradient_norms", "measures", "keep_weights")


def whole(name: str, value: Any, least: int, why: str) -> int:
    """A whole number of `least` or more.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise wrong(name, value, f"a whole number of {least} or more", why, str(max(least, 100)))
    return value


def optional_whole(name: str, value: Any, why: str) -> int | None:
    """A whole number of 1 or more, or None."""
    return None if value is None else whole(name, value, 1, why)


def optional_positive(name: str, value: Any, why: str, example: str) -> float | None:
    """A positive finite number, or None.

    Raises:
        UsageError: it is neither.
    """
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise wrong(name, value, "a positive number", why, example)
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, bool):
        raise wrong(name, value, "true or false", "it is switched on or off", "True")
    return value


def text(name: str, value: Any, example: str) -> str:
    """A string that is not empty.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str) or not value:
        raise wrong(name, value, "a name", "it names one thing", repr(example))
    return value


def listed(name: str, value: Any, example: str, *, empty: bool = False) -> tuple[Any, ...]:
    """A list without repetitions, as a tuple; a value that is no list is a list of one.

    Raises:
        UsageError: it is empty, or names something twice.
    """
    is_list = isinstance(value, Sequence | Iterable) and not isinstance(value, str | bytes | dict)
    values = tuple(value) if is_list else (value,)
    if not values and not empty:
        raise wrong(name, [], "a list of one or more", "a study has one at least", example)
    for place, one in enumerate(values):
        if one in values[:place]:
            raise UsageError(
                f"{name} names {one} twice.",
                why="each is one cell of the study, and a cell is made once.",
                fix=f"name different ones: {name}={example} ({_in_shell(name, example)}).",
            )
    return values


def wrong(name: str, value: Any, expected: str, why: str, example: str) -> UsageError:
    """The error for a setting of the wrong kind."""
    return UsageError(
        f"{name} is {value!r}; it must be {expected}.",
        why=f"{why}.",
        fix=f"for example {name}={example} ({_in_shell(name, example)}).",
    )


def _in_shell(name: str, example: str) -> str:
    option, plain = _OPTIONS.get(name, name.replace("_", "-")), example.strip("()[]'\"")
    if name == "architectures" or name in _FLAGS:
        return f"--{option}"
    return f"--{option} {re.sub(r'[^A-Za-z0-9./:]+', ',', plain).strip(',')}"
