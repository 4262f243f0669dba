"""The folder of an experiment: its definition, its studies, and what is made of them.

experiment.toml     the definition, with the scale
study/, study-NAME/ the studies, each a folder as docs/studies.md says
figures/, table.csv, table.json, report.html
outputs.json        which of these are biasgpu's own, by checksum
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biasgpu.errors import RefusedError, UsageError
from biasgpu.experiments.data import Chosen, choose
from biasgpu.experiments.definition import Definition
from biasgpu.experiments.text import parse, read
from biasgpu.experiments.write import keep_aside, replace_bytes
from biasgpu.results.paths import make_folder
from biasgpu.study import Study
from biasgpu.study import folder as study_folders
from biasgpu.study.updates import FREE, differences

DEFINITION = "experiment.toml"


def stored_text(folder: Path) -> str:
    """The definition in a folder, as text.

    Raises:
        UsageError: there is no such folder, or no experiment in it.
    """
    if not (folder / DEFINITION).is_file():
        raise UsageError(
            f"{folder} holds no experiment: it has no {DEFINITION}.",
            why="that file says what the experiment is about.",
            fix="check the path; biasgpu reproduce NAME and biasgpu run FILE.toml make such "
            "folders (biasgpu.reproduce, biasgpu.run_definition). A single study is drawn by "
            "biasgpu plot.",
        )
    return read(folder / DEFINITION)


def stored(folder: Path) -> tuple[Definition, dict[str, Study]]:
    """The definition in a folder, and its studies: as they were begun, or as they would be.

    Raises:
        BiasgpuError: they are not there, or damaged.
    """
    definition = parse(stored_text(folder), str(folder / DEFINITION))
    begun = begun_studies(folder, definition)
    studies = choose(definition, begun=begun).studies
    return definition, {name: begun.get(name, study) for name, study in studies.items()}


def check(folder: Path, definition: Definition, chosen: Chosen, *, own: str) -> None:
    """Hold what is asked for against what a folder holds, before anything is changed there.

    Args:
        folder: need not exist.
        definition: what is asked for.
        chosen: its studies here.
        own: how to do the same elsewhere, for the error.

    Raises:
        RefusedError: it holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RefusedError(
            f"{folder} exists, and is no folder.",
            why="an experiment is a folder, and a file is never replaced by one.",
            fix="choose another name (-o other/, output='other/').",
        )
    others = [name for name in os.listdir(folder) if not name.startswith(".")]
    if others and DEFINITION not in others:
        raise RefusedError(
            f"{folder} is no experiment, and is not empty: it holds {sorted(others)[0]}.",
            why="an experiment has its folder to itself.",
            fix="choose another folder (-o other/, output='other/').",
        )
    begun = begun_studies(folder, definition)
    differing = _differing(begun, chosen.studies)
    if others:
        old = parse(stored_text(folder), str(folder / DEFINITION))
        if old.scale != definition.scale and not differing:
            differing = [f"scale is {old.scale:g} in the folder, {definition.scale:g} now"]
        if {part.name for part in old.parts} - {part.name for part in definition.parts}:
            differing.append("it has parts that the definition lacks")
    if differing:
        raise RefusedError(
            f"{folder} holds another experiment: {'; '.join(differing)}.",
            why="a folder holds one experiment, and its files are what its definition says.",
            fix=f"make this one elsewhere: {own}; or go on with the stored one: "
            f"biasgpu run {folder} (biasgpu.run_definition({str(folder)!r})).",
        )


def settle(folder: Path, text: str) -> None:
    """Write the definition, which `check` has passed; another wording is kept as a backup.

    Raises:
        BiasgpuError: it cannot be written.
    """
    make_folder(folder)
    path = folder / DEFINITION
    content = text.encode()
    if path.exists() and path.read_bytes() != content:
        keep_aside(path)
    if not path.exists() or path.read_bytes() != content:
        replace_bytes(path, content)


def begun_studies(folder: Path, definition: Definition) -> dict[str, Study]:
    """The studies of a definition that a folder holds, as they are stored there.

    Raises:
        DamagedFileError: one is damaged.
    """
    found: dict[str, Study] = {}
    for part in definition.parts:
        if (folder / part.name / study_folders.DEFINITION).exists():
            found[part.name] = study_folders.read_definition(folder / part.name)
    return found


def _differing(begun: Mapping[str, Study], wanted: Mapping[str, Study]) -> list[str]:
    said: list[Any] = []
    for name, study in begun.items():
        if name in wanted:
            said += differences(study, wanted[name], free=FREE)
    return list(dict.fromkeys(said))
