"""`reproduce`, `run_definition`, `report`: an experiment from its definition to its report."""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from biasgpu.errors import BiasgpuError, UsageError
from biasgpu.experiments import folder as folders
from biasgpu.experiments.data import Chosen, choose
from biasgpu.experiments.definition import Definition
from biasgpu.experiments.events import Drawing, PartFailed, Planned, Probing, Stopped
from biasgpu.experiments.finish import finish
from biasgpu.experiments.names import published
from biasgpu.experiments.plan import Plan
from biasgpu.experiments.plan import plan as make_plan
from biasgpu.experiments.stored import Experiment, open_experiment
from biasgpu.experiments.text import parse, read, with_limits
from biasgpu.study import compare, suitable
from biasgpu.study.jobs import Job, jobs

OnEvent = Callable[[Any], None]
RUNS = Path("runs")


def reproduce(
    name: str,
    *,
    scale: float | None = None,
    time_s: float | None = None,
    output: str | os.PathLike[str] | None = None,
    only: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    estimate: bool = True,
    on_event: OnEvent | None = None,
    **run: Any,
) -> Experiment:
    """Run a published experiment from its definition to its figures, tables and report.

    What is in the folder already is gone on with: the same call after an interruption, however
    hard, ends with what an uninterrupted one makes.

    Args:
        name: of `biasgpu.experiments.list()`, or its beginning: "fig5".
        scale: multiplies the counts of networks, none that is asked for below 5; None leaves them
            as published. Data seeds and N stay.
        time_s: at most so many seconds a file, in place of the definition's limit; what ends by it
            depends on the machine.
        output: the folder; None takes `runs/` and the name, with the scale.
        only: makes the files alone whose names match: "sgd-*w1-6*"; another call may make the rest.
        data_dir: the folder of the data files.
        estimate: first run some seconds of probes that tell how long it will take, if there is
            anybody to be told (`on_event`).
        on_event: called with the events of `biasgpu.experiments.events`, and with those of the
            studies and of their files.
        **run: `engine`, `train_engine`, `device` and `threads`, as for `biasgpu.compare`.

    Returns:
        the experiment, as it is stored.

    Raises:
        UsageError: no such experiment, or arguments that cannot be.
        RefusedError: the folder holds something else, or another process works on it.
        BiasgpuError: the data are not to be had.
        KeyboardInterrupt: on Ctrl-C, after what was found is committed.

    Example:
        made = biasgpu.reproduce("fig5", scale=0.25)
        made.verdict.claims_table(), made.report
    """
    one = published(name)
    text = with_limits(one.text, one.definition(), scale, time_s)
    folder = Path(output) if output is not None else default_folder(one.name, parse(text, name))
    return _make(text, one.name, folder, only, data_dir, estimate, on_event, run)


def run_definition(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    time_s: float | None = None,
    output: str | os.PathLike[str] | None = None,
    only: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    estimate: bool = True,
    on_event: OnEvent | None = None,
    **run: Any,
) -> Experiment:
    """Run one's own experiment, or go on with one in a folder.

    Args:
        path: a definition file (docs/experiments.md), or the folder of an experiment.
        scale, time_s, only, data_dir, estimate, on_event, **run: as for `reproduce`.
        output: the folder; None takes `runs/` and the file's name, with the scale, or the folder
            that `path` names.

    Returns, Raises:
        as `reproduce`.
    """
    text, name, folder = source(path, scale, time_s)
    folder = folder if output is None else Path(output)
    return _make(text, name, folder, only, data_dir, estimate, on_event, run)


def report(folder: str | os.PathLike[str]) -> Experiment:
    """Make the figures, tables and report of an experiment anew, from its files alone.

    Args:
        folder: of the experiment; also one that is being made.

    Raises:
        UsageError: there is none.
        BiasgpuError: it is damaged, or cannot be written to.
    """
    return finish(open_experiment(folder))


def plan_of(
    name_or_path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    time_s: float | None = None,
    output: str | os.PathLike[str] | None = None,
    only: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    estimate: bool = True,
    on_event: OnEvent | None = None,
    **run: Any,
) -> Planned:
    """What `reproduce` or `run_definition` would do, and how long it would take.

    Args:
        name_or_path: a published name, or a path with a slash or an ending.
        scale, time_s, output, only, data_dir, estimate, on_event, **run: as for `reproduce`.
    """
    text, name, folder = source(name_or_path, scale, time_s)
    folder = folder if output is None else Path(output)
    definition = parse(text, name)
    chosen, wanted = _checked(definition, name, folder, only, data_dir)
    found = _planned(definition, chosen, folder, wanted, estimate, on_event, run)
    return Planned(definition.title, folder, definition.scale, found, chosen.note)


def source(
    name_or_path: str | os.PathLike[str], scale: float | None = None, time_s: float | None = None
) -> tuple[str, str, Path]:
    """A definition's text, what to call it in errors, and the folder it is made in.

    Raises:
        UsageError: there is none.
    """
    path = Path(name_or_path)
    given = os.fspath(name_or_path)
    if path.is_dir():
        text, name, folder = folders.stored_text(path), str(path / folders.DEFINITION), path
        return with_limits(text, parse(text, name), scale, time_s), name, folder
    if path.suffix or path.exists() or os.sep in given:
        text, name = read(path), given
        stem = path.stem
    else:
        one = published(given)
        text, name = one.text, one.name
        stem = one.name
    text = with_limits(text, parse(text, name), scale, time_s)
    return text, name, default_folder(stem, parse(text, name))


def default_folder(name: str, definition: Definition) -> Path:
    """`runs/NAME`, or `runs/NAME-scale0.25`."""
    scale = "" if definition.scale == 1.0 else f"-scale{definition.scale:g}"
    return RUNS / f"{name}{scale}"


def _make(
    text: str,
    name: str,
    folder: Path,
    only: str | None,
    data_dir: str | os.PathLike[str] | None,
    estimate: bool,
    on_event: OnEvent | None,
    run: dict[str, Any],
) -> Experiment:
    definition = parse(text, name)
    chosen, wanted = _checked(definition, name, folder, only, data_dir)
    emit = on_event or (lambda _: None)
    try:
        if on_event is not None:
            found = _planned(definition, chosen, folder, wanted, estimate, on_event, run)
            emit(Planned(definition.title, folder, definition.scale, found, chosen.note))
        folders.settle(folder, text)
        for part, study in chosen.studies.items():
            try:
                compare(
                    study,
                    output=folder / part,
                    only=None if wanted is None else lambda job, part=part: wanted(part, job),
                    on_event=on_event,
                    **run,
                )
            except BiasgpuError as error:  # its data are not to be had: the others do not need them
                if part not in chosen.problems or len(chosen.problems) == len(chosen.studies):
                    raise
                emit(PartFailed(part, error.what))
    except KeyboardInterrupt:
        emit(Stopped(folder))
        raise
    emit(Drawing(folder))
    return finish(open_experiment(folder))


def _checked(
    definition: Definition,
    name: str,
    folder: Path,
    only: str | None,
    data_dir: str | os.PathLike[str] | None,
) -> tuple[Chosen, Callable[[str, Job], bool] | None]:
    begun = folders.begun_studies(folder, definition)
    chosen = choose(definition, data_dir, begun)
    command = "run" if os.sep in name or Path(name).suffix else "reproduce"
    own = f"biasgpu {command} {name} -o other/, output='other/'"
    folders.check(folder, definition, chosen, own=own)
    for part, study in chosen.studies.items():
        if part not in begun and part not in chosen.problems:
            suitable.check(study, every=True)
    return chosen, None if only is None else _matching(only, chosen)


def _planned(
    definition: Definition,
    chosen: Chosen,
    folder: Path,
    wanted: Callable[[str, Job], bool] | None,
    estimate: bool,
    on_event: OnEvent | None,
    run: dict[str, Any],
) -> Plan:
    given: dict[str, Any] = {"chosen": wanted, "n_figures": len(definition.figures), **run}
    found = make_plan(chosen.studies, folder, estimate=False, **given)
    if not (estimate and found.items):
        return found
    if on_event is not None:
        on_event(Probing(len(found.items)))
    try:
        return make_plan(chosen.studies, folder, estimate=True, **given)
    except BiasgpuError:
        return found  # what is wrong is said where the files are made


def _matching(only: str, chosen: Chosen) -> Callable[[str, Job], bool]:
    """Whether a file's name matches a pattern, with or without its study and its ending."""

    def matches(part: str, job: Job) -> bool:
        stem = job.file.removesuffix(".h5")
        names = (job.file, stem, f"{part}/{job.file}", f"{part}/{stem}")
        return any(fnmatchcase(one, only) for one in names)

    files = [(part, job) for part, study in chosen.studies.items() for job in jobs(study)]
    if not any(matches(part, job) for part, job in files):
        part, job = files[0]
        raise UsageError(
            f"no file of the experiment matches {only!r}.",
            why=f"there are {len(files)}: {part}/{job.file}, ...",
            fix="a pattern has * for whatever stands there: only='sgd-*' (--only 'sgd-*'); "
            "biasgpu reproduce NAME --plan --json lists all files.",
        )
    return matches
