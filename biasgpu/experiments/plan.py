"""The plan of an experiment: what it will make, and how long that will take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import biasgpu
from biasgpu.architectures import Architecture
from biasgpu.errors import BiasgpuError
from biasgpu.experiments.catalogue import asked
from biasgpu.experiments.probe import Pace, Probe, Screening
from biasgpu.study import Study
from biasgpu.study.jobs import Job, jobs
from biasgpu.study.work import Worker

SCREENING_S = (0.6, 1.5)  # a probe of screening lasts at least and at most so long
ALL_SCREENING_S = 20.0  # and all of them together, if they can
FIGURE_S, VERDICT_S = 2.0, 2.0  # drawn in three formats; tables and verdict
READ_S = 0.15  # of a file, for tables and report
Chosen = Callable[[str, Job], bool]


@dataclass(frozen=True)
class Item:
    """One file that is to be made.

    Attributes:
        part: the study's folder.
        job: the file.
        n_networks: asked for and not there yet.
        seconds: estimated; None where it was not, or could not be.
        limited: the time limit will end it, by this estimate.
        note: what the estimate could not be made from.
    """

    part: str
    job: Job
    n_networks: int
    seconds: float | None = None
    limited: bool = False
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        items: files that are to be made, in order.
        n_files: of the experiment.
        n_complete: of them, those that are complete.
        n_left_out: of the others, those that were not chosen.
        finish_s: for figures, tables and the report.
        estimated: the seconds of items were estimated.
    """

    items: tuple[Item, ...]
    n_files: int
    n_complete: int
    n_left_out: int
    finish_s: float
    estimated: bool

    @property
    def n_networks(self) -> int:
        """That are to be found."""
        return sum(item.n_networks for item in self.items)

    @property
    def seconds(self) -> float | None:
        """Of all; None where it was not estimated."""
        known = [item.seconds for item in self.items if item.seconds is not None]
        return sum(known) + self.finish_s if self.estimated else None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return {
            "n_files": self.n_files,
            "n_complete": self.n_complete,
            "n_left_out": self.n_left_out,
            "n_networks": self.n_networks,
            "seconds": self.seconds,
            "items": [
                {
                    "part": item.part,
                    "file": item.job.file,
                    "n_networks": item.n_networks,
                    "seconds": item.seconds,
                    "limited": item.limited,
                    "note": item.note,
                }
                for item in self.items
            ],
        }


def plan(
    studies: Mapping[str, Study],
    folder: Path,
    *,
    chosen: Chosen | None = None,
    n_figures: int = 1,
    estimate: bool = True,
    **run: Any,
) -> Plan:
    """What is left of an experiment.

    Args:
        studies: by the names of their folders.
        folder: of the experiment; need not exist.
        chosen: leaves out the files for which it is false.
        n_figures: that are drawn at the end.
        estimate: run the probes that tell how long it takes.
        **run: `engine`, `train_engine`, `device` and `threads`.
    """
    items: list[Item] = []
    n_files = n_left_out = n_complete = 0
    for part, study in studies.items():
        worker = Worker(study, folder / part)
        for job in jobs(study):
            n_files += 1
            if _complete(worker, job):
                n_complete += 1
            elif chosen is not None and not chosen(part, job):
                n_left_out += 1
            else:
                items.append(Item(part, job, _missing(study, job, folder / part / job.file)))
    estimated = estimate and bool(items)
    if estimated:
        items = [
            one
            for part, study in studies.items()
            for one in _estimated(study, [item for item in items if item.part == part], run)
        ]
    finish_s = VERDICT_S + FIGURE_S * n_figures + READ_S * (n_complete + len(items))
    return Plan(tuple(items), n_files, n_complete, n_left_out, finish_s, estimated)


def _estimated(study: Study, items: list[Item], run: Mapping[str, Any]) -> list[Item]:
    """The items of one study with their seconds."""
    if not items:
        return []
    drawn = [item.job for item in items if item.job.way == "guess-and-check"]
    shortest, longest = SCREENING_S
    each_s = min(longest, max(shortest, ALL_SCREENING_S / max(len(drawn), 1)))
    probe = Probe(study, **run)
    estimates = _Estimates(study, probe, items, each_s)
    try:
        return [estimates.of(item) for item in items]
    finally:
        probe.close()


class _Estimates:
    """Seconds of files, from probes that are shared by files of one kind."""

    def __init__(self, study: Study, probe: Probe, items: Iterable[Item], each_s: float) -> None:
        self._study, self._probe, self._each_s = study, probe, each_s
        self._drawn: dict[Architecture, Pace] = {}
        self._trained: dict[tuple[Architecture, str], list[tuple[int, Pace]]] = {}
        self._at: dict[tuple[Architecture, str], list[Job]] = {}
        for item in items:
            if item.job.way == "sgd":
                key = item.job.architecture, item.job.prior
                self._at.setdefault(key, []).append(item.job)

    def of(self, item: Item) -> Item:
        """An item with its seconds; one whose probe fails has none, and says why."""
        try:
            seconds = self._seconds(item)
        except BiasgpuError as error:
            return Item(item.part, item.job, item.n_networks, note=error.what)
        # A task is made once for all architectures.
        seconds += self._probe.task_s / len(self._study.architectures)
        limit = self._study.time_s
        limited = limit is not None and seconds > limit
        capped = min(seconds, limit) if limit is not None else seconds
        return Item(item.part, item.job, item.n_networks, capped, limited)

    def _seconds(self, item: Item) -> float:
        study, job = self._study, item.job
        if job.way == "sgd":
            pace = self._training(job)
            tried = item.n_networks / max(pace.success, 1.0 / (4 * study.trained))
            if study.networks is not None:
                tried = min(tried, study.networks)
            return pace.start_s + tried * pace.network_s
        if job.architecture not in self._drawn:
            self._drawn[job.architecture] = self._probe.drawn(job)
        pace = self._drawn[job.architecture]
        found = self._probe.screened(job, self._each_s)
        return pace.start_s + screening_s(found, study, item) + item.n_networks * pace.network_s

    def _training(self, job: Job) -> Pace:
        """From probes at the smallest and the largest N, in between in a line."""
        key = job.architecture, job.prior
        if key not in self._trained:
            by_n = {one.n_train: one for one in reversed(self._at[key])}
            ends = dict.fromkeys((min(by_n), max(by_n)))
            self._trained[key] = [(n, self._probe.trained(by_n[n])) for n in ends]
        (n_0, low), (n_1, high) = self._trained[key][0], self._trained[key][-1]
        share = (job.n_train - n_0) / (n_1 - n_0) if n_1 > n_0 else 0.0
        return Pace(*(
            a + share * (b - a)
            for a, b in ((low.start_s, high.start_s), (low.network_s, high.network_s),
                         (low.success, high.success))
        ))  # fmt: skip


def screening_s(found: Screening, study: Study, item: Item) -> float:
    """Seconds to screen the candidates that a file's missing fits take."""
    share = item.n_networks / max(asked(study, item.job), 1)
    candidates = study.fits * share * 2.0 ** min(found.bits, 1000.0)
    if study.candidates is not None:
        candidates = min(candidates, study.candidates)
    return candidates / found.candidates_per_s if candidates < math.inf else math.inf


def _complete(worker: Worker, job: Job) -> bool:
    try:
        return worker.complete(job)
    except Exception:
        return False  # what is wrong with it is said when its turn comes


def _missing(study: Study, job: Job, path: Path) -> int:
    """Networks that a file still lacks; as many as it is asked for, if it is not there."""
    wanted = asked(study, job)
    if not path.exists():
        return wanted
    try:
        found = biasgpu.open(path)
    except BiasgpuError:
        return wanted
    count = study.trained if job.way == "sgd" else study.fits
    return math.ceil(wanted * max(0, count - found.n_fits) / count)
