"""Results files: written batch by batch, read while a run goes on, never torn by a crash.

The format is described in `docs/file-format.md`.
"""

from __future__ import annotations

from biasgpu.results.checks import check_config
from biasgpu.results.reader import Stored, read, read_config
from biasgpu.results.status import StatusFile, read_status
from biasgpu.results.store import Store

__all__ = [
    "StatusFile",
    "Store",
    "Stored",
    "check_config",
    "read",
    "read_config",
    "read_status",
]
