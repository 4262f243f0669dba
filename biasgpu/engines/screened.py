"""The prefixes of a range of draws, left where an engine wrote them.

Nearly all draws fail: of them nothing is asked but how many there are of each prefix. An engine
that computes elsewhere counts them there, and only the places and prefixes of survivors come back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

BORDERLINE = 0xFFFF  # in place of a prefix: the engine cannot tell
MAX_TRAIN = 0xFFFE  # training samples a prefix can count

Prefixes = npt.NDArray[np.uint16]
Places = npt.NDArray[np.int64]


class Screened(ABC):
    """The prefixes of a range of draws, `BORDERLINE` for those that the engine leaves to the law.

    Attributes:
        n_train: the largest prefix there may be.
        on_host: the prefixes, uint16 `(n,)`, where they lie in the host's memory; else None.
    """

    n_train: int
    on_host: Prefixes | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Draws of the range."""

    @abstractmethod
    def counts(self, end: int | None = None) -> npt.NDArray[np.int64]:
        """How many of the first `end` draws (all if None) have each exact prefix.

        Returns:
            int64 `(n_train + 1,)`; borderline draws are not counted.
        """

    @abstractmethod
    def at_least(self, prefix: int) -> tuple[Places, Prefixes]:
        """The draws with such a prefix or a longer one, and those that are borderline.

        Returns:
            int64, their places in the range, increasing; uint16, their prefixes.
        """

    @abstractmethod
    def decide(self, places: Places, prefixes: Prefixes) -> None:
        """State the prefixes of some draws, by the law."""

    @abstractmethod
    def prefixes(self) -> Prefixes:
        """All of them, uint16 `(n,)`."""


class HostScreened(Screened):
    """Prefixes in the host's memory.

    Args:
        prefixes: uint16 `(n,)`; kept, not copied.
        n_train: training samples.
    """

    def __init__(self, prefixes: Prefixes, n_train: int) -> None:
        self.on_host = self._prefixes = prefixes
        self.n_train = n_train

    def __len__(self) -> int:
        """See `Screened`."""
        return len(self._prefixes)

    def counts(self, end: int | None = None) -> npt.NDArray[np.int64]:
        """See `Screened.counts`."""
        found = np.bincount(self._prefixes[:end], minlength=self.n_train + 1)
        return found[: self.n_train + 1]

    def at_least(self, prefix: int) -> tuple[Places, Prefixes]:
        """See `Screened.at_least`."""
        places = np.flatnonzero(self._prefixes >= prefix)
        return places, self._prefixes[places]

    def decide(self, places: Places, prefixes: Prefixes) -> None:
        """See `Screened.decide`."""
        self._prefixes[places] = prefixes

    def prefixes(self) -> Prefixes:
        """See `Screened.prefixes`."""
        return self._prefixes


class JoinedScreened(Screened):
    """Ranges that follow each other, as one.

    Args:
        parts: of the same training set.
        n_train: its samples.
    """

    def __init__(self, parts: list[Screened], n_train: int) -> None:
        self.n_train = n_train
        self._parts = parts
        self._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)

    def __len__(self) -> int:
        """See `Screened`."""
        return int(self._ends[-1])

    def counts(self, end: int | None = None) -> npt.NDArray[np.int64]:
        """See `Screened.counts`."""
        total = np.zeros(self.n_train + 1, dtype=np.int64)
        end = len(self) if end is None else end
        for part, start in zip(self._parts, self._ends[:-1].tolist(), strict=True):
            if end > start:
                total += part.counts(min(end - start, len(part)))
        return total

    def at_least(self, prefix: int) -> tuple[Places, Prefixes]:
        """See `Screened.at_least`."""
        found = [part.at_least(prefix) for part in self._parts]
        places = [own + start for (own, _), start in zip(found, self._ends[:-1], strict=True)]
        return (
            np.concatenate([np.empty(0, np.int64), *places]),
            np.concatenate([np.empty(0, np.uint16), *(values for _, values in found)]),
        )

    def decide(self, places: Places, prefixes: Prefixes) -> None:
        """See `Screened.decide`."""
        for number, part in enumerate(self._parts):
            start, end = self._ends[number : number + 2]
            mine = (start <= places) & (places < end)
            if mine.any():
                part.decide(places[mine] - start, prefixes[mine])

    def prefixes(self) -> Prefixes:
        """See `Screened.prefixes`."""
        empty = np.empty(0, np.uint16)
        return np.concatenate([empty, *(part.prefixes() for part in self._parts)])
