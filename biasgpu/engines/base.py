"""What an engine is: a way to screen draws of one ensemble on one training set.

An engine answers, for every draw of a range, how many of the first training samples some
arrangement of it classifies, or says that it cannot tell (the draw is *borderline*: a decision lay
within the margin of its rounding). It must never be wrong: a prefix it states is the law's. What is
borderline goes to the law. Nothing else depends on the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.engines.screened import BORDERLINE, MAX_TRAIN, HostScreened, Prefixes, Screened
from biasgpu.ensemble import Ensemble


class Engine(ABC):
    """A screen for one ensemble and training set.

    Args:
        ensemble: which networks.
        x_train: float32 `(n_train, *shape)`.
        y_train: int64 `(n_train,)`.

    Attributes:
        name: "reference", "torch", "cpu".
        device: where it computes: "cpu", "cuda:0".
    """

    name: ClassVar[str]
    device: str = "cpu"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
    ) -> None:
        self.ensemble = ensemble
        self.x_train = x_train
        self.y_train = y_train

    @abstractmethod
    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """The prefix of each draw in `[first_draw, first_draw + n_draws)`.

        Returns:
            uint16 `(n_draws,)`: a prefix, exact, or `BORDERLINE`.
        """

    def screened(self, first_draw: int, n_draws: int) -> Screened:
        """The same, left where the engine computes: see `Screened`. Good until the next call."""
        return HostScreened(self.screen(first_draw, n_draws), len(self.y_train))

    def settle(  # noqa: B027 (most engines know nothing more)
        self, first_draw: int, prefixes: Prefixes, *, threads: int | None = None
    ) -> None:
        """Decide borderline draws of the latest `screen` by the law, from what is known of them.

        Args:
            first_draw: the range's.
            prefixes: what `screen` returned; prefixes replace `BORDERLINE` where there is something
                to begin with. The law decides the others from their first sample on.
            threads: CPU threads for the law; None takes all.

        Raises:
            NonFiniteError: a draw with a logit that is infinite or not a number.
        """

    @property
    def notice(self) -> str:
        """What a user should know before the first draws are screened; empty if nothing."""
        return ""

    def prepare(self) -> None:
        """Get ready what takes long once, such as compiling; without it the first draws do."""
        from biasgpu import answers, exact  # themselves made of engines

        exact.prepare(self.ensemble)
        answers.prepare(self.ensemble)

    def begin(self) -> None:
        """Get ready for the first draws, however slowly; the rest may go on meanwhile."""
        self.prepare()

    @property
    def granularity(self) -> int:
        """The engine works best on multiples of so many draws."""
        return 1

    @property
    def minimum(self) -> int:
        """Fewer draws at a time take the engine as long as so many."""
        return 1

    @property
    def maximum(self) -> int:
        """More draws at a time take too much memory for their prefixes."""
        return 1 << 23

    def abandon(self) -> None:  # noqa: B027 (most engines have nothing under way)
        """Stop what is still under way: `close` then waits for nothing."""

    def close(self) -> None:  # noqa: B027 (most engines hold nothing)
        """Give back threads and memory."""


__all__ = ["BORDERLINE", "MAX_TRAIN", "Engine", "Prefixes", "Screened"]
