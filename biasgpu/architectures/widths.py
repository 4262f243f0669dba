"""Width factors: "2/6" or a list, one for each hidden layer, kept exact as fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from biasgpu.errors import UsageError

LARGE_FACTOR = 16  # above it a factor was perhaps meant as a number of units

WidthLike = str | int | float | Fraction
Width = WidthLike | Sequence[WidthLike]


def width_factors(width: Width, n_layers: int) -> tuple[Fraction, ...]:
    """One exact width factor for each hidden layer.

    Args:
        width: a factor ("2/6", 1, 0.5) for all layers, or one for each (a sequence, or a string
        with
            commas: "1/6,1/6,1/24,1/24").
        n_layers: how many hidden layers there are.

    Raises:
        UsageError: not a positive fraction, or the wrong number of them.
    """
    if isinstance(width, str):
        parts: Sequence[WidthLike] = [part.strip() for part in width.split(",")]
    elif isinstance(width, Sequence):
        parts = width
    else:
        parts = [width]
    factors = tuple(_fraction(part) for part in parts)
    if len(factors) == 1:
        return factors * n_layers
    if len(factors) != n_layers:
        raise UsageError(
            f"{len(factors)} width factors for {n_layers} hidden layers.",
            why="a width is one factor for all hidden layers, or one for each.",
            fix=f"give one factor, or {n_layers} of them (--width 1/6,1/6,1/24,1/24).",
        )
    return factors


def units(base: int, factor: Fraction) -> int:
    """`int(base * factor)`, as the published code rounds, computed exactly.

    Raises:
        UsageError: no unit would be left.
    """
    count = int(base * factor)
    if count < 1:
        raise UsageError(
            f"width {factor} leaves a layer of {base} units with none.",
            why=f"a layer has int({base} * width) units.",
            fix=f"use a width factor of at least 1/{base} for that layer.",
        )
    return count


def width_note(factors: Sequence[Fraction], bases: Sequence[int]) -> str:
    """A word to whoever may have meant units by large whole factors; "" for all others.

    Args:
        factors: one for each hidden layer.
        bases: each layer's units at width 1.
    """
    whole = all(factor.denominator == 1 for factor in factors)
    if not whole or max(factors, default=Fraction(0)) <= LARGE_FACTOR:
        return ""
    made = [units(base, factor) for base, factor in zip(bases, factors, strict=True)]
    # The same numbers, taken for units, as factors.
    meant = ",".join(f"{factor}/{base}" for base, factor in zip(bases, factors, strict=True))
    return (
        f"width is a factor here: {width_label(factors)} makes hidden layers of "
        f"{', '.join(f'{count:,}' for count in made)} units. If units were meant, "
        f"write width='{meant}' (--width {meant})."
    )


def width_label(factors: Sequence[Fraction]) -> str:
    """`"2/6"`, or the factors with commas where layers differ; in sixths as published."""
    distinct = factors[:1] if len(set(factors)) == 1 else factors
    return ",".join(
        f"{6 * factor}/6" if factor.denominator in (2, 3) else str(factor) for factor in distinct
    )


def _fraction(part: WidthLike) -> Fraction:
    try:
        factor = Fraction(part).limit_denominator(10**6)
    except (ValueError, ZeroDivisionError, TypeError, OverflowError):
        factor = Fraction(0)
    if factor <= 0:
        raise UsageError(
            f"width is {str(part)!r}; it must be a positive fraction.",
            why="width scales the published number of units of each layer.",
            fix="for example width='2/6' (--width 2/6).",
        )
    return factor
