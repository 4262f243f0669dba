"""The list of published experiments: what each shows, how large it is, whether it can run here."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from biasgpu.errors import BiasgpuError
from biasgpu.experiments.data import choose
from biasgpu.experiments.names import Published, names, published
from biasgpu.study import Study
from biasgpu.study.jobs import Job, jobs


@dataclass(frozen=True)
class Entry:
    """One experiment in the list.

    Attributes:
        name: as `reproduce` takes it.
        title: what it is about.
        claims: that it tests.
        task: data and classes.
        n_files: results files that it makes.
        n_networks: asked for, at full scale.
        problem: why it cannot be made here; "" if it can.
        note: what is to be known of its data; "" for nothing.
    """

    name: str
    title: str
    claims: tuple[str, ...]
    task: str
    n_files: int | None
    n_networks: int | None
    problem: str
    note: str

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the attributes."""
        return {**asdict(self), "claims": list(self.claims)}


def catalogue(data_dir: str | os.PathLike[str] | None = None) -> list[Entry]:
    """All published experiments.

    Args:
        data_dir: the folder of the data files; None looks where `biasgpu.task` does.
    """
    return [entry(published(name), data_dir) for name in names()]


def entry(one: Published, data_dir: str | os.PathLike[str] | None = None) -> Entry:
    """A published experiment in the list."""
    try:
        definition = one.definition()
    except BiasgpuError as error:  # an architecture, say, that this version does not have
        config = tomllib.loads(one.text)
        reason = error.what.removeprefix(f"{one.name}: ").partition(" Did you mean")[0].rstrip(".")
        return Entry(
            name=one.name,
            title=str(config.get("title", "")),
            claims=tuple(config.get("claims", ())),
            task=_task(config.get("study", {})),
            n_files=None,
            n_networks=None,
            problem=f"not with this version: {reason}",
            note="",
        )
    chosen = choose(definition, data_dir)
    studies = chosen.studies.values()
    return Entry(
        name=one.name,
        title=definition.title,
        claims=definition.claims,
        task=", ".join(dict.fromkeys(study.task_name for study in studies)),
        n_files=sum(len(jobs(study)) for study in studies),
        n_networks=sum(n_networks(study) for study in studies),
        problem=chosen.problem,
        note=chosen.note,
    )


def n_networks(study: Study) -> int:
    """Networks that a study asks for."""
    return sum(asked(study, job) for job in jobs(study))


def asked(study: Study, job: Job) -> int:
    """Networks that are asked for in one file, at every N that it keeps them for."""
    if job.way == "sgd":
        return study.trained
    kept = 1 if study.n == (job.n_train,) else job.n_train // study.n_classes
    return study.fits * kept


def _task(study: Mapping[str, Any]) -> str:
    return f"{study.get('data', 'mnist')} {' vs '.join(map(str, study.get('classes', ())))}".strip()
