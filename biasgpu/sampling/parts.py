"""What a session is made of: a source of decided draws, and what does its work."""

from __future__ import annotations

from typing import Protocol

from biasgpu.sampling.batch import Batch


class Worker(Protocol):
    """What does the work: an engine, or a trainer."""

    @property
    def name(self) -> str:
        """By which it is chosen."""
        ...

    @property
    def device(self) -> str:
        """Where it computes."""
        ...

    @property
    def notice(self) -> str:
        """What a user should know before it begins."""
        ...

    def prepare(self) -> None:
        """Compile what must be compiled."""


class Source(Protocol):
    """Decides the next draws of a stream, a batch at a time."""

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
