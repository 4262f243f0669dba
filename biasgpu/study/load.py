"""A study from its folder: its definition, its cells, how far it is, and what it says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biasgpu.errors import BiasgpuError
from biasgpu.results import read_status
from biasgpu.study import folder as folders
from biasgpu.study.cells import Cell
from biasgpu.study.definition import Study
from biasgpu.study.jobs import Job, jobs
from biasgpu.study.reading import read_cells
from biasgpu.study.table import describe, table


@dataclass(frozen=True, eq=False, repr=False)
class StudyFolder:
    """A study as it is stored; also while it is being made.

    Attributes:
        path: the folder.
        definition: what the study is about.
    """

    path: Path
    definition: Study

    @property
    def jobs(self) -> list[Job]:
        """Its files, in the order in which they are made."""
        return jobs(self.definition)

    def cells(self) -> list[Cell]:
        """All cells, from the files alone.

        One for each N of each file: also those that are not begun, have no networks or could not be
        made; their `problem` says why. A definition's own order.
        """
        problems = folders.read_problems(self.path)
        return [
            cell
            for job in self.jobs
            for cell in read_cells(
                self.definition, job, self.path, problems.get(job.file, {}).get("what", "")
            )
        ]

    def problems(self) -> dict[str, dict[str, str]]:
        """By file name, why a file could not be made: `what`, `why`, `fix`, `kind`."""
        known = {job.file for job in self.jobs}
        found = folders.read_problems(self.path)
        return {name: problem for name, problem in found.items() if name in known}

    def status(self) -> dict[str, Any]:
        """How far it is, from a small file that is written between cells.

        Returns:
            JSON-able: `state` ("running", "finished", "interrupted", "failed", "killed", or
            "not begun"), `n_jobs`, `n_done`, `n_problems`, `current` (a file), `elapsed_s`,
            `remaining_s`.
        """
        try:
            return read_status(self.path / folders.DEFINITION)
        except BiasgpuError:  # it was never begun, or the file was lost
            return {"state": "not begun", "n_jobs": len(self.jobs), "n_done": 0}

    def verdict(self, cells: list[Cell] | None = None) -> Any:
        """What the cells say of the published claims; see `biasgpu.study.verdict`.

        Args:
            cells: those that `cells()` gave, where they are at hand.
        """
        from biasgpu.study.verdict import verdict

        return verdict(self.cells() if cells is None else cells)

    def summary(self, cells: list[Cell] | None = None) -> dict[str, Any]:
        """The whole study but for the networks, JSON-able.

        Args:
            cells: those that `cells()` gave, where they are at hand.

        Returns:
            `path`, `definition`, `status`, `problems`, `table` (see `biasgpu.study.table`), `cells`
            and `verdict`.
        """
        cells = self.cells() if cells is None else cells
        return {
            "path": os.fspath(self.path),
            "definition": self.definition.to_config(),
            "status": self.status(),
            "problems": self.problems(),
            "table": table(cells),
            "cells": [describe(cell) for cell in cells],
            "verdict": self.verdict(cells).to_dict(),
        }

    def __repr__(self) -> str:
        study = self.definition
        return (
            f"StudyFolder({os.fspath(self.path)!r}: {study.task_name}, "
            f"{len(study.architectures)} architectures, {len(study.data_seeds)} data seeds)"
        )


def open_study(path: str | os.PathLike[str]) -> StudyFolder:
    """The study in a folder.

    Args:
        path: the folder.

    Raises:
        UsageError: no such folder.
        DamagedFileError: it holds no study, or its definition is damaged.
    """
    folder = Path(path)
    return StudyFolder(folder, folders.read_definition(folder))
