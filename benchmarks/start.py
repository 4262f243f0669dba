"""How long `biasgpu sample --width 512` takes to show its first fits, on a terminal.

Once with nothing compiled, and once with what that left on disk.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

COLD, WARM = "deferred-start-cold", "deferred-start"
GIVEN_UP_S = 300.0
_PROGRESS = re.compile(r"\| ([1-9][\d,]*) fits \|")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Row:
    """Seconds from the start of the process to the first line with fits: the median of repeats."""

    work: str
    elapsed_s: float


def measure(threads: int, *, repeats: int = 3, width: int = 512) -> list[Row]:
    """Each repeat with folders of its own for what is compiled: empty at first, then filled."""
    times: dict[str, list[float]] = {COLD: [], WARM: []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for work in (COLD, WARM):
                times[work].append(first_fits_s(Path(folder), threads, width))
    return [Row(work, statistics.median(values)) for work, values in times.items()]


def first_fits_s(folder: Path, threads: int, width: int = 512) -> float:
    """Run the command until it shows a fit, then interrupt it.

    Args:
        folder: for what it compiles, caches and stores.
        threads: CPU threads.
        width: of the hidden layers.

    Raises:
        RuntimeError: it ended, or went on for minutes, without a line with fits.
    """
    command = [sys.executable, "-m", "biasgpu", "sample", "--width", str(width)]
    command += ["--threads", str(threads), "--overwrite", "-o", str(folder / "run.h5")]
    environment = os.environ | {
        "BIASGPU_CACHE_DIR": str(folder / "cache"),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "COLUMNS": "200",  # no line is wrapped
        "TERM": "xterm",
    }
    ours, theirs = pty.openpty()
    start, shown = time.perf_counter(), ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            while not _PROGRESS.search(_COLOURS.sub("", shown)):
                text = _read(ours)
                if text is None or time.perf_counter() - start > GIVEN_UP_S:
                    raise RuntimeError(f"no fits were shown: {shown[-500:]}")
                shown += text
            return time.perf_counter() - start
        finally:
            process.send_signal(signal.SIGINT)
            while _read(ours) is not None:  # else it would wait for someone to read
                pass
            os.close(ours)


def _read(terminal: int) -> str | None:
    """What was written meanwhile, waiting a second at most; None once nobody writes any more."""
    if not select.select([terminal], [], [], 1.0)[0]:
        return ""
    try:
        return os.read(terminal, 1 << 16).decode(errors="replace") or None
    except OSError:  # Linux: the other end was closed
        return None
