"""Arrays from an `.npz` file of unknown origin: no pickles, no false sizes, bounded memory."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from biasgpu.data.files import damaged, expect_end, read_exactly, reading
from biasgpu.errors import UsageError

MAX_BYTES = 4 << 30
MAX_MEMBERS = 1000


def read_npz(
    path: str | Path,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    *,
    max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray[Any, Any]]:
    """The named arrays of an `.npz` file.

    Their declared sizes are added up and checked before memory is taken, and no object is ever
    unpickled. Other members are left alone.

    Args:
        path: the file.
        required: arrays that must be there.
        optional: arrays that may be there.
        max_bytes: the most that all of them may take together.

    Returns:
        Arrays by name.

    Raises:
        UsageError: no such file, a required array is missing, arrays of objects, or too large.
        DamagedFileError: not a zip archive, corrupt, or sizes that do not agree.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}.",
            why="a name that ends in .npz is a file of your own.",
            fix="check the path; numpy.savez(path, x_train=..., y_train=..., x_test=..., "
            "y_test=...) writes one.",
        )
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            return _read(archive, path, required, optional, max_bytes)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:  # NotImplementedError (unknown compression) is a RuntimeError.
        raise damaged(path, f"this is no readable .npz file ({error})") from None


def _read(
    archive: zipfile.ZipFile,
    path: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...],
    max_bytes: int,
) -> dict[str, np.ndarray[Any, Any]]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise damaged(path, f"{len(members)} members", why=f"at most {MAX_MEMBERS} are read.")
    names = [member.filename for member in members]
    missing = [name for name in required if f"{name}.npy" not in names]
    if missing:
        held = ", ".join(name.removesuffix(".npy") for name in names[:10]) or "nothing"
        raise UsageError(
            f"{path} lacks {', '.join(missing)}.",
            why=f"it holds {held}.",
            fix="numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...) writes one.",
        )
    wanted = [name for name in (*required, *optional) if f"{name}.npy" in names]
    left = max_bytes
    # All headers first: nothing is read before the sum of sizes is known to be allowed.
    for name in wanted:
        if names.count(f"{name}.npy") > 1:
            raise damaged(path, f"{name} is there twice")
        with archive.open(f"{name}.npy") as stream:
            shape, _, dtype = _header(stream, path, name)
            left -= math.prod(shape) * dtype.itemsize
        if left < 0:
            raise UsageError(
                f"the arrays of {path} take more than {max_bytes} bytes.",
                why="the limit guards against files that declare more than there is.",
                fix="raise the limit: biasgpu.task_from_npz(path, max_bytes=...).",
            )
    arrays = {}
    for name in wanted:
        with archive.open(f"{name}.npy") as stream:
            shape, fortran, dtype = _header(stream, path, name)
            size = math.prod(shape) * dtype.itemsize
            data = read_exactly(stream, size, path, f"{name} of shape {shape}")
            expect_end(stream, path, f"{name} of shape {shape}")
        order = "F" if fortran else "C"
        arrays[name] = np.frombuffer(bytes(data), dtype=dtype).reshape(shape, order=order)
    return arrays


def _header(
    stream: IO[bytes], path: Path, name: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        # Version 3 differs from 2 only for records with names outside Latin-1, not read here.
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran, dtype = read[npy.read_magic(stream)](stream)
    # A header is Python text; a hostile one can fail in any way whatever.
    except Exception as error:
        raise damaged(path, f"{name} has no readable .npy header ({error})") from None
    if dtype.hasobject:
        raise UsageError(
            f"{name} of {path} holds objects.",
            why="they are pickled Python, and loading them would run it.",
            fix=f"save it as numbers: numpy.savez(..., {name}=numpy.array(..., dtype=...)).",
        )
    if dtype.kind not in "biufUS" or dtype.itemsize < 1:
        raise UsageError(
            f"{name} of {path} has dtype {dtype}.",
            why="arrays hold numbers, or text for labels.",
            fix=f"save it as numbers or texts: {name}.astype('float32'), labels by astype(str).",
        )
    if min(shape, default=0) < 0:
        raise damaged(path, f"{name} has shape {shape}")
    return shape, fortran, dtype
