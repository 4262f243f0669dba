"""Learning rates of a study: one for all initialisations, or one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biasgpu import priors
from biasgpu.errors import UsageError

Rates = float | tuple[tuple[str, float], ...] | None


def checked(given: Any, inits: Sequence[str]) -> Rates:
    """Learning rates in their one form; the numbers themselves are for `Recipe` to check.

    Args:
        given: a number, a mapping from initialisations (or the pairs of one), or None.
        inits: the initialisations of the study, by their one name.

    Returns:
        a number or None as it is, a mapping as pairs in the order of `inits`.

    Raises:
        UsageError: an initialisation has no rate, or a rate no initialisation.
    """
    if isinstance(given, tuple):
        given = dict(given)
    if not isinstance(given, Mapping):
        return given
    named = {priors.make(str(name)).name: rate for name, rate in given.items()}
    for name in (*inits, *named):
        if (name in named) != (name in inits):
            what = "has no learning rate" if name in inits else "is no initialisation of the study"
            raise UsageError(
                f"learning_rate names {', '.join(named) or 'none'}, and {name} {what}.",
                why=f"each initialisation has one: {', '.join(inits) or 'there are none'}.",
                fix="name each of inits once: learning_rate={'uniform': 0.001, ...}, in TOML "
                "learning_rate = {uniform = 0.001}; or one for all (--learning-rate 0.01).",
            )
    return tuple((name, named[name]) for name in inits)


def each(rates: Rates | Mapping[str, float]) -> tuple[Any, ...]:
    """The numbers, to be checked."""
    if rates is None:
        return ()
    return tuple(rate for _, rate in rates) if isinstance(rates, tuple) else (rates,)
