"""The study folder: its definition, its problems and its lock. See `docs/studies.md`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from biasgpu.errors import BiasgpuError, DamagedFileError, RefusedError, UsageError
from biasgpu.results.lock import WriterLock
from biasgpu.results.paths import beside, cannot_read, cannot_write, make_folder, publish
from biasgpu.study.definition import Study
from biasgpu.study.updates import FREE, GROWING, differences, extended

FORMAT = "biasgpu-study"
FORMAT_VERSION = 1
DEFINITION, PROBLEMS = "study.json", "problems.json"
_MAX_BYTES = 1 << 24
_MEND = "free some space, or change the folder's permissions"


def read_definition(folder: Path) -> Study:
    """The definition in a study folder.

    Raises:
        UsageError: there is no such folder.
        DamagedFileError: it holds no study, or one that is damaged or of a newer biasgpu.
    """
    path = folder / DEFINITION
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}.",
            why="a study is a folder.",
            fix=f"check the path; biasgpu compare -o {folder}, biasgpu.compare(..., output=...) "
            "make one.",
        )
    if not path.exists():
        raise DamagedFileError(
            f"{folder} holds no study: it has no {DEFINITION}.",
            why="that file says what the study is about.",
            fix="check the path; biasgpu compare -o FOLDER, biasgpu.compare(..., output=...) make "
            "studies.",
        )
    values = _read(path)
    version = values.get("format_version")
    if values.get("format") != FORMAT or type(version) is not int:
        raise _damaged(path, f'it does not say "format": "{FORMAT}"')
    if version > FORMAT_VERSION:
        raise DamagedFileError(
            f"{path} has format version {version}.",
            why=f"this biasgpu reads versions up to {FORMAT_VERSION}.",
            fix="install a newer biasgpu: pip install -U biasgpu",
        )
    try:
        return Study.from_config(values["definition"])
    except KeyError:
        raise _damaged(path, "it has no definition") from None
    except UsageError as error:
        raise _damaged(path, error.what.rstrip(".")) from error


def lock(folder: Path) -> WriterLock:
    """The writer's lock on the folder, which is made if it is not there.

    Raises:
        RefusedError: another process is at work on the study, or `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RefusedError(
            f"{folder} exists, and is no folder.",
            why="a study is a folder, and a file is never replaced by one.",
            fix="choose another name (-o other/, output='other/').",
        )
    make_folder(folder)
    try:
        return WriterLock(folder / DEFINITION, shown=folder)
    except RefusedError as error:
        raise RefusedError(
            error.what,
            why="one process at a time works on a study.",
            fix="wait for it, stop it, or make another study (-o other/, output='other/').",
        ) from error


def settle(folder: Path, study: Study, *, extend: bool) -> Study:
    """Write the definition, or hold it against the one that is there; the caller has the lock.

    Args:
        folder: exists.
        study: what is asked for.
        extend: add what is asked for to what is there.

    Returns:
        what is to be done.

    Raises:
        RefusedError: the folder holds another study, or files that are no study.
        BiasgpuError: it cannot be written.
    """
    path = folder / DEFINITION
    if not path.exists():
        others = [name for name in os.listdir(folder) if not name.startswith((DEFINITION, "."))]
        if others:
            raise RefusedError(
                f"{folder} is no study, and is not empty: it holds {sorted(others)[0]}.",
                why="a study has its folder to itself.",
                fix="choose another folder (-o other/, output='other/').",
            )
        _write(path, study, new=True)
        return study
    old = read_definition(folder)
    wanted = extended(old, study) if extend else study
    wanted = replace(wanted, data_dir=study.data_dir or old.data_dir)
    differing = differences(old, wanted, free=(*FREE, *(GROWING if extend else ())))
    if differing:
        hint = (
            "--extend (extend=True) adds data seeds, architectures, priors, initialisations, N "
            "or kept epochs to a study, "
        )
        raise RefusedError(
            f"{folder} holds another study: {'; '.join(differing)}.",
            why="a folder holds one study, and its files are what its definition says.",
            fix=f"write to another folder (-o other/, output='other/'), {'' if extend else hint}"
            f"or go on with the stored one: biasgpu compare --resume {folder}",
        )
    if wanted != old:
        _write(path, wanted, new=False)
    return wanted


def read_problems(folder: Path) -> dict[str, dict[str, str]]:
    """By file name, why a file could not be made: `what`, `why`, `fix`, `kind`.

    Raises:
        DamagedFileError: the list is damaged.
    """
    path = folder / PROBLEMS
    if not path.exists():
        return {}
    values = _read(path)
    if not all(
        isinstance(one, dict) and isinstance(one.get("what"), str) for one in values.values()
    ):
        raise _damaged(path, "its entries do not say what happened")
    return values


def write_problems(folder: Path, problems: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the list as a whole.

    Raises:
        BiasgpuError: it cannot be written.
    """
    path = folder / PROBLEMS
    if problems or path.exists():
        _replace(path, {name: dict(problems[name]) for name in sorted(problems)})


def problem_of(error: BaseException) -> dict[str, str]:
    """An error as it is kept in the list."""
    if isinstance(error, BiasgpuError):
        return {
            "what": error.what,
            "why": error.why,
            "fix": error.fix,
            "kind": type(error).__name__,
        }
    return {
        "what": f"{type(error).__name__}: {error}".strip(),
        "why": "it was not foreseen.",
        "fix": "repeat the command with --debug and report what it prints.",
        "kind": type(error).__name__,
    }


def _write(path: Path, study: Study, *, new: bool) -> None:
    from biasgpu import __version__

    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "biasgpu": __version__,
        "definition": study.to_config(),
    }
    _replace(path, values, new=new)


def _replace(path: Path, values: Mapping[str, Any], *, new: bool = False) -> None:
    temporary = beside(path, ".tmp")
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if new:
            publish(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        found = cannot_write(path, error)
        found.fix = f"{_MEND}, then go on with: biasgpu compare --resume {path.parent}"
        raise found from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES)
    except OSError as error:
        raise cannot_read(path, error) from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is not JSON") from error
    if not isinstance(values, dict):
        raise _damaged(path, "it holds no JSON object")
    return values


def _damaged(path: Path, reason: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path} is damaged, or not of a study: {reason}.",
        why="a study is what that file says.",
        fix="get it again from its source; the results files beside it open on their own "
        "(biasgpu show, biasgpu.open).",
    )
