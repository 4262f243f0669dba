"""A digest of all sources of this trainer: see `biasgpu.engines.cpu.digest`."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import biasgpu.training.batch_norm
from biasgpu.training.cpu.digest import trainer_digest


@cache
def planes_digest() -> int:
    """64 bits over every source file that ends up in the trainer's machine code."""
    files = [
        *sorted(Path(__file__).parent.glob("*.py")),
        Path(biasgpu.training.batch_norm.__file__),
    ]
    digest = hashlib.sha256(trainer_digest().to_bytes(8, "little"))
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")


def kind() -> str:
    """The name under which the engine's digest notes that this was compiled."""
    return f"train-planes-{planes_digest():016x}"
