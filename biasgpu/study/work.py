"""One file of a study: begun, gone on with, or found complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import biasgpu
from biasgpu.architectures import Architecture
from biasgpu.errors import RefusedError
from biasgpu.study.definition import Study
from biasgpu.study.events import OnStudyEvent
from biasgpu.study.jobs import Job
from biasgpu.task import Task


@dataclass
class Worker:
    """Makes the files of one study.

    Args:
        study: its definition.
        folder: where they go.
        engine: of guess and check, as `biasgpu.sample` takes it.
        train_engine: of training; None takes the same.
        device, threads: as `biasgpu.sample` takes them.
        on_event: gets the events of sampling and training.
    """

    study: Study
    folder: Path
    engine: str = "auto"
    train_engine: str | None = None
    device: str | None = None
    threads: int | None = None
    on_event: OnStudyEvent | None = None
    _tasks: dict[tuple[int, int], Task] = field(default_factory=dict, repr=False)

    def complete(self, job: Job) -> bool:
        """Whether a file is there and has reached the study's rules.

        Raises:
            BiasgpuError: it cannot be read.
        """
        path = self.folder / job.file
        if not path.exists():
            return False
        found = biasgpu.open(path)
        check(found, job, self.study)
        return bool(found.complete) and (self._same_rules(found, job) or self._enough(found, job))

    def make(self, job: Job) -> None:
        """Make a file, or go on with it.

        Raises:
            BiasgpuError: it cannot be.
            KeyboardInterrupt: the user stopped it; what was found is committed.
        """
        path = self.folder / job.file
        if path.exists():
            self._go_on(job, path)
        elif job.way == "guess-and-check":
            self._sample(job, path)
        else:
            self._train(job, path)

    def task(self, job: Job) -> Task:
        """The task of a file."""
        name = (job.data_seed, job.n_train)
        if name not in self._tasks:
            if any(seed != job.data_seed for seed, _ in self._tasks):
                self._tasks.clear()  # those of one data seed at a time
            self._tasks[name] = make_task(self.study, *name)
        return self._tasks[name]

    def _sample(self, job: Job, path: Path) -> None:
        biasgpu.sample(
            self.task(job),
            job.architecture,
            job.prior,
            seed=job.seed,
            curve_fits=self._curve_fits(job),
            # Networks of infinite width have no parameters to measure.
            measures=self.study.measures and not job.architecture.infinite,
            output=path,
            **self._rules(job),
            **self._engine(job),
        )

    def _train(self, job: Job, path: Path) -> None:
        study = self.study
        biasgpu.train(
            self.task(job),
            job.architecture,
            job.prior,
            optimizer=study.optimizer,
            learning_rate=study.rate_from(job.prior),
            batch_size=study.batch_size,
            epochs=epochs_of(job, study),
            stop_early=study.stop_early,
            seed=job.seed,
            # The file of the last epoch has those of the epochs before.
            gradient_norms=study.gradient_norms and job.epoch is None,
            measures=study.measures,
            keep_weights=study.keep_weights,
            output=path,
            **self._rules(job),
            **self._engine(job),
        )

    def _curve_fits(self, job: Job) -> int:
        # Where only the largest N was named, nobody asked for networks at smaller ones; with batch
        # norms there are none.
        none = job.architecture.coupled or self.study.n == (job.n_train,)
        return 0 if none else self.study.fits

    def _go_on(self, job: Job, path: Path) -> None:
        found = biasgpu.open(path)
        check(found, job, self.study)
        # Rules given anew are held against totals, and a run that ended by its time a little early
        # would be gone on with; the stored ones say that it is complete.
        rules = {} if self._same_rules(found, job) else self._rules(job)
        biasgpu.resume(path, **rules, **self._engine(job))

    def _rules(self, job: Job) -> dict[str, Any]:
        study = self.study
        if job.way == "guess-and-check":
            return {"fits": study.fits, "candidates": study.candidates, "time_s": study.time_s}
        return {"fits": study.trained, "networks": study.networks, "time_s": study.time_s}

    def _same_rules(self, found: Any, job: Job) -> bool:
        stored = found.last_session.get("stopping")
        if not isinstance(stored, Mapping):
            return False
        given = {name: value for name, value in self._rules(job).items() if value is not None}
        return given == {name: value for name, value in stored.items() if value is not None}

    def _enough(self, found: Any, job: Job) -> bool:
        """Whether what is stored has reached these rules, which it was not made with."""
        rules = self._rules(job)
        tried = found.n_networks if job.way == "sgd" else found.n_candidates
        limit = rules["networks" if job.way == "sgd" else "candidates"]
        time_s = rules["time_s"]
        return (
            found.n_fits >= rules["fits"]
            or (limit is not None and tried >= limit)
            or (time_s is not None and found.elapsed_s >= time_s)
        )

    def _engine(self, job: Job) -> dict[str, Any]:
        trains = job.way == "sgd" and self.train_engine is not None
        return {
            "engine": self.train_engine if trains else self.engine,
            "device": self.device,
            "threads": self.threads,
            "on_event": self.on_event,
        }


def make_task(study: Study, data_seed: int, n_train: int) -> Task:
    """A task of a study.

    Raises:
        BiasgpuError: it cannot be made.
    """
    plain = {} if study.data.endswith(".npz") else {"data_seed": data_seed}
    return biasgpu.task(
        study.data,
        study.classes,
        n_train=n_train,
        selection=study.selection,  # type: ignore[arg-type]  # checked there
        source=study.source,  # type: ignore[arg-type]  # checked there
        data_dir=study.data_dir,
        **plain,
    )


def epochs_of(job: Job, study: Study) -> int:
    """After how many epochs the training of a file ends."""
    return study.epochs if job.epoch is None else job.epoch


def check(found: Any, job: Job, study: Study) -> None:
    """Refuse a file that holds something else than its name says.

    Raises:
        RefusedError: says what.
    """
    expected: dict[str, tuple[Any, Any]] = {
        "seed": (found.seed, job.seed),
        "architecture": (_plain(found.architecture), _plain(job.architecture)),
        "prior": (str(found.prior), job.prior),
        "n_train": (found.task.n_train, job.n_train),
        "data": (found.task.config.get("name", found.task.name), study.data),
    }
    if job.way == "sgd":
        recipe = getattr(found, "recipe", None)
        expected["epochs"] = (recipe and recipe.epochs, epochs_of(job, study))
    if not study.data.endswith(".npz"):
        expected["data_seed"] = (found.task.config.get("data_seed"), job.data_seed)
    for name, (stored, wanted) in expected.items():
        if stored != wanted:
            raise RefusedError(
                f"{job.file} holds something else: its {name} is {stored}, not {wanted}.",
                why="a study reads its files by their names.",
                fix=f"move {job.file} out of the folder, and repeat the command.",
            )


def _plain(architecture: Architecture) -> tuple[Any, ...]:
    return architecture.name, tuple(architecture.layers), architecture.head, architecture.bias
