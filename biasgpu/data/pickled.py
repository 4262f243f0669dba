"""CIFAR-10's pickled batches, read without running anything a pickle asks for.

A pickle is a program. Here only the instructions that build plain data are let through, and the
four names an official batch needs are answered by stand-ins that just keep what they are given;
NumPy's own reconstruction never runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.data.files import damaged
from biasgpu.errors import DamagedFileError

ROW_BYTES = 3 * 32 * 32

_OPCODES = """
    PROTO FRAME STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    APPEND APPENDS SETITEM SETITEMS NONE NEWTRUE NEWFALSE BININT BININT1 BININT2
    SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES SHORT_BINUNICODE BINUNICODE
    BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD
"""


class _Array:
    """Keeps the state of a pickled array."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Dtype:
    """Keeps the code of a pickled dtype."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        pass


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin-1")


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _NAMES[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


def read_batch(
    data: bytes, path: Path | str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The images and labels of one pickled batch.

    Args:
        data: the pickle.
        path: for errors.

    Returns:
        uint8 `(n, 3, 32, 32)` and uint8 `(n,)`.

    Raises:
        DamagedFileError: not such a pickle, or one that asks for anything else.
    """
    try:
        _check_opcodes(data)
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        return _unpack({_text(key): value for key, value in content.items()})
    except DamagedFileError:
        raise
    # A hostile pickle can fail in any way whatever; all of them mean the same.
    except Exception as error:
        raise damaged(
            path,
            f"this is no CIFAR-10 batch ({error})",
            why="a batch is a pickled dictionary with 'data' and 'labels'; nothing else is run.",
        ) from None


def _check_opcodes(data: bytes) -> None:
    """Let through only the instructions that build plain data, with memo numbers in proportion."""
    allowed = frozenset(_OPCODES.split())
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in allowed:
            raise ValueError(f"instruction {opcode.name}")
        # The memo is an array as long as its largest number: one false byte would fill the memory.
        if opcode.name == "LONG_BINPUT" and int(argument) > len(data):  # type: ignore[arg-type]
            raise ValueError(f"memo number {argument}")


def _text(key: Any) -> Any:
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _unpack(content: dict[Any, Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    array, labels = content["data"], content["labels"]
    if not isinstance(array, _Array):
        raise ValueError("'data' is no array")
    _, shape, dtype, fortran, raw = array.state
    if not isinstance(dtype, _Dtype) or dtype.code not in ("u1", "|u1"):
        raise ValueError("'data' are no unsigned bytes")
    if not isinstance(raw, bytes) or not isinstance(labels, list):
        raise ValueError("'data' or 'labels' of another kind")
    if tuple(shape) != (len(labels), ROW_BYTES) or len(raw) != len(labels) * ROW_BYTES:
        raise ValueError(f"{len(labels)} labels, data of shape {shape}, {len(raw)} bytes")
    if not all(type(label) is int and 0 <= label <= 9 for label in labels):
        raise ValueError("a label is not one of 0 to 9")
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")
    return rows.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.uint8)
