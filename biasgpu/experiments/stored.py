"""An experiment as it is stored: its cells, its verdict, and what is made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from biasgpu.errors import UsageError
from biasgpu.experiments import folder as folders
from biasgpu.experiments.data import lacking
from biasgpu.experiments.definition import Definition
from biasgpu.study import Study, StudyFolder
from biasgpu.study.cells import Cell
from biasgpu.study.jobs import jobs
from biasgpu.study.reading import read_cells
from biasgpu.study.tables import Verdict


@dataclass(frozen=True, eq=False, repr=False)
class Experiment:
    """An experiment in its folder; also while it is being made.

    Attributes:
        path: the folder.
        definition: what it is about.
        studies: by the names of their folders.
        outputs: figures, tables and report that the call made which returned this.
        kept_aside: files that somebody had changed, as they are called now.
    """

    path: Path
    definition: Definition
    studies: Mapping[str, Study]
    outputs: tuple[Path, ...] = field(default=())
    kept_aside: tuple[Path, ...] = field(default=())

    @cached_property
    def parts(self) -> dict[str, list[Cell]]:
        """Cells by study, read from the files once; those that are not begun have a problem."""
        return {name: self._cells(name, study) for name, study in self.studies.items()}

    @property
    def cells(self) -> list[Cell]:
        """All cells, in the definition's order."""
        return [cell for cells in self.parts.values() for cell in cells]

    @property
    def problems(self) -> dict[str, dict[str, str]]:
        """By study and file, why a file could not be made: `what`, `why`, `fix`, `kind`."""
        return {
            f"{name}/{file}": problem
            for name, study in self.studies.items()
            if (self.path / name).is_dir()
            for file, problem in StudyFolder(self.path / name, study).problems().items()
        }

    @cached_property
    def verdict(self) -> Verdict | None:
        """What the cells say of the published claims; None where no cell has networks."""
        from biasgpu.study.verdict import verdict

        return verdict(self.cells) if any(cell.n_networks for cell in self.cells) else None

    @property
    def report(self) -> Path:
        """The page, once it is made."""
        return self.path / "report.html"

    def summary(self) -> dict[str, Any]:
        """The whole experiment but for the networks, JSON-able."""
        from biasgpu.study.table import describe, table

        return {
            "path": os.fspath(self.path),
            "title": self.definition.title,
            "scale": self.definition.scale,
            "studies": {name: study.to_config() for name, study in self.studies.items()},
            "problems": self.problems,
            "table": {name: table(cells) for name, cells in self.parts.items()},
            "cells": {name: [describe(one) for one in cells] for name, cells in self.parts.items()},
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "outputs": [os.fspath(path) for path in self.outputs],
        }

    def _cells(self, name: str, study: Study) -> list[Cell]:
        folder = self.path / name
        if folder.is_dir():
            return StudyFolder(folder, study).cells()
        problem = lacking(study)
        return [cell for job in jobs(study) for cell in read_cells(study, job, folder, problem)]

    def __repr__(self) -> str:
        return f"Experiment({os.fspath(self.path)!r}: {self.definition.title})"


def open_experiment(path: str | os.PathLike[str]) -> Experiment:
    """The experiment in a folder.

    Raises:
        UsageError: there is none.
        BiasgpuError: it is damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is a file." if folder.exists() else f"there is no folder {folder}.",
            why="an experiment is a folder.",
            fix="check the path; biasgpu reproduce NAME -o FOLDER makes one "
            "(biasgpu.reproduce(name, output=folder)).",
        )
    return Experiment(folder, *folders.stored(folder))
