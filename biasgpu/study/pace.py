"""How long what is left of a study will take, judged by what is done."""

from __future__ import annotations

from collections.abc import Iterable

from biasgpu.study.jobs import Job


class Pace:
    """Seconds a training sample, for either way of finding networks."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._samples: dict[str, int] = {}

    def add(self, job: Job, elapsed_s: float) -> None:
        """A file took so long."""
        self._seconds[job.way] = self._seconds.get(job.way, 0.0) + elapsed_s
        self._samples[job.way] = self._samples.get(job.way, 0) + job.n_train

    def remaining_s(self, left: Iterable[Job]) -> float | None:
        """Estimated seconds for these files; None before there is one of each of their ways."""
        total = 0.0
        for job in left:
            if job.way not in self._seconds:
                return None
            total += job.n_train * self._seconds[job.way] / self._samples[job.way]
        return total
