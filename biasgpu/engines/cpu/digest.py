"""A digest of the compiled engine's sources, so that machine code kept on disk is never stale.

Numba looks only at the file of the function it caches; what that function calls may have changed.
The digest is a closure variable of the cached functions, which numba makes part of the cache's key.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import biasgpu.margins
import biasgpu.normal
import biasgpu.reference
import biasgpu.rng


@cache
def source_digest() -> int:
    """64 bits over every source file that ends up in the machine code."""
    others = (biasgpu.margins, biasgpu.normal, biasgpu.reference, biasgpu.rng)
    files = sorted(Path(__file__).parent.glob("*.py"))
    files += [Path(str(module.__file__)) for module in others]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")
