"""The status file: how a run is getting on, readable without touching its results."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from biasgpu.errors import BiasgpuError, DamagedFileError
from biasgpu.results.liveness import gone
from biasgpu.results.paths import beside, cannot_read, missing, real

_MAX_BYTES = 1 << 20


class StatusFile:
    """Writes `<path>.status.json`, which is replaced as a whole each time.

    Args:
        path: the results file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _status_path(path)

    def write(self, status: Mapping[str, Any]) -> bool:
        """Replace the status.

        Args:
            status: JSON-able; NumPy scalars are converted, and what is infinite or not a number
                becomes null.

        Returns:
            False where it could not be written (a full disk, say): a run does not fail for that.
        """
        text = json.dumps(_jsonable(status), allow_nan=False, indent=2) + "\n"
        temporary = beside(self.path, ".tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return False
        return True

    def remove(self) -> None:
        """Delete it, if it is there."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def read_status(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The status of the run that writes `path`.

    Args:
        path: the results file (not the status file).

    Returns:
        what the run last wrote, its `state` being "running", "finished", "interrupted" or
        "failed"; or "killed" where it says "running" and its process is gone.

    Raises:
        UsageError: there is neither a status nor the results file.
        BiasgpuError: there is none, or it cannot be read.
        DamagedFileError: it is not a status file.
    """
    place = _status_path(path)
    try:
        with place.open("rb") as file:
            text = file.read(_MAX_BYTES)
    except FileNotFoundError as error:
        if not os.path.lexists(path):
            raise missing(Path(path)) from error
        raise BiasgpuError(
            f"no run has left a status for {os.fspath(path)}.",
            why=f"a run keeps its status in {place.name}, beside its results.",
            fix="check the path; biasgpu show reads the results themselves.",
        ) from error
    except OSError as error:
        raise cannot_read(place, error) from error
    try:
        status = json.loads(text)
    except (ValueError, RecursionError):
        status = None
    if not isinstance(status, dict):
        raise DamagedFileError(
            f"{place} is not a status file.", why="it holds no JSON object.", fix="delete it."
        )
    if status.get("state") == "running" and gone(status):
        status["state"] = "killed"
    return status


def _status_path(path: str | os.PathLike[str]) -> Path:
    return beside(real(path), ".status.json")


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
