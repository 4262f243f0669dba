"""How many draws to take at once: about a quarter of a second's work. It changes no result."""

from __future__ import annotations

BATCH_S = 0.25
MOST_SCREENING_S = 2.0  # for the sake of networks that are measured together
FIRST_DRAWS = 64  # so that something is heard of even slow networks soon
FIRST_WORK = 1e10  # multiplications: some seconds for two cores
FEWEST_DRAWS = 16  # compiled engines try so many at once: fewer take as long
GROWTH = 4  # a batch is at most so many times the one before: the first ones are no measure
MAX_DRAWS = 1 << 27  # of any engine; most have a lower bound of their own


class Pace:
    """Adapts the number of draws a batch to the speed measured.

    Args:
        granularity: the engine works best on multiples of so many draws.
        fixed: always take so many instead, if given.
        minimum: fewer draws would take as long.
        maximum: more draws would not fit the memory.
        work: multiplications that a draw may take, its test set included; 0 if unknown.
        rows: networks that are measured at once: fewer take as long. A batch is then made large
            enough to find so many, as long as screening it takes no longer than measuring them (or
            than a batch should). Sized by their whole time, batches would shrink to one network.
    """

    def __init__(
        self,
        granularity: int,
        fixed: int | None = None,
        *,
        minimum: int = 1,
        maximum: int = MAX_DRAWS,
        work: float = 0.0,
        rows: int = 1,
    ) -> None:
        self._granularity = max(1, granularity)
        self._minimum = minimum
        self._maximum = maximum
        self._fixed = fixed
        affordable = max(FEWEST_DRAWS, int(min(FIRST_DRAWS, FIRST_WORK / max(work, 1.0))))
        self._first = min(self._granularity, affordable)
        self._last = 0
        self._draws_per_s = 0.0
        self._rows = rows
        self._screened_per_s = 0.0
        self._measuring_s = 0.0
        self._draws_per_row = 0.0

    def next(self, left_s: float | None = None) -> int:
        """Draws for the next batch, 1 or more.

        Args:
            left_s: seconds until the run ends by time.
        """
        if self._fixed is not None:
            return self._fixed
        if not self._last:
            return self._first
        target_s = BATCH_S if left_s is None else min(BATCH_S, max(0.0, left_s))
        most = min(GROWTH * self._last, self._maximum, MAX_DRAWS)
        balanced_s = max(target_s, min(self._measuring_s, MOST_SCREENING_S))
        screening_s = balanced_s if left_s is None else min(balanced_s, max(0.0, left_s))
        full = min(self._rows * self._draws_per_row, self._screened_per_s * screening_s)
        n = int(min(max(self._draws_per_s * target_s, full), most))
        step = self._granularity if n >= self._granularity else self._minimum
        return min(max(self._minimum, n - n % step), most)

    def expected_s(self, left_s: float) -> float:
        """Seconds the next batch will take, by the speed of the last; 0 while that is unknown."""
        return self.next(left_s) / self._draws_per_s if self._draws_per_s else 0.0

    def measured(
        self, n_draws: int, elapsed_s: float, *, screening_s: float | None = None, n_rows: int = 0
    ) -> None:
        """Learn from a batch.

        Args:
            n_draws: in it.
            elapsed_s: it took.
            screening_s: of these, until it was known which networks are kept.
            n_rows: networks that were kept, and measured.
        """
        self._last = n_draws
        self._draws_per_s = n_draws / max(elapsed_s, 1e-6)
        screening_s = elapsed_s if screening_s is None else screening_s
        self._screened_per_s = n_draws / max(screening_s, 1e-6)
        self._measuring_s = elapsed_s - screening_s
        self._draws_per_row = n_draws / n_rows if n_rows else 0.0
