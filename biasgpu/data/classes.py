"""Which classes a task is about: by number, by name, or as `"7,0"`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from biasgpu.errors import UsageError, suggestion

ClassLike = str | int
ClassesLike = str | Sequence[ClassLike] | None


def parse_classes(
    names: Sequence[str],
    classes: ClassesLike,
    *,
    default: Sequence[int],
    aliases: Mapping[str, str] | None = None,
    what: str = "the data set",
) -> tuple[int, ...]:
    """Official class numbers, the first named is label 0.

    Args:
        names: class names; their places are the class numbers.
        classes: names or numbers, in a sequence or in a string with commas; None takes `default`.
        default: the classes when none are named.
        aliases: other names.
        what: whose classes they are, for errors.

    Returns:
        At least two distinct class numbers.

    Raises:
        UsageError: an unknown class, one named twice, or fewer than two.
    """
    if classes is None:
        return tuple(default)
    parts = classes.split(",") if isinstance(classes, str) else classes
    if isinstance(parts, np.ndarray):
        parts = parts.tolist()
    if not isinstance(parts, Sequence):
        raise UsageError(
            f"classes is {classes!r}; it must name at least two classes.",
            why="a task needs at least two classes.",
            fix="for example classes=(7, 0) (--classes 7,0).",
        )
    numbers = tuple(_number(part, names, aliases or {}, what) for part in parts)
    for place, number in enumerate(numbers):
        if number in numbers[:place]:
            raise UsageError(
                f"class {names[number]!r} is named twice.",
                why="each class is one label.",
                fix="name different classes, for example classes=(7, 0) (--classes 7,0).",
            )
    if len(numbers) < 2:
        raise UsageError(
            f"{len(numbers)} class named.",
            why="a task needs at least two classes.",
            fix="for example classes=(7, 0) (--classes 7,0).",
        )
    return numbers


def _number(part: object, names: Sequence[str], aliases: Mapping[str, str], what: str) -> int:
    places = {name.casefold(): place for place, name in enumerate(names)}
    for alias, name in aliases.items():
        places[alias.casefold()] = names.index(name)
    if isinstance(part, (str, int, np.integer)) and not isinstance(part, bool):
        text = str(part).strip().casefold()
        # A class may be called "7": its name goes before its number.
        if text in places:
            return places[text]
        if text.isdecimal() and int(text) < len(names):
            return int(text)
    else:
        text = ""
    raise UsageError(
        f"unknown class {part!r} of {what}.{suggestion(text, places)}",
        why=f"its classes are {', '.join(f'{i}: {name}' for i, name in enumerate(names))}.",
        fix="name classes by name or number, for example "
        f"classes=({names[0]!r}, {names[1]!r}) (--classes {names[0]!r},{names[1]!r}).",
    )
