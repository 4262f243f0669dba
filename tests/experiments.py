"""A small experiment, and what of its outputs must not depend on how it was made."""

from __future__ import annotations

import re
from pathlib import Path

SMALL = """# Narrow beside wide.
title = "Wider & <better>"
claims = ["wider is better for SGD"]

[study]
data = "kink"
arch = "mlp"
widths = [4, 6]
depths = [1]
bias = "prior"
data_seeds = [1]
n_train = 4
n = [4]
fits = 10
trained = 8
networks = 80
candidates = 20000
time_s = inf
epochs = 10
learning_rate = {kaiming-uniform = 0.2}
seed = 5

[[figure]]
kind = "histogram"
n = 4
"""
N_FILES = 4


def write(folder: Path, text: str = SMALL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def timeless(page: str) -> str:
    """A report without the times in it."""
    return re.sub("<time>[^<]*</time>", "", page)


def contents(folder: Path) -> dict[str, bytes]:
    """Figures and report of an experiment, times aside."""
    found = {path.name: path.read_bytes() for path in sorted((folder / "figures").iterdir())}
    found["report.html"] = timeless((folder / "report.html").read_text()).encode()
    return found
