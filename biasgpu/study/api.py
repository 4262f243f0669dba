"""`compare`: a study from its definition, or from where it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biasgpu import engines
from biasgpu.errors import UsageError, unknown
from biasgpu.study import folder as folders
from biasgpu.study import suitable
from biasgpu.study.definition import Study
from biasgpu.study.events import OnStudyEvent
from biasgpu.study.jobs import Job, jobs
from biasgpu.study.load import StudyFolder
from biasgpu.study.runner import Runner
from biasgpu.study.updates import updated
from biasgpu.study.work import Worker


def compare(
    study: Study | None = None,
    *,
    output: str | os.PathLike[str],
    extend: bool = False,
    only: Callable[[Job], bool] | None = None,
    engine: str = "auto",
    train_engine: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    on_event: OnStudyEvent | None = None,
    **settings: Any,
) -> StudyFolder:
    """Find networks by guess and check and by an optimiser, over architectures and data seeds.

    What is in the folder already is gone on with, so the same call after an interruption, however
    hard, ends with what an uninterrupted one finds. A file that cannot be made does not stop the
    others: it is reported (`StudyFolder.problems()`), and tried again by the next call.

    Args:
        study: what to do. None goes on with the study that the folder holds, or takes `settings`.
        output: the study's folder; made if it is not there.
        extend: add data seeds, architectures, priors, initialisations, N or kept epochs to the
            study there, or more trained networks; `settings` then need only name what is added.
        only: leaves out the files for which it is false; another call may make them.
        engine: "auto", "cpu", "torch", "triton" or "reference".
        train_engine: another one for training; None takes the same.
        device: "cpu", "cuda", "cuda:1"; None lets the engine choose.
        threads: CPU threads; None takes all.
        on_event: called with the events of `biasgpu.study.events`, and with those of every file.
        **settings: those of `Study`, or a family: `arch="lenet", widths=["1/6", "4/6"]`.

    Returns:
        the study in its folder.

    Raises:
        UsageError: settings that cannot be.
        RefusedError: the folder holds another study, or another process works on it.
        DamagedFileError: its definition is damaged.
        BiasgpuError: the data are not to be had.
        KeyboardInterrupt: on Ctrl-C, after what was found is committed.

    Example:
        study = biasgpu.compare(
            arch="lenet", widths=["1/6", "4/6"], n_train=8, fits=50, trained=50,
            data_seeds=[200, 201], output="study/",
        )
        study.verdict().table()
    """
    folder = Path(output)
    for name in (engine, train_engine or engine):
        if name not in (engines.AUTO, *engines.NAMES):
            raise unknown("engine", str(name), (engines.AUTO, *engines.NAMES))
    if threads is not None and threads < 1:
        raise UsageError(
            f"threads is {threads}; it must be 1 or more.",
            why="the work needs one thread at least.",
            fix="leave it out to take all cores, or give 1 or more: threads=1 (--threads 1).",
        )
    study = _wanted(study, settings, folder, extend)
    jobs(study)  # refuses names that clash before anything is made
    if not (folder / folders.DEFINITION).exists():
        suitable.check(study)
    lock = folders.lock(folder)
    try:
        study = folders.settle(folder, study, extend=extend)
        worker = Worker(study, folder, engine, train_engine, device, threads, on_event)
        Runner(worker, only).run()
    finally:
        lock.release()
    return StudyFolder(folder, study)


def _wanted(study: Study | None, settings: dict[str, Any], folder: Path, extend: bool) -> Study:
    if study is None:
        if (extend or not settings) and (folder / folders.DEFINITION).exists():
            return updated(folders.read_definition(folder), settings)
        return Study.from_config(settings)
    if settings:
        raise UsageError(
            f"a study, and {', '.join(settings)} beside it.",
            why="a study has all its settings.",
            fix="give one of the two; dataclasses.replace(study, ...) changes a study.",
        )
    if not isinstance(study, Study):
        raise UsageError(
            f"{study!r} is no study.",
            why="the first argument is a definition.",
            fix="biasgpu.Study(...), or the settings by name: biasgpu.compare(arch='lenet', ...).",
        )
    return study
