"""Counts and durations as people type them: 10M, 1e9, 90s, 1h30m."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from biasgpu.errors import UsageError

MULTIPLES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

_COUNT = re.compile(r"([0-9][0-9_,]*)(\.[0-9]+)?(?:[eE]\+?([0-9]{1,2}))?\s*([kKMGBT]?)")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(min|[smhd])")
MAX_COUNT = 2**64


def parse_count(text: str, what: str = "the count") -> int:
    """A whole number of 1 or more: "1000", "10k", "2.5M", "1e9", "1_000_000".

    Args:
        text: what was typed.
        what: what to call it in the error.

    Raises:
        UsageError: not such a number, zero, or above 2**64.
    """
    match = _COUNT.fullmatch(text.strip())
    if not match:
        raise UsageError(
            f"{what} is {text!r}; it must be a whole number of 1 or more.",
            why="it is a count.",
            fix="for example 1000, 10k, 2.5M or 1e9.",
        )
    digits, fraction, exponent, suffix = match.groups()
    digits = digits.replace("_", "").replace(",", "")
    scale = 10 ** int(exponent or 0) * MULTIPLES["k" if suffix == "K" else suffix]
    decimals = (fraction or ".")[1:]
    # In whole numbers throughout: 2**53 + 1 stays itself.
    value, rest = divmod(int(digits + decimals) * scale, 10 ** len(decimals))
    if rest or not 1 <= value <= MAX_COUNT:
        raise UsageError(
            f"{what} is {text!r}; it must be a whole number of 1 or more, up to 2**64.",
            why="it is a count, of things with 64-bit names.",
            fix="for example 1000, 10k, 2.5M or 1e9.",
        )
    return value


def parse_duration(text: str, what: str = "the time") -> float:
    """A positive duration in seconds: "30s", "5m", "2h", "1h30m", "0.5d", or plain seconds.

    Raises:
        UsageError: not a duration, or zero.
    """
    cleaned = text.strip().lower()
    seconds = 0.0
    try:
        seconds = float(cleaned)
    except ValueError:
        parts = list(_DURATION_PART.finditer(cleaned))
        if "".join(part.group() for part in parts) == cleaned.replace(" ", ""):
            seconds = sum(float(part[1]) * SECONDS[part[2]] for part in parts)
    if not 0 < seconds < 1e10:
        raise UsageError(
            f"{what} is {text!r}; it must be a duration longer than zero.",
            why="it is how long something may take.",
            fix="for example 30s, 5m, 2h or 1h30m.",
        )
    return seconds


def parse_epochs(text: str, what: str = "the epochs") -> tuple[int, ...]:
    """Epochs separated by commas: "0,1,3,5"; nothing for none.

    Raises:
        UsageError: not whole numbers.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise UsageError(
            f"{what} is {text!r}; it must be whole numbers with commas between them.",
            why="weights are kept after whole epochs, 0 being the initialisation.",
            fix="for example 0,1,3,5.",
        )
    return tuple(int(part) for part in parts)


def format_count(value: float) -> str:
    """A count with three digits or exactly: 950, 12.3 k, 4.56 M, 7.8 G."""
    if value < 1000:
        return f"{value:.0f}"
    for suffix in ("k", "M", "G", "T"):
        value /= 1000
        if value < 999.5 or suffix == "T":
            return f"{value:.3g} {suffix}"
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """A duration to two units: 0.8 s, 42 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Parsed(click.ParamType):
    """A click type made of a parser; its error names the option."""

    def __init__(self, name: str, parse: Callable[[str, str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        return self._parse(value, param.opts[0] if param else self.name)


COUNT = _Parsed("count", parse_count)
DURATION = _Parsed("duration", parse_duration)
EPOCHS = _Parsed("epochs", parse_epochs)
