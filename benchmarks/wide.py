"""Ten fits at width 100,000, with their test accuracy: what a process of its own takes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

WORK = "deferred-100000"
WIDTH, DEPTH, FITS = 100_000, 2, 10
KIB = 1024  # the unit of VmHWM


@dataclass(frozen=True)
class Row:
    """What the process took.

    Attributes:
        elapsed_s: from its start to its end, imports included.
        peak_bytes: the most memory it had.
        n_fits, test_accuracy: what it found: fits, and their mean accuracy.
    """

    work: str
    elapsed_s: float
    peak_bytes: float
    n_fits: int
    test_accuracy: float


def measure(threads: int, *, width: int = WIDTH, fits: int = FITS) -> Row:
    """Start the process and wait for it. What has to be compiled once should be by now."""
    command = [sys.executable, "-m", "benchmarks.wide", "--threads", str(threads)]
    command += ["--width", str(width), "--fits", str(fits)]
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True, check=True
    )
    elapsed_s = time.perf_counter() - start
    return Row(f"deferred-{width}", elapsed_s, **json.loads(done.stdout))


def _peak_kib() -> int:
    # Not getrusage: its maximum outlives exec, so it may be that of whoever started this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Be the process: sample, and print what was found as JSON."""
    import biasgpu

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--fits", type=int, default=FITS)
    options = parser.parse_args()
    run = biasgpu.sample(
        biasgpu.task("mnist", (7, 0), n_train=16, data_seed=200),
        biasgpu.mlp(width=options.width, depth=DEPTH),
        "kaiming-normal",
        method="deferred",
        fits=options.fits,
        curve_fits=0,
        threads=options.threads,
        seed=1,
    )
    found = {
        "peak_bytes": KIB * _peak_kib(),
        "n_fits": run.n_fits,
        "test_accuracy": float(run.test_accuracy.mean()),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
