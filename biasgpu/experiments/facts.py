"""By what and where the files of an experiment were made, as they say themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import biasgpu
from biasgpu.errors import BiasgpuError
from biasgpu.experiments.stored import Experiment
from biasgpu.study.jobs import jobs


@dataclass(frozen=True)
class Facts:
    """What the files of an experiment have to say of themselves.

    Attributes:
        n_files: that there should be.
        n_complete: of them, those that have as many networks as were asked for.
        elapsed_s: seconds of work, all files together.
        versions: of packages: "biasgpu 0.1.0", ...; all that occur.
        machines: processors and devices.
        engines: what screened and trained.
        data: notes on the data.
    """

    n_files: int
    n_complete: int
    elapsed_s: float
    versions: tuple[str, ...]
    machines: tuple[str, ...]
    engines: tuple[str, ...]
    data: tuple[str, ...]


def facts(experiment: Experiment) -> Facts:
    """Read them from the files; one that cannot be read says nothing, and its cells say why."""
    versions: set[str] = set()
    machines: set[str] = set()
    engines: set[str] = set()
    data: dict[str, None] = {}
    n_files, n_complete, elapsed_s = 0, 0, 0.0
    for name, study in experiment.studies.items():
        for job in jobs(study):
            n_files += 1
            path = experiment.path / name / job.file
            try:
                found = biasgpu.open(path) if path.exists() else None
            except BiasgpuError:
                found = None
            if found is None:
                continue
            wanted = study.trained if job.way == "sgd" else study.fits
            n_complete += found.n_fits >= wanted
            elapsed_s += found.elapsed_s
            session = found.last_session
            way = "guess and check" if job.way == "guess-and-check" else "training"
            engines.add(f"{way}: {_text(session, 'engine')} on {_text(session, 'device')}")
            machines.add(_machine(session))
            versions |= _versions(session)
            data[_data(found.task)] = None
    return Facts(
        n_files,
        n_complete,
        elapsed_s,
        tuple(sorted(versions)),
        tuple(sorted(machines)),
        tuple(sorted(engines)),
        tuple(data),
    )


def _versions(session: Mapping[str, Any]) -> set[str]:
    packages = session.get("versions")
    found = {f"Python {_text(session, 'python')}"}
    if isinstance(packages, Mapping):
        found |= {f"{name} {version}" for name, version in packages.items() if version}
    return found


def _machine(session: Mapping[str, Any]) -> str:
    cores = session.get("n_cpus")
    return f"{_text(session, 'cpu')} ({cores} cores), {_text(session, 'platform')}"


def _text(session: Mapping[str, Any], name: str) -> str:
    return str(session.get(name) or "unknown")


def _data(task: Any) -> str:
    kind, note = task.sources.get("kind", ""), task.sources.get("note", "")
    selection = task.config.get("selection")
    parts = [f"{task.name}: {task.n_test} test samples"]
    if selection == "published":
        parts.append("the very training images of the published study")
    elif selection:
        parts.append("training images chosen by biasgpu's data seeds, not the published ones")
    parts.append(str(note).rstrip(".") or ("official files" if kind == "files" else str(kind)))
    return "; ".join(part for part in parts if part)
