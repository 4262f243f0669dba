"""Where a data set's files are: the user's data folder, or the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biasgpu.data.cifar10 import BINARY_FOLDER, PYTHON_FOLDER, batch_files
from biasgpu.data.datasets import CIFAR_BINARY, CIFAR_PYTHON, DATASETS, IDX_PARTS, DataSet
from biasgpu.data.files import checksums
from biasgpu.errors import UsageError

DATA_DIR_VARIABLE = "BIASGPU_DATA_DIR"
CACHE_DIR_VARIABLE = "BIASGPU_CACHE_DIR"


@dataclass(frozen=True)
class Located:
    """The files of a data set in one folder.

    Args:
        folder: where they lie.
        files: paths by official name.
        missing: the names that are not there; empty if the data set is complete.
        entry: for CIFAR-10, the archive or unpacked folder to read.
    """

    folder: Path
    files: dict[str, Path]
    missing: tuple[str, ...]
    entry: Path | None = None


def cache_dir() -> Path:
    """Where downloads are kept: `BIASGPU_CACHE_DIR`, or the user's cache folder."""
    chosen = os.environ.get(CACHE_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("biasgpu"))


def download_dir(spec: DataSet, data_dir: str | Path | None = None) -> Path:
    """The folder into which a data set's files are downloaded."""
    root = user_data_dir(data_dir, must_exist=False)
    return (root if root is not None else cache_dir() / "data") / spec.name


def user_data_dir(data_dir: str | Path | None = None, *, must_exist: bool = True) -> Path | None:
    """The folder the user named: `data_dir`, else `BIASGPU_DATA_DIR`, else None.

    Raises:
        UsageError: it is not a folder.
    """
    named = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if must_exist and not folder.is_dir():
        raise UsageError(
            f"the data folder {folder} does not exist.",
            why=f"it was named by data_dir (--data-dir) or {DATA_DIR_VARIABLE}.",
            fix="correct the path, or leave it out to use the cache.",
        )
    return folder


def locate(spec: DataSet, root: Path) -> Located:
    """The files of `spec` under `root`, in its own subfolders first, then in `root` itself.

    All of them must lie in one folder. If none is complete, the fullest is returned.
    """
    folders = [*(root / name for name in spec.folders), root]
    find = _locate_cifar10 if spec.format == "cifar10" else _locate_idx
    # Of equally full ones the last, which is `root`: where a user would look first.
    best = find(root)
    for folder in folders:
        located = find(folder)
        if not located.missing:
            return located
        if len(located.files) > len(best.files):
            best = located
    return best


def _locate_idx(folder: Path) -> Located:
    files = {}
    for part in IDX_PARTS:
        # Some unpackers write a dot where the official name has a dash.
        dotted = part.replace("-idx", ".idx")
        for name in (f"{part}.gz", part, f"{dotted}.gz", dotted):
            if (folder / name).is_file():
                files[part] = folder / name
                break
    missing = tuple(f"{part}.gz" for part in IDX_PARTS if part not in files)
    return Located(folder, files, missing)


def _locate_cifar10(folder: Path) -> Located:
    best = Located(folder, {}, (f"{CIFAR_PYTHON} (or {CIFAR_BINARY})",))
    for archive, unpacked in ((CIFAR_PYTHON, PYTHON_FOLDER), (CIFAR_BINARY, BINARY_FOLDER)):
        if (folder / archive).is_file():
            return Located(folder, {archive: folder / archive}, (), folder / archive)
        for place in (folder / unpacked, folder):
            names = batch_files(unpacked)
            files = {name: place / name for name in names if (place / name).is_file()}
            missing = tuple(name for name in names if name not in files)
            if not missing:
                return Located(place, files, (), place)
            if len(files) > len(best.files):
                best = Located(place, files, missing)
    return best


def describe(spec: DataSet, located: Located) -> list[dict[str, Any]]:
    """Name, path, checksums of each file, and whether it is the official one (JSON-able)."""
    rows = []
    for name, path in located.files.items():
        sums = checksums(path)
        official = sums["md5"] in known_md5s(spec, name)
        rows.append({"name": name, "path": str(path), **sums, "official": official})
    return rows


def known_md5s(spec: DataSet, name: str) -> set[str]:
    """The MD5s, packed or unpacked, of the official file called `name` (with or without .gz)."""
    packed = {source.md5 for source in spec.downloads if source.name in (name, f"{name}.gz")}
    unpacked = spec.unpacked_md5.get(name)
    return packed | ({unpacked} if unpacked else set())


def check_not_another(spec: DataSet, rows: list[dict[str, Any]]) -> None:
    """Refuse files of another data set: those of MNIST and its relatives share their names.

    Raises:
        UsageError: says which data set it is.
    """
    for row in rows:
        for other in DATASETS.values():
            if other is not spec and row["md5"] in known_md5s(other, row["name"]):
                raise UsageError(
                    f"{row['path']} belongs to {other.name}, not to {spec.name}.",
                    why="the files of these data sets have the same names; its checksum tells.",
                    fix=f"put the files of each into a folder of its own: "
                    f"{spec.folders[0]}/, {other.folders[0]}/.",
                )
