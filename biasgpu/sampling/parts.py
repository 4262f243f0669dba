"""What a session is made of: a source of decided draws, and what does its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from biasgpu.sampling.batch import Batch

if TYPE_CHECKING:
    from biasgpu.engines.base import Engine
    from biasgpu.training.trainers.base import Trainer

Worker: TypeAlias = "Engine | Trainer"  # what does the work


class Source(Protocol):
    """Decides the next draws of a stream, a batch at a time."""

    def prepare(self) -> None:
        """Compile what must be compiled, the engine apart."""
        ...

    @property
    def done(self) -> bool:
        """Whether there are no more."""
        ...

    def outlasts(self, left_s: float) -> bool:
        """Whether the next batch is expected to take clearly longer than is left."""
        ...

    def step(self, *, fits_left: int | None, left_s: float | None) -> Batch:
        """Decide the next draws; changes nothing unless it succeeds."""
        ...
