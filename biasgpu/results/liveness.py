"""Whether the process that a status file tells of is still there."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SILENT_S = 60.0


def signature() -> dict[str, Any]:
    """What a status file says of the process that writes it."""
    return {"pid": os.getpid(), "host": platform.node()}


def gone(status: Mapping[str, Any]) -> bool:
    """Whether the process behind a status of "running" was killed.

    On the same host it was if there is no such process. Of another host, or where a status file
    does not name one, that says little: there it also takes a minute without news.

    Args:
        status: as `biasgpu.results.read_status` gives it.
    """
    pid = status.get("pid")
    if not isinstance(pid, int) or pid < 1 or _is_there(pid):
        return False
    return status.get("host") == platform.node() or _silent_s(status) > SILENT_S


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    # A killed process stays a zombie until its parent asks after it, which some never do.
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except OSError:
        return True
    return state not in (["Z"], ["X"])


def _silent_s(status: Mapping[str, Any]) -> float:
    updated = status.get("updated")
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(updated))).total_seconds()
    except (ValueError, TypeError):
        return 0.0
