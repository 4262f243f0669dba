"""Settings of a study that a person wrote down, in TOML or JSON."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from biasgpu.errors import UsageError, unknown
from biasgpu.results.paths import cannot_read

SUFFIXES = (".toml", ".json")


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a file, as `Study.from_config` takes them, which checks them.

    Raises:
        UsageError: no such file, another ending, or not TOML or JSON.
        BiasgpuError: it cannot be read.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise unknown(
            "kind of settings file", file.suffix, SUFFIXES, fix=f"for example {file.stem}.toml"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise cannot_read(file, error) from error
        text = "\0"  # neither format has it
    try:
        values = tomllib.loads(text) if file.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{file} cannot be read as {file.suffix[1:].upper()}: {error}.",
            why="it says what the study is about.",
            fix='for example, in TOML: arch = "lenet", widths = ["1/6", "4/6"], n_train = 8, '
            "each on a line of its own.",
        ) from error
    if not isinstance(values, dict):
        raise UsageError(
            f"{file} holds no settings.",
            why="each setting has a name.",
            fix='for example, in JSON: {"arch": "lenet", "widths": ["1/6", "4/6"], "n_train": 8}',
        )
    return values
