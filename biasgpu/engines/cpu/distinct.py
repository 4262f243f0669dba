"""Names of their own for compiled functions that are made from one piece of source.

Machine code that comes from disk brings the functions that it calls, under names that numba makes
from a function's place in the source, its argument types and a number that counts compilations in
the process that compiled it. Two functions made by one maker differ in that number alone, and in
another process, which compiled in another order, it may be the other's. The loader would then take
one for the other: uniform weights for normal ones, say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def distinct(*about: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator, under `njit`, that adds to a function's name what it was made from.

    Args:
        about: functions, which add their names, or anything that reads as part of one.
    """
    suffix = "_".join(str(getattr(one, "__qualname__", one)).replace(".", "_") for one in about)

    def rename(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__qualname__ += f"_{suffix}"
        return function

    return rename
