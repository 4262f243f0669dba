"""`biasgpu` commands in processes of their own, on a small task with many fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import biasgpu
from biasgpu.run import Run

ROOT = Path(biasgpu.__file__).parent.parent
SEED = 6
ARCHITECTURE = biasgpu.mlp(width=4, depth=1, bias="prior")
OPTIONS = [
    *("--data", "kink", "--n-train", "12", "--width", "4", "--depth", "1", "--bias", "prior"),
    *("--prior", "uniform", "--seed", str(SEED), "--engine", "cpu"),
]  # fmt: skip
COLUMNS = ("index", "prefix", "margin", "test_accuracy", "test_accuracy_per_class")


def command(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process that runs `code` with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def read_line(process: subprocess.Popen[str], expected: str) -> None:
    """Wait for a line that it prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != expected + "\n":
        process.kill()
        raise AssertionError((line, *process.communicate()))


def uninterrupted(candidates: int) -> Run:
    """What `biasgpu sample` with `OPTIONS` finds, all in one go."""
    task = biasgpu.task("kink", n_train=12)
    return biasgpu.sample(
        task, ARCHITECTURE, "uniform", seed=SEED, candidates=candidates, engine="cpu"
    )


def assert_same(run: Run, other: Run) -> None:
    """Equal in counts, rows and all that follows from them."""
    assert run.n_draws == other.n_draws
    assert run.prefix_counts.tolist() == other.prefix_counts.tolist()
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(run.fits, name), getattr(other.fits, name))
    assert run.config == other.config
    assert run.curve == other.curve
