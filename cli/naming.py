"""The name of a results file that the user did not name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biasgpu.architectures import Architecture
    from biasgpu.priors import Prior
    from biasgpu.task import Task

FOLDER = Path("runs")


def slug(task: Task, architecture: Architecture, prior: Prior, seed: int) -> str:
    """A readable name: "mnist-7-0-n16-mlp-w512-d2-kaiming-normal-s0"."""
    parts = [Path(task.name).stem, *task.class_names, f"n{task.n_train}", architecture.name]
    parts += [f"{key[0]}{value}" for key, value in architecture.options.items()]
    for setting, default in ((architecture.head, "logits"), (architecture.bias, "zero")):
        if setting != default:
            parts.append(setting if setting == "one-logit" else f"bias-{setting}")
    parts += [str(prior), f"s{seed}"]
    cleaned = (re.sub(r"[^A-Za-z0-9.]+", "-", str(part)).strip("-.") for part in parts)
    return "-".join(part for part in cleaned if part)[:120]


def free_path(name: str, folder: Path = FOLDER) -> Path:
    """`runs/NAME.h5`, or the first of `runs/NAME-2.h5`, ... that does not exist."""
    path, number = folder / f"{name}.h5", 1
    while path.exists() or path.is_symlink():
        number += 1
        path = folder / f"{name}-{number}.h5"
    return path
