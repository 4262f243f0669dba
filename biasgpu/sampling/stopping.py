"""When to stop: after so many fits, so many candidates, or so long, whichever comes first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError


@dataclass(frozen=True)
class Rules:
    """Stopping rules; totals over all sessions of a run.

    Attributes:
        fits: stop at the draw that brings so many fits of the whole training set.
        candidates: stop after so many candidates, rounded up to whole draws.
        time_s: stop after so many seconds of work, or before draws that are expected to take over
            a second longer.

    Raises:
        UsageError: a rule that is not positive.
    """

    fits: int | None = None
    candidates: int | None = None
    time_s: float | None = None
    counted: ClassVar[str] = "candidates"  # what the second rule counts

    def __post_init__(self) -> None:
        for field, name in (("fits", "fits"), ("candidates", self.counted)):
            value = getattr(self, field)
            if value is None:
                continue
            whole = isinstance(value, (int, float, np.integer)) and not isinstance(value, bool)
            if not whole or value != value or value < 1 or value != int(value):
                raise UsageError(
                    f"{name} is {value!r}; it must be a whole number of 1 or more.",
                    why=f"fits and {self.counted} are counted.",
                    fix=f"for example {name}=1000 (--{name} 1000).",
                )
            object.__setattr__(self, field, int(value))
        time_s = self.time_s
        if time_s is not None:
            number = isinstance(time_s, (int, float, np.number)) and not isinstance(time_s, bool)
            if not number or not 0 < time_s < math.inf:
                raise UsageError(
                    f"time_s is {time_s!r}; it must be a positive number of seconds.",
                    why="no time is too short to find anything.",
                    fix="for example time_s=60 (--time 1m).",
                )
            object.__setattr__(self, "time_s", float(time_s))

    @property
    def empty(self) -> bool:
        """Whether there is no rule at all."""
        return self == type(self)()

    def require(self) -> Self:
        """The same rules, if there are any.

        Raises:
            UsageError: there are none.
        """
        if self.empty:
            raise UsageError(
                "no stopping rule.",
                why="a prior holds candidates without end.",
                fix="give fits=1000, candidates=10**9 or time_s=60 (--fits 1000, --candidates 1e9, "
                "--time 1m), or several of them: whichever comes first.",
            )
        return self

    def max_draws(self, n_arrangements: int) -> int | None:
        """Whole draws that hold the candidates asked for; None without that rule."""
        return None if self.candidates is None else -(-self.candidates // n_arrangements)

    def reached(
        self, n_fits: int, n_draws: int, elapsed_s: float, n_arrangements: int
    ) -> str | None:
        """The rule that ends a run with these totals: "fits", `counted`, "time", or None.

        Where two are reached at once, the earlier in this list is named: at a draw that brings
        the last fit asked for, the run ended by its fits.
        """
        if self.fits is not None and n_fits >= self.fits:
            return "fits"
        limit = self.max_draws(n_arrangements)
        if limit is not None and n_draws >= limit:
            return self.counted
        if self.time_s is not None and elapsed_s >= self.time_s:
            return "time"
        return None

    def remaining_s(
        self,
        n_fits: int,
        n_draws: int,
        elapsed_s: float,
        n_arrangements: int,
        draws_per_s: float | None,
    ) -> float | None:
        """Estimated seconds to the nearest rule; None while it cannot be told.

        Args:
            n_fits, n_draws, elapsed_s: totals so far.
            n_arrangements: candidates a draw makes.
            draws_per_s: how fast it goes now; None while that is not known.
        """
        if self.reached(n_fits, n_draws, elapsed_s, n_arrangements):
            return 0.0
        if draws_per_s is None and (self.fits is not None or self.candidates is not None):
            return None
        estimates = []
        if self.time_s is not None:
            estimates.append(self.time_s - elapsed_s)
        limit = self.max_draws(n_arrangements)
        if draws_per_s:
            if limit is not None:
                estimates.append((limit - n_draws) / draws_per_s)
            if self.fits is not None and n_fits:
                estimates.append((self.fits - n_fits) * (n_draws / n_fits) / draws_per_s)
        return max(0.0, min(estimates)) if estimates else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"fits": self.fits, self.counted: self.candidates, "time_s": self.time_s}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The rules that `to_dict` described."""
        return cls(values.get("fits"), values.get(cls.counted), values.get("time_s"))


class TrainingRules(Rules):
    """The same for training: `candidates` are the networks that are trained."""

    counted: ClassVar[str] = "networks"

    def require(self) -> Self:
        """As `Rules.require`."""
        if self.empty:
            raise UsageError(
                "no stopping rule.",
                why="there are initialisations without end.",
                fix="give networks=500, fits=100 or time_s=60 (--networks 500, --fits 100, "
                "--time 1m), or several of them: whichever comes first.",
            )
        return self


def cut(prefixes: npt.NDArray[np.integer], n_train: int, fits_left: int | None) -> int:
    """How many of these draws count: all, or up to the one that brings the last fit asked for.

    Args:
        prefixes: `(n,)`, exact.
        n_train: training samples.
        fits_left: fits still asked for (1 or more), or None.
    """
    return cut_at(np.flatnonzero(prefixes == n_train), len(prefixes), fits_left)


def cut_at(places: npt.NDArray[np.int64], n_draws: int, fits_left: int | None) -> int:
    """The same for `n_draws` draws of which only the places of fits are known, increasing."""
    if fits_left is None or len(places) < fits_left:
        return n_draws
    return int(places[fits_left - 1]) + 1
