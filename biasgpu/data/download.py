"""Downloading official files, with their checksums, into the cache or a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biasgpu.data.datasets import DataSet, Source
from biasgpu.data.files import checksums
from biasgpu.data.locate import download_dir
from biasgpu.errors import BiasgpuError, RefusedError, UsageError

# File name, bytes so far, bytes in all (0 where the server does not say).
Progress = Callable[[str, int, int], None]

TIMEOUT_S = 30


class DownloadError(BiasgpuError):
    """A data set that cannot be downloaded."""


class _Reporter:
    """What pooch takes for a progress bar."""

    def __init__(self, name: str, progress: Progress | None) -> None:
        self.total = 0
        self._name = name
        self._done = 0
        self._progress = progress

    def update(self, n_bytes: int) -> None:
        self._done += n_bytes
        if self._progress is not None:
            done = min(self._done, self.total) if self.total else self._done
            self._progress(self._name, done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def download(
    spec: DataSet, data_dir: str | Path | None = None, progress: Progress | None = None
) -> Path:
    """Get a data set's official files; those already there are kept.

    Args:
        spec: the data set.
        data_dir: a data folder, in which a subfolder is made; the cache if None.
        progress: called with file name, bytes so far, bytes in all.

    Returns:
        The folder that holds them.

    Raises:
        UsageError: a synthetic data set, which has no files.
        RefusedError: another file has the name of an official one.
        DownloadError: no network, or what came is not the official file.
    """
    if not spec.downloads:
        raise UsageError(
            f"{spec.name} has no files to fetch.",
            why="its points are computed when it is used.",
            fix=f"use it as it is: biasgpu.task({spec.name!r}) (--data {spec.name}).",
        )
    folder = download_dir(spec, data_dir)
    # One of the two CIFAR-10 archives is enough.
    sources = spec.downloads[:1] if spec.format == "cifar10" else spec.downloads
    for source in sources:
        _download_file(spec, source, folder, progress)
    return folder


def _download_file(spec: DataSet, source: Source, folder: Path, progress: Progress | None) -> None:
    path = folder / source.name
    if path.exists():
        if checksums(path)["md5"] != source.md5:
            raise RefusedError(
                f"{path} is there, but is not the official file.",
                why="downloading would overwrite it.",
                fix="move it away, or choose another folder with data_dir (--data-dir).",
            )
        return
    failures = []
    for url in source.urls:
        try:
            _retrieve(url, source, folder, progress)
            return
        # Network stacks fail in many ways; every one of them means: try the next address.
        except Exception as error:
            failures.append(f"{url}: {_reason(error)}")
    raise DownloadError(
        f"{source.name} of {spec.name} could not be downloaded.",
        why="\n".join(failures),
        fix=manual_steps(spec, folder),
    )


def _retrieve(url: str, source: Source, folder: Path, progress: Progress | None) -> None:
    import pooch

    # pooch announces each download on stderr, and the library never prints.
    pooch.get_logger().setLevel(logging.WARNING)
    downloader: Any = pooch.HTTPDownloader(
        progressbar=_Reporter(source.name, progress),  # type: ignore[arg-type]
        timeout=TIMEOUT_S,
        # A server that unpacks .gz on the way would change the checksum.
        headers={"Accept-Encoding": "identity"},
    )
    pooch.retrieve(url, f"md5:{source.md5}", fname=source.name, path=folder, downloader=downloader)


def _reason(error: Exception) -> str:
    """What went wrong, without the layers of the network stack."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {TIMEOUT_S} s"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return str(error)


def manual_steps(spec: DataSet, folder: Path) -> str:
    """How to get a data set by hand."""
    one_of = " (one of the two is enough)" if spec.format == "cifar10" else ""
    lines = [f"on a machine with a network, download{one_of}"]
    lines += [f"  {source.urls[0]}" for source in spec.downloads]
    lines += [
        f"and put the files, as they are, into {folder};",
        f"or into any folder DIR, and name it: biasgpu.task({spec.name!r}, data_dir=DIR) "
        "(--data-dir DIR, BIASGPU_DATA_DIR).",
    ]
    return "\n".join(lines)
