"""A digest of the compiled engine's sources, so that machine code kept on disk is never stale.

Numba looks only at the file of the function it caches; what that function calls may have changed.
The digest is a closure variable of the cached functions, which numba makes part of the cache's key.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numba
from llvmlite import binding

import biasgpu.deferred.orthogonal
import biasgpu.deferred.plan
import biasgpu.engines.base
import biasgpu.margins
import biasgpu.normal
import biasgpu.reference
import biasgpu.rng
from biasgpu.data.locate import cache_dir

Result = TypeVar("Result")


@cache
def source_digest() -> int:
    """64 bits over every source file that ends up in the machine code."""
    others = (
        biasgpu.deferred.orthogonal,
        biasgpu.deferred.plan,
        biasgpu.engines.base,
        biasgpu.margins,
        biasgpu.normal,
        biasgpu.reference,
        biasgpu.rng,
    )
    files = sorted(Path(__file__).parent.glob("*.py"))
    files += [Path(str(module.__file__)) for module in others]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")


def compiled(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function` compiled, free of the interpreter's lock, and kept on disk where that can be.

    `function` must have `source_digest()` in a closure variable.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba has found no folder it may write to
        return numba.njit(nogil=True)(function)


def _marker(kind: str) -> Path:
    """An empty file in the user's cache that says: this was compiled here, its code is on disk."""
    machine = f"{numba.__version__}-{binding.get_host_cpu_name()}"
    place = hashlib.sha256(str(Path(__file__).parent).encode()).hexdigest()[:8]
    return cache_dir() / "compiled" / f"{source_digest():016x}-{place}-{machine}-{kind}"


def is_compiled(kind: str = "direct") -> bool:
    """Whether the machine code for a method should be on disk; it only decides on a notice."""
    return _marker(kind).exists()


@cache
def note_compiled(kind: str = "direct") -> None:
    """Remember that the machine code has been made."""
    with contextlib.suppress(OSError):
        _marker(kind).parent.mkdir(parents=True, exist_ok=True)
        _marker(kind).touch()
