"""Reading files that may be damaged or hostile, with memory bounded by what they declare."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from biasgpu.errors import BiasgpuError, DamagedFileError

CHUNK_BYTES = 1 << 20


class Readable(Protocol):
    """Anything with `read`."""

    def read(self, size: int, /) -> bytes: ...


def damaged(path: Path | str, what: str, *, why: str = "", fix: str = "") -> DamagedFileError:
    """The error for a file that is not what it should be."""
    return DamagedFileError(
        f"{path}: {what}.",
        why=why or "the file is truncated, corrupt, or of another kind.",
        fix=fix or "get the file again from its source.",
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong while `path` is read into errors that name it.

    Raises:
        DamagedFileError: the compression is corrupt or ends early.
        BiasgpuError: the system will not read the file.
    """
    try:
        yield
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, f"the compressed data are corrupt ({error})") from None
    except EOFError:
        raise damaged(path, "the compressed data end early") from None
    except OSError as error:
        raise BiasgpuError(
            f"{path} cannot be read: {error.strerror or error}.",
            why="the operating system refused.",
            fix="check that the file is there and that you may read it.",
        ) from None


def read_exactly(stream: Readable, size: int, path: Path | str, what: str) -> bytearray:
    """`size` bytes, taken in chunks, so that a false size costs no more memory than there is data.

    Raises:
        DamagedFileError: the stream ends before.
    """
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(CHUNK_BYTES, size - len(data)))
        if not chunk:
            raise damaged(path, f"{what}: {size} bytes declared, {len(data)} found")
        data += chunk
    return data


def expect_end(stream: Readable, path: Path | str, what: str) -> None:
    """Refuse a stream that goes on; also makes gzip check its checksum.

    Raises:
        DamagedFileError: there is at least one byte more.
    """
    if stream.read(1):
        raise damaged(path, f"{what}: more data than declared")


class BoundedReader:
    """Reads from `stream`, and refuses to go beyond `limit` bytes in all: a decompression bomb.

    Args:
        stream: what to read.
        limit: the most bytes it may yield.
        path: for the error.
    """

    def __init__(self, stream: Any, limit: int, path: Path) -> None:
        self._stream = stream
        self._left = limit
        self._limit = limit
        self._path = path

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes.

        Raises:
            DamagedFileError: the limit is passed.
        """
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise damaged(
                self._path,
                f"unpacks to more than {self._limit} bytes",
                why="the official file is far smaller: this one is another, or a trap.",
            )
        return data


def checksums(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 (hex) of a file.

    Raises:
        BiasgpuError: it cannot be read.
    """
    # MD5 is what the data sets' publishers state; it serves to recognise, not to protect.
    md5 = hashlib.md5(usedforsecurity=False)
    sha256 = hashlib.sha256()
    with reading(path), path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            md5.update(chunk)
            sha256.update(chunk)
    return {"md5": md5.hexdigest(), "sha256": sha256.hexdigest()}
