"""What sampling yields: a range of draws that has been decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.fits import Fits


@dataclass(frozen=True, eq=False)
class Batch:
    """The draws `[first_draw, end_draw)`, decided.

    Attributes:
        first_draw, end_draw: the range.
        n_arrangements: candidates a draw makes.
        prefix_counts: int64 `(n_train + 1,)`: how many of the draws have each exact prefix.
        fits: the candidates kept: every fit, and the first few at every smaller N of the curve.
        n_borderline: draws that the engine left to the law.
        elapsed_s: how long it took.
        n_diverged: trained networks with a training logit that is infinite or not a number.
    """

    first_draw: int
    end_draw: int
    n_arrangements: int
    prefix_counts: npt.NDArray[np.int64]
    fits: Fits
    n_borderline: int
    elapsed_s: float
    n_diverged: int = 0

    @property
    def n_draws(self) -> int:
        """Draws in the range."""
        return self.end_draw - self.first_draw

    @property
    def n_candidates(self) -> int:
        """Candidates tested."""
        return self.n_arrangements * self.n_draws

    @property
    def n_fits(self) -> int:
        """Fits of the whole training set."""
        return int(self.prefix_counts[-1])
