"""What happens while a study is made, for whoever draws it; a file's own events come in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biasgpu.study.definition import Study
from biasgpu.study.jobs import Job


@dataclass(frozen=True)
class StudyStarted:
    """The folder is there and is ours.

    Attributes:
        study: what is to be done.
        folder: where.
        n_jobs: files it has.
        n_done: of them, those that are complete already.
    """

    study: Study
    folder: Path
    n_jobs: int
    n_done: int


@dataclass(frozen=True)
class JobStarted:
    """A file is begun, or gone on with.

    Attributes:
        job: which.
        place: from 1, among all files of the study.
        n_jobs: files of the study.
        remaining_s: estimated seconds for this and all that follow; None while unknown.
    """

    job: Job
    place: int
    n_jobs: int
    remaining_s: float | None


@dataclass(frozen=True)
class JobEnded:
    """A file is complete, or could not be made.

    Attributes:
        job: which.
        problem: what went wrong; "" if nothing did.
        elapsed_s: seconds of this session that it took.
    """

    job: Job
    problem: str
    elapsed_s: float


@dataclass(frozen=True)
class StudyInterrupted:
    """The user stopped it; what was found is committed. `KeyboardInterrupt` is raised next.

    Attributes:
        folder: the study to go on with.
        n_done: complete files.
        n_jobs: files of the study.
    """

    folder: Path
    n_done: int
    n_jobs: int


OnStudyEvent = Callable[[Any], None]
