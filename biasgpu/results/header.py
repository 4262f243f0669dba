"""The first line of a results file: what it is, and a checksum over all that never changes.

HDF5 leaves the first bytes of a file to its user (the user block). Here they hold one line of JSON
that can be checked without HDF5, so that a damaged or foreign file is refused before the HDF5
library, which was not made for hostile input, sees any of it.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from biasgpu.errors import DamagedFileError

FORMAT = "biasgpu-run"
FORMAT_VERSION = 2  # the newest; a file names the first that describes it
HEADER_BYTES = 2048
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Header:
    """The user block, decoded.

    Args:
        size_bytes: the size of the whole file.
        regions: dataset name to `(offset, length)` in bytes: the parts that commits write to. All
            other bytes never change after the file is made.
        crc32: over the bytes outside the header and outside the regions.
        version: of the format.
    """

    size_bytes: int
    regions: dict[str, tuple[int, int]]
    crc32: int
    version: int = 1

    def encode(self) -> bytes:
        """The block of `HEADER_BYTES` bytes."""
        line = json.dumps(
            {
                "format": FORMAT,
                "format_version": self.version,
                "size_bytes": self.size_bytes,
                "crc32": self.crc32,
                "regions": {name: list(region) for name, region in self.regions.items()},
            }
        ).encode()
        if len(line) >= HEADER_BYTES:
            raise AssertionError(f"the header takes {len(line)} bytes of {HEADER_BYTES}")
        return line.ljust(HEADER_BYTES - 1) + b"\n"


def make_header(
    file: BinaryIO, size_bytes: int, regions: dict[str, tuple[int, int]], version: int = 1
) -> Header:
    """The header of a file whose structure is complete.

    Args:
        file: open for reading.
        size_bytes: its size.
        regions: what commits will write to.
        version: of the format.
    """
    return Header(size_bytes, regions, _crc_outside(file, size_bytes, regions), version)


def read_header(file: BinaryIO, path: Path) -> Header:
    """Decode the header and check the file against it.

    Args:
        file: open for reading.
        path: its name, for errors.

    Raises:
        DamagedFileError: foreign, newer, truncated or changed.
    """
    file.seek(0)
    block = _read_exactly(file, HEADER_BYTES)
    values = _parse(block, path)
    version = values.get("format_version")
    if type(version) is not int or version < 1:
        raise damaged(path, "its header has no format version")
    if version > FORMAT_VERSION:
        raise DamagedFileError(
            f"{path} has format version {version}.",
            why=f"this biasgpu reads versions up to {FORMAT_VERSION}.",
            fix="install a newer biasgpu: pip install -U biasgpu",
        )
    size, regions, crc = values.get("size_bytes"), values.get("regions"), values.get("crc32")
    if type(size) is not int or type(crc) is not int or not isinstance(regions, dict):
        raise damaged(path, "its header is incomplete")
    actual = file.seek(0, os.SEEK_END)
    if actual != size:
        raise damaged(path, f"it has {actual} bytes and should have {size}")
    header = Header(size, {k: _region(v, size, path) for k, v in regions.items()}, crc, version)
    ends = HEADER_BYTES
    for offset, length in sorted(header.regions.values()):
        if length and offset < ends:
            raise damaged(path, "its header names regions that overlap")
        ends = max(ends, offset + length)
    if _crc_outside(file, size, header.regions) != crc:
        raise damaged(path, "its checksum does not match")
    return header


def damaged(path: Path, what: str) -> DamagedFileError:
    """The error for a results file that is not as it was written."""
    return DamagedFileError(
        f"{path} is damaged: {what}.",
        why="a results file is written by biasgpu alone, and every part of it has a checksum.",
        fix="use a copy or a backup (.bak), or run again: the same settings give the same fits.",
    )


def _parse(block: bytes, path: Path) -> dict[str, Any]:
    if not block:
        raise damaged(path, "it is empty")
    try:
        values = json.loads(block)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict) and values.get("format") == FORMAT:
        return values
    if block.startswith(b'{"format": "' + FORMAT.encode()[:4]):
        raise damaged(path, "its header cannot be read")
    kind = "an HDF5 file of another program" if _is_hdf5(block) else "not a biasgpu results file"
    raise DamagedFileError(
        f"{path} is {kind}.",
        why=f"a results file begins with a line that names the format {FORMAT!r}.",
        fix="give the file that `biasgpu sample -o` or `sample(..., output=...)` wrote.",
    )


def _is_hdf5(block: bytes) -> bool:
    return any(block[at : at + 8] == _HDF5_SIGNATURE for at in (0, 512, 1024))


def _region(value: Any, size: int, path: Path) -> tuple[int, int]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(type(v) is not int or v < 0 for v in value)
        or sum(value) > size
    ):
        raise damaged(path, "its header names regions outside the file")
    return value[0], value[1]


def _crc_outside(file: BinaryIO, size: int, regions: dict[str, tuple[int, int]]) -> int:
    crc, position = 0, HEADER_BYTES
    for offset, length in [*sorted(r for r in regions.values() if r[1]), (size, 0)]:
        file.seek(position)
        while position < offset:
            block = file.read(min(_BLOCK, offset - position))
            if not block:
                return -1
            crc = zlib.crc32(block, crc)
            position += len(block)
        position = offset + length
    return crc


def _read_exactly(file: BinaryIO, length: int) -> bytes:
    data = b""
    while len(data) < length:
        block = file.read(length - len(data))
        if not block:
            break
        data += block
    return data
