"""A digest of all sources of the compiled trainer: see `biasgpu.engines.cpu.digest`."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import biasgpu.packing
import biasgpu.training.recipe
from biasgpu.engines.cpu.digest import source_digest


@cache
def trainer_digest() -> int:
    """64 bits over every source file that ends up in the trainer's machine code."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    files += [Path(str(module.__file__)) for module in (biasgpu.packing, biasgpu.training.recipe)]
    digest = hashlib.sha256(source_digest().to_bytes(8, "little"))
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")


def kind() -> str:
    """The name under which the engine's digest notes that this was compiled."""
    return f"train-{trainer_digest():016x}"
