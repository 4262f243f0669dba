"""How many draws to take at once: about a quarter of a second's work. It changes no result."""

from __future__ import annotations

BATCH_S = 0.25
FIRST_DRAWS = 64  # so that something is heard of even the slowest networks soon
GROWTH = 4  # a batch is at most so many times the one before: the first ones are no measure
MAX_DRAWS = 1 << 23  # bounds the memory for their prefixes


class Pace:
    """Adapts the number of draws a batch to the speed measured.

    Args:
        granularity: the engine works best on multiples of so many draws.
        fixed: always take so many instead, if given.
        minimum: fewer draws would take as long.
    """

    def __init__(self, granularity: int, fixed: int | None = None, *, minimum: int = 1) -> None:
        self._granularity = max(1, granularity)
        self._minimum = minimum
        self._fixed = fixed
        self._last = 0
        self._draws_per_s = 0.0

    def next(self, left_s: float | None = None) -> int:
        """Draws for the next batch, 1 or more.

        Args:
            left_s: seconds until the run ends by time.
        """
        if self._fixed is not None:
            return self._fixed
        if not self._last:
            return min(self._granularity, FIRST_DRAWS)
        target_s = BATCH_S if left_s is None else min(BATCH_S, max(0.0, left_s))
        n = int(min(self._draws_per_s * target_s, GROWTH * self._last, MAX_DRAWS))
        step = self._granularity if n >= self._granularity else self._minimum
        return max(self._minimum, n - n % step)

    def measured(self, n_draws: int, elapsed_s: float) -> None:
        """Learn from a batch."""
        self._last = n_draws
        self._draws_per_s = n_draws / max(elapsed_s, 1e-6)
