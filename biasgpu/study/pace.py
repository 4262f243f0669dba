"""How long what is left of a study will take, judged by what is done."""

from __future__ import annotations

from collections.abc import Iterable

from biasgpu.study.jobs import Job

_Kind = tuple[str, int | None]


class Pace:
    """Seconds a training sample, for either way of finding networks and each kept epoch."""

    def __init__(self) -> None:
        self._seconds: dict[_Kind, float] = {}
        self._samples: dict[_Kind, int] = {}

    def add(self, job: Job, elapsed_s: float) -> None:
        """A file took so long."""
        kind = (job.way, job.epoch)
        self._seconds[kind] = self._seconds.get(kind, 0.0) + elapsed_s
        self._samples[kind] = self._samples.get(kind, 0) + job.n_train

    def remaining_s(self, left: Iterable[Job]) -> float | None:
        """Estimated seconds for these files; None before there is one of each kind."""
        total = 0.0
        for job in left:
            kind = (job.way, job.epoch)
            if kind not in self._seconds:
                return None
            total += job.n_train * self._seconds[kind] / self._samples[kind]
        return total
