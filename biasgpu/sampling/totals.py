"""How far a run has come."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.sampling.batch import Batch

RATE_WINDOW_S = 3.0
MEASURED_S = 1.0  # the first batches are too small to tell a speed


@dataclass(frozen=True, eq=False)
class Totals:
    """What a run has decided, over all its sessions.

    Attributes:
        first_draw: where its stream began.
        next_draw: the first draw that is not decided.
        prefix_counts: int64 `(n_train + 1,)`: how many draws have each exact prefix.
        n_borderline: draws that an engine left to the law.
        elapsed_s: seconds of work.
        n_diverged: trained networks with a training logit that is infinite or not a number.
    """

    first_draw: int
    next_draw: int
    prefix_counts: npt.NDArray[np.int64]
    n_borderline: int = 0
    elapsed_s: float = 0.0
    n_diverged: int = 0

    @property
    def n_draws(self) -> int:
        """Draws decided."""
        return self.next_draw - self.first_draw

    @property
    def n_fits(self) -> int:
        """Fits of the whole training set."""
        return int(self.prefix_counts[-1])

    @property
    def best_prefix(self) -> int:
        """The longest prefix so far."""
        return int(np.flatnonzero(self.prefix_counts)[-1]) if self.n_draws else 0

    def plus(self, batch: Batch, elapsed_s: float) -> Totals:
        """The totals after one more batch, `elapsed_s` being the new total."""
        return Totals(
            self.first_draw,
            batch.end_draw,
            self.prefix_counts + batch.prefix_counts,
            self.n_borderline + batch.n_borderline,
            elapsed_s,
            self.n_diverged + batch.n_diverged,
        )


class Speed:
    """Draws a second over the last few seconds.

    Args:
        elapsed_s: when the first draws are begun.
        next_draw: the first of them.
    """

    def __init__(self, elapsed_s: float, next_draw: int) -> None:
        self._marks = deque([(elapsed_s, next_draw)])

    def __call__(self, totals: Totals) -> float | None:
        """The speed now, None while it is not known; call it after every batch."""
        self._marks.append((totals.elapsed_s, totals.next_draw))
        while len(self._marks) > 2 and self._marks[1][0] < totals.elapsed_s - RATE_WINDOW_S:
            self._marks.popleft()
        since_s, draw = self._marks[0]
        lasted_s = totals.elapsed_s - since_s
        return None if lasted_s < MEASURED_S else (totals.next_draw - draw) / lasted_s
