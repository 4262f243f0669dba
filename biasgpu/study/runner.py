"""Making a study: its files one after the other, whatever becomes of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from biasgpu.results import StatusFile
from biasgpu.results.liveness import signature
from biasgpu.sampling.interrupts import held_back
from biasgpu.study import folder as folders
from biasgpu.study.events import JobEnded, JobStarted, StudyInterrupted, StudyStarted
from biasgpu.study.jobs import Job, jobs
from biasgpu.study.pace import Pace
from biasgpu.study.work import Worker


class Runner:
    """Makes what is missing of a study; the caller holds the folder's lock.

    A file that cannot be made is put down in the list of problems and tried again the next time;
    the others do not wait for it.

    Args:
        worker: makes single files.
        only: whether a file is to be made now; None makes all. The others count as left.
    """

    def __init__(self, worker: Worker, only: Callable[[Job], bool] | None = None) -> None:
        self._worker = worker
        self._chosen = only or (lambda _: True)
        self._jobs = jobs(worker.study)
        self._problems = folders.read_problems(worker.folder)
        self._status = StatusFile(worker.folder / folders.DEFINITION)
        self._pace = Pace()
        self._left: list[Job] = []
        self._started_s = time.perf_counter()

    def run(self) -> None:
        """Make the files.

        Raises:
            KeyboardInterrupt: the user stopped it; what was found is committed.
            BiasgpuError: the list of problems cannot be written.
        """
        try:
            self._look()
            self._write_status("running")
            self._emit(
                StudyStarted(self._worker.study, self._worker.folder, len(self._jobs), self._n_done)
            )
            for job in [job for job in self._left if self._chosen(job)]:
                self._write_status("running", job)
                self._make(job)
        except KeyboardInterrupt:
            with held_back():  # a second Ctrl-C must not cost the word on how to go on
                self._write_status("interrupted")
                self._emit(StudyInterrupted(self._worker.folder, self._n_done, len(self._jobs)))
            raise
        except BaseException:
            self._write_status("failed")
            raise
        self._write_status("finished")

    @property
    def _n_done(self) -> int:
        return len(self._jobs) - len(self._left)

    def _look(self) -> None:
        """Find out what is left; what is complete has no problem any more."""
        self._left = [job for job in self._jobs if not self._complete(job)]
        left = {job.file for job in self._left}
        kept = {name: one for name, one in self._problems.items() if name in left}
        if kept != self._problems:
            self._problems = kept
            folders.write_problems(self._worker.folder, kept)

    def _complete(self, job: Job) -> bool:
        try:
            return self._worker.complete(job)
        except Exception:
            return False  # what is wrong with it is found out, and put down, when its turn comes

    def _make(self, job: Job) -> None:
        place = self._jobs.index(job) + 1
        self._emit(JobStarted(job, place, len(self._jobs), self._remaining_s()))
        started_s = time.perf_counter()
        problem: dict[str, str] | None = None
        try:
            self._worker.make(job)
        except Exception as error:  # a bug in one file must not cost the others either
            problem = folders.problem_of(error)
        elapsed_s = time.perf_counter() - started_s
        with held_back():
            if problem is None:
                self._left.remove(job)
                self._pace.add(job, elapsed_s)
            self._put_down(job, problem)
        self._emit(JobEnded(job, "" if problem is None else problem["what"], elapsed_s))

    def _put_down(self, job: Job, problem: dict[str, str] | None) -> None:
        before = dict(self._problems)
        self._problems.pop(job.file, None)
        if problem is not None:
            self._problems[job.file] = problem
        if self._problems != before:
            folders.write_problems(self._worker.folder, self._problems)

    def _write_status(self, state: str, job: Job | None = None) -> None:
        self._status.write(
            {
                "state": state,
                **signature(),
                "updated": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "n_jobs": len(self._jobs),
                "n_done": self._n_done,
                "n_problems": len(self._problems),
                "current": None if job is None else job.file,
                "elapsed_s": time.perf_counter() - self._started_s,
                "remaining_s": self._remaining_s(),
            }
        )

    def _remaining_s(self) -> float | None:
        return self._pace.remaining_s([job for job in self._left if self._chosen(job)])

    def _emit(self, event: Any) -> None:
        if self._worker.on_event is not None:
            self._worker.on_event(event)
