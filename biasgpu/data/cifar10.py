"""CIFAR-10 from its official archives, packed or unpacked.

Nothing is ever extracted to disk: the members whose exact names are expected are read into memory,
all others are passed over, and an archive with a path or link that could lead out of it is refused.
"""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from biasgpu.data.files import (
    CHUNK_BYTES,
    BoundedReader,
    Readable,
    damaged,
    expect_end,
    read_exactly,
    reading,
)
from biasgpu.data.pickled import ROW_BYTES, read_batch

PYTHON_FOLDER = "cifar-10-batches-py"
BINARY_FOLDER = "cifar-10-batches-bin"
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCH = "test_batch"
BATCHES = (*TRAIN_BATCHES, TEST_BATCH)
RECORD_BYTES = 1 + ROW_BYTES

# An official batch has 30.7 to 31.1 million bytes, an official archive unpacks to 186 million.
MAX_BATCH_BYTES = 1 << 25
MAX_ARCHIVE_BYTES = 1 << 28
MAX_MEMBERS = 100

Images = npt.NDArray[np.uint8]
Split = tuple[Images, Images, Images, Images]


def batch_files(folder: str) -> tuple[str, ...]:
    """The names of the batches inside `cifar-10-batches-py` or `cifar-10-batches-bin`."""
    return tuple(name + (".bin" if folder == BINARY_FOLDER else "") for name in BATCHES)


def read_cifar10(path: str | Path) -> Split:
    """CIFAR-10 from an archive (`cifar-10-*.tar.gz`) or an unpacked folder (`cifar-10-batches-*`).

    Args:
        path: the archive or the folder; the folder's name tells its kind.

    Returns:
        Training images uint8 `(n, 3, 32, 32)`, training labels uint8 `(n,)`, test images, test
        labels; training batches in the order 1 to 5.

    Raises:
        DamagedFileError: corrupt, truncated, foreign or hostile, or a batch is missing.
        BiasgpuError: it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        folder = BINARY_FOLDER if (path / f"{TEST_BATCH}.bin").exists() else PYTHON_FOLDER
        raw = {name: _read_file(path / name) for name in batch_files(folder)}
    else:
        folder, raw = _read_archive(path)
    decode = _read_binary if folder == BINARY_FOLDER else read_batch
    parts = [decode(raw.pop(name), f"{path}: {name}") for name in batch_files(folder)]
    x_train = np.concatenate([images for images, _ in parts[:-1]])
    y_train = np.concatenate([labels for _, labels in parts[:-1]])
    return x_train, y_train, *parts[-1]


def _read_file(path: Path) -> bytes:
    with reading(path), path.open("rb") as stream:
        size = path.stat().st_size
        _check_size(size, path, path.name)
        data = bytes(read_exactly(stream, size, path, path.name))
        expect_end(stream, path, path.name)
        return data


def _check_size(size: int, path: Path, name: str) -> None:
    if size > MAX_BATCH_BYTES:
        limit = f"a batch has {MAX_BATCH_BYTES} at most."
        raise damaged(path, f"{name} has {size} bytes", why=limit)


def _read_archive(path: Path) -> tuple[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {PYTHON_FOLDER: {}, BINARY_FOLDER: {}}
    try:
        with reading(path), gzip.open(path) as unpacked:
            bounded = cast(Any, BoundedReader(unpacked, MAX_ARCHIVE_BYTES, path))
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for count, member in enumerate(archive):
                    if count >= MAX_MEMBERS:
                        raise damaged(path, f"more than {MAX_MEMBERS} members")
                    _read_member(archive, member, path, found)
            while bounded.read(CHUNK_BYTES):
                pass  # To the end, so that gzip checks its checksum.
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise damaged(path, f"this is no tar archive ({error})") from None
    folder = max(found, key=lambda name: len(found[name]))
    missing = [name for name in batch_files(folder) if name not in found[folder]]
    if missing:
        raise damaged(
            path,
            f"it lacks {', '.join(f'{folder}/{name}' for name in missing)}",
            why="an official archive holds five training batches and a test batch.",
        )
    return folder, found[folder]


def _read_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: Path,
    found: dict[str, dict[str, bytes]],
) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        what = f"member {member.name!r} leads out of the archive"
        raise damaged(path, what, why="no official archive does; this may be a trap.")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise damaged(
            path,
            f"member {member.name!r} is a link, a device or sparse",
            why="an official archive holds plain files and folders only.",
        )
    folder = str(name.parent)
    if not member.isreg() or folder not in found or name.name not in batch_files(folder):
        return
    if name.name in found[folder]:
        raise damaged(path, f"member {member.name!r} is there twice")
    _check_size(member.size, path, member.name)
    stream = cast(Readable, archive.extractfile(member))
    found[folder][name.name] = bytes(read_exactly(stream, member.size, path, member.name))


def _read_binary(data: bytes, path: Path | str) -> tuple[Images, Images]:
    """Records of a label byte, then 1,024 red, 1,024 green and 1,024 blue bytes."""
    if len(data) % RECORD_BYTES:
        raise damaged(path, f"{len(data)} bytes", why=f"a record has {RECORD_BYTES} bytes.")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0]
    if len(labels) and labels.max() > 9:
        raise damaged(path, f"a label is {labels.max()}", why="labels are 0 to 9.")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels
