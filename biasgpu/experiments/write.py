"""Files that are made anew from results: replaced as a whole, and never over what is not ours.

A small list beside them holds the checksum of what was written last. A file with another checksum
was changed by someone: it is kept as a backup before the new one takes its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from biasgpu.results.paths import beside, cannot_write, keep_backup, make_folder

LEDGER = "outputs.json"


class Outputs:
    """What is written into the folder of an experiment.

    Args:
        folder: of the experiment.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = _ledger(folder / LEDGER)
        self.written: list[Path] = []
        self.kept_aside: list[Path] = []

    def put(self, name: str, content: bytes) -> Path:
        """Write a file, unless it is there with this content.

        Args:
            name: relative to the folder, with slashes.
            content: of the whole file.

        Returns:
            its path.

        Raises:
            BiasgpuError: it cannot be written.
        """
        path = self._folder / name
        make_folder(path.parent)
        before = path.read_bytes() if path.is_file() else None
        if before != content:
            if before is not None and self._known.get(name) != _checksum(before):
                self.kept_aside.append(keep_aside(path))
            # Noted first: between the two, the file is still the old one, which was ours or kept.
            self._note(name, content)
            replace_bytes(path, content)
        elif self._known.get(name) != _checksum(content):
            self._note(name, content)
        self.written.append(path)
        return path

    def _note(self, name: str, content: bytes) -> None:
        self._known[name] = _checksum(content)
        known = {key: self._known[key] for key in sorted(self._known)}
        text = json.dumps(known, indent=2, ensure_ascii=False) + "\n"
        replace_bytes(self._folder / LEDGER, text.encode())


def keep_aside(path: Path) -> Path:
    """Keep a file under the first free name of `.bak`, `.bak1`, ...

    Raises:
        BiasgpuError: it cannot be.
    """
    try:
        return keep_backup(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole: at no moment is there half of it.

    Raises:
        BiasgpuError: it cannot be written.
    """
    temporary = beside(path, ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        found = cannot_write(path, error)
        found.fix = (
            "free some space, or change the folder's permissions, and repeat the command "
            f"(biasgpu report {path.parent}, biasgpu.report(...))."
        )
        raise found from error


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _ledger(path: Path) -> dict[str, str]:
    """What is known; a list that is lost or damaged makes every file somebody else's."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(value, str)}
