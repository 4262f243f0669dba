"""What `biasgpu data` shows and does: list, info, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biasgpu.data import embedded_mnist
from biasgpu.data.datasets import DATASETS, DataSet, dataset
from biasgpu.data.download import Progress, download
from biasgpu.data.locate import cache_dir, describe, locate, user_data_dir


def available(data_dir: str | Path | None = None) -> list[dict[str, Any]]:
    """One entry a data set: name, title, shape, classes, and what is there of its files.

    Args:
        data_dir: where to look; `BIASGPU_DATA_DIR`, then the cache, if None.

    Returns:
        JSON-able. `present` is true when a task can be made without a download; `official` when
        all files have the official checksums, None when none are there.

    Raises:
        UsageError: `data_dir` is not a folder.
    """
    return [_entry(spec, data_dir) for spec in DATASETS.values()]


def info(name: str, data_dir: str | Path | None = None) -> dict[str, Any]:
    """All that is known of one data set, with each of its files.

    Raises:
        UsageError: no such data set, or `data_dir` is not a folder.
    """
    spec = dataset(name)
    entry = _entry(spec, data_dir)
    entry |= {
        "default_classes": list(spec.default_classes),
        "mean": list(spec.mean),
        "std": list(spec.std),
        "n_train": spec.n_train,
        "n_test": spec.n_test,
        "home": spec.home,
        "downloads": [
            {"name": source.name, "md5": source.md5, "urls": list(source.urls)}
            for source in spec.downloads
        ],
    }
    if spec.name == "mnist":
        entry["embedded_subset"] = {
            "n_train": embedded_mnist.N_CLASSES * embedded_mnist.N_TRAIN_PER_CLASS,
            "n_test": embedded_mnist.N_CLASSES * embedded_mnist.N_TEST_PER_CLASS,
            "sha256": dict(embedded_mnist.SHA256),
        }
    return entry


def fetch(
    name: str, data_dir: str | Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Download a data set's official files, if they are not there.

    Args:
        name: the data set.
        data_dir: the folder in which a subfolder is made; the cache if None.
        progress: called with file name, bytes so far, bytes in all.

    Returns:
        The same as `info`, afterwards.

    Raises:
        UsageError: no such data set, or one without files.
        RefusedError: another file is in the way.
        DownloadError: no network, or a wrong checksum; with the manual steps.
    """
    spec = dataset(name)
    folder = user_data_dir(data_dir, must_exist=False)
    there = spec.downloads and (folder is None or folder.is_dir())
    if not (there and _entry(spec, data_dir)["official"]):
        download(spec, data_dir, progress)
    return info(name, data_dir)


def _entry(spec: DataSet, data_dir: str | Path | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": spec.name,
        "title": spec.title,
        "shape": list(spec.shape),
        "classes": list(spec.classes),
        "licence": spec.licence,
        "embedded": spec.name == "mnist",
        "folder": None,
        "files": [],
        "missing": [],
        "official": None,
    }
    complete = not spec.downloads
    if spec.downloads:
        root = user_data_dir(data_dir) or cache_dir() / "data"
        located = locate(spec, root)
        complete = not located.missing
        entry["folder"] = str(located.folder)
        entry["missing"] = list(located.missing)
        entry["files"] = describe(spec, located)
        if located.files:
            entry["official"] = complete and all(row["official"] for row in entry["files"])
    entry["complete"] = complete
    entry["present"] = complete or (entry["embedded"] and user_data_dir(data_dir) is None)
    return entry


def table(entries: list[dict[str, Any]]) -> str:
    """`available()` as lines of text."""
    rows = [("name", "classes", "shape", "here", "what it is")]
    for entry in entries:
        shape = "x".join(map(str, entry["shape"]))
        n_classes = str(len(entry["classes"]))
        rows.append((entry["name"], n_classes, shape, _here(entry), entry["title"]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    )


def text(entry: dict[str, Any]) -> str:
    """`info()` as lines of text."""
    lines = [
        f"{entry['name']}: {entry['title']}",
        "classes:  " + ", ".join(f"{i}: {name}" for i, name in enumerate(entry["classes"])),
        f"default:  {','.join(str(number) for number in entry['default_classes'])}",
        f"shape:    {' x '.join(map(str, entry['shape']))}",
        f"here:     {_here(entry)}",
    ]
    if entry["downloads"]:
        lines += [
            f"official: {entry['n_train']} training and {entry['n_test']} test images",
            f"folder:   {entry['folder']}",
        ]
        lines += [
            f"  {row['name']}: {'official' if row['official'] else 'not the official file'}, "
            f"sha256 {row['sha256']}"
            for row in entry["files"]
        ]
        lines += [f"  {name}: missing" for name in entry["missing"]]
        lines += [f"from:     {source['urls'][0]}" for source in entry["downloads"]]
        lines.append(f"page:     {entry['home']}")
    lines.append(f"licence:  {entry['licence']}")
    return "\n".join(lines)


def _here(entry: dict[str, Any]) -> str:
    if not entry["complete"]:
        return "subset" if entry["present"] else "no"
    return "yes" if entry["official"] is not False else "yes (not official)"
