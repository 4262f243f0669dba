"""How many networks to train at once. It changes no result."""

from __future__ import annotations

import math

BATCH_S = 0.5  # so that progress is seen, and little is lost when it stops
GROWTH = 4  # a batch is at most so many times the one before: the first ones are no measure
MAX_BYTES = 256 << 20  # weights held at once
SPARE = 1.1  # networks that are trained for each that is expected to be needed


class TrainingPace:
    """Adapts the number of networks a batch to the speed measured.

    A trainer that takes many networks at once takes as long for fewer: below its granularity a
    batch goes only where no more networks are wanted, or memory is short.

    Args:
        granularity: of the trainer.
        row_bytes: weights of one network over all kept epochs.
        fixed: always take so many instead, if given.
    """

    def __init__(self, granularity: int, row_bytes: int, fixed: int | None = None) -> None:
        self._granularity = max(1, granularity)
        self._most = max(1, MAX_BYTES // max(1, row_bytes))
        self._fixed = fixed
        self._last = 0
        self._per_s = 0.0
        self._share = 1.0  # of networks that fit

    def next(self, *, fits_left: int | None = None, left_s: float | None = None) -> int:
        """Networks for the next batch, 1 or more.

        Args:
            fits_left: fits still asked for, or None.
            left_s: seconds until training ends by time.
        """
        if self._fixed is not None:
            return self._fixed
        step, n = self._granularity, self._granularity
        if self._last:
            target_s = BATCH_S if left_s is None else min(BATCH_S, max(0.0, left_s))
            n = max(step, int(min(self._per_s * target_s, GROWTH * self._last)) // step * step)
        if fits_left is not None:
            n = min(n, math.ceil(SPARE * fits_left / self._share))
        return max(1, min(n, self._most))

    def expected_s(self, n: int) -> float:
        """Seconds that `n` networks will take, by the speed of the last batch; 0 if unknown."""
        return n / self._per_s if self._per_s else 0.0

    def measured(self, n: int, elapsed_s: float, n_fits: int) -> None:
        """Learn from a batch."""
        self._last = n
        self._per_s = n / max(elapsed_s, 1e-6)
        self._share = (n_fits + 1) / (n + 1)
