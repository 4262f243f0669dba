"""Whether the data of an experiment are at hand, found out without downloading or making a task."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from biasgpu.data.datasets import dataset
from biasgpu.data.locate import cache_dir, describe, locate, user_data_dir
from biasgpu.errors import BiasgpuError
from biasgpu.experiments.definition import Definition
from biasgpu.study import Study
from biasgpu.study.updates import differences


@dataclass(frozen=True)
class Chosen:
    """The studies of an experiment as they can be made here.

    Attributes:
        studies: by the names of their folders.
        problems: by the same names, why a study cannot be made; only of those that cannot.
        note: what is to be known of the data; "" for nothing.
    """

    studies: Mapping[str, Study]
    problems: Mapping[str, str]
    note: str

    @property
    def problem(self) -> str:
        """Why not all of it can be made; "" if it can."""
        return "; ".join(dict.fromkeys(self.problems.values()))


def choose(
    definition: Definition,
    data_dir: str | os.PathLike[str] | None = None,
    begun: Mapping[str, Study] | None = None,
) -> Chosen:
    """The studies of a definition, with what it says `otherwise` where their data are not at hand.

    Args:
        definition: what is asked for.
        data_dir: where the data files lie, if the definition does not say so.
        begun: studies that were begun, by the names of their folders: whichever data these have is
            taken, though others may be at hand by now.

    Raises:
        UsageError: `data_dir` is no folder.
    """
    if data_dir is not None:
        data_dir = Path(data_dir)
        user_data_dir(data_dir)
        data_dir = os.fspath(data_dir.expanduser().resolve())
    studies: dict[str, Study] = {}
    problems: dict[str, str] = {}
    notes: dict[str, None] = {}
    others = definition.studies(replaced=True) if definition.otherwise else {}
    said = ", ".join(f"{name} = {value!r}" for name, value in definition.otherwise)
    for name, first in definition.studies().items():
        study, problem = _placed(first, data_dir), ""
        before = (begun or {}).get(name)
        if before is None:
            problem = lacking(study)
        if name in others:
            other = _placed(others[name], data_dir)
            taken = problem and not lacking(other)
            if before is not None:
                taken = bool(differences(before, study)) and not differences(before, other)
            if taken:
                notes[f"{lacking(study) or 'begun so'}; therefore {said}"] = None
                study, problem = other, ""
        studies[name] = study
        if problem:
            problems[name] = problem
        notes[stand_in(study)] = None
    return Chosen(studies, problems, "; ".join(filter(None, notes)))


def lacking(study: Study) -> str:
    """Why a study's data are not to be had here; "" if they are."""
    if study.data.endswith(".npz"):
        return "" if Path(study.data).is_file() else f"there is no file {study.data}"
    spec = dataset(study.data)
    if spec.format == "synthetic" or (study.source == "embedded" and not _strict(study)):
        return ""
    try:
        folder = user_data_dir(study.data_dir)
    except BiasgpuError as error:
        return error.what.rstrip(".")
    place = cache_dir() / "data" if folder is None else folder
    if locate(spec, place).missing:
        if spec.name == "mnist" and study.source == "auto" and folder is None:
            return "the official files of mnist are not at hand" if _strict(study) else ""
        where = "" if folder is None else f" in {folder}"
        return f"the files of {spec.name} are not at hand{where}"
    if (_strict(study) or study.source == "official") and not _official_files(spec.name, place):
        return f"the files of {spec.name} here are not the whole official ones"
    return ""


def stand_in(study: Study) -> str:
    """A note where the subset of MNIST in the package takes the place of the files."""
    if study.data != "mnist" or lacking(study):
        return ""
    if study.source != "embedded":
        if study.source == "official" or user_data_dir(study.data_dir) is not None:
            return ""
        if not locate(dataset("mnist"), cache_dir() / "data").missing:
            return ""
    return "the data are the subset of MNIST in the package, 300 test images a class"


def _strict(study: Study) -> bool:
    return study.selection == "published"


@lru_cache(maxsize=16)
def _official_files(name: str, place: Path) -> bool:
    spec = dataset(name)
    return all(row["official"] for row in describe(spec, locate(spec, place)))


def _placed(study: Study, data_dir: str | None) -> Study:
    return study if data_dir is None or study.data_dir else replace(study, data_dir=data_dir)
