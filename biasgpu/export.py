"""Networks of a run as a safetensors file, to be used without biasgpu."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biasgpu.errors import RefusedError, UsageError
from biasgpu.results.paths import beside, cannot_write, make_folder, publish, refuse_folder

if TYPE_CHECKING:
    from biasgpu.run import Run
    from biasgpu.training.trained import Trained

FORMAT = "biasgpu-networks"
MAX_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        indices: the networks in it.
        n_parameters: of each network.
        size_bytes: of the file.
    """

    path: Path
    indices: tuple[int, ...]
    n_parameters: int
    size_bytes: int


def export(
    run: Run | Trained,
    output: str | os.PathLike[str],
    *,
    fits: int | None = None,
    indices: Sequence[int] | None = None,
) -> Exported:
    """Write networks as safetensors: float32 tensors named "<index>/<parameter>".

    The metadata says how to rebuild the module: layers, head, prior, seed, task. From Python,
    `run[0].module()` gives the same network as a `torch.nn.Module`.

    Args:
        run: the run, or trained networks, whose networks they are.
        output: the file to make; never overwritten.
        fits: the first so many fits of the run, by index (fewer if it has fewer).
        indices: candidates by name, instead of `fits`; they need not be fits, but trained
            networks must be among those that were kept.

    Raises:
        UsageError: both or neither of `fits` and `indices`, no networks, one named twice, an index
            that names none, or more than 8 GiB.
        RefusedError: the file exists.
        BiasgpuError: it cannot be written.
    """
    chosen = _chosen(run, fits, indices)
    path = Path(output)
    if path.is_dir():
        raise refuse_folder(path, "fits.safetensors")
    if os.path.lexists(path):
        raise RefusedError(
            f"{path} exists.",
            why="exported networks are never written over another file.",
            fix="write to another file (-o other.safetensors, output=...), or delete this one.",
        )
    networks = [run.network(index) for index in chosen]
    n_parameters = sum(array.size for array in networks[0].weights().values())
    if 4 * n_parameters * len(networks) > MAX_BYTES:
        raise UsageError(
            f"{len(networks)} networks of {n_parameters} parameters take more than "
            f"{MAX_BYTES // 2**30} GiB.",
            why="a safetensors file is put together in memory.",
            fix="export fewer at a time (--fits 10, fits=10).",
        )
    from safetensors.numpy import save_file

    tensors = {
        f"{network.index}/{name}": np.ascontiguousarray(array)
        for network in networks
        for name, array in network.weights().items()
    }
    make_folder(path.parent)
    temporary = beside(path, f".{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, metadata=_metadata(run, chosen))
        publish(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return Exported(path, chosen, n_parameters, path.stat().st_size)


def _chosen(run: Run | Trained, fits: int | None, indices: Sequence[int] | None) -> tuple[int, ...]:
    if (fits is None) == (indices is None):
        raise UsageError(
            "name the networks to export in one way.",
            why="they are the first fits of the run, or those that are named.",
            fix="fits=10 (--fits 10) for the first fits, or indices=[12, 40] (--index 12).",
        )
    if indices is not None:
        chosen = tuple(int(index) for index in indices)
    else:
        if fits is not None and fits < 1:
            raise UsageError(
                f"fits is {fits}; it must be 1 or more.",
                why="a file holds one network at least.",
                fix="for example fits=10 (--fits 10).",
            )
        rows = np.flatnonzero(run.fits.prefix == run.task.n_train)[:fits]
        chosen = tuple(run.fits.index[rows].tolist())
    if not chosen:
        raise UsageError(
            "there is no network to export.",
            why="the run has no fit of its whole training set." if indices is None else "",
            fix="sample longer, or name candidates by index (--index 12, indices=[12]).",
        )
    if len(set(chosen)) < len(chosen):
        raise UsageError(
            "an index is named twice.",
            why="tensors are named by their network's index.",
            fix="name every network once.",
        )
    return chosen


def _metadata(run: Run | Trained, indices: tuple[int, ...]) -> dict[str, str]:
    from biasgpu import __version__

    recipe = getattr(run, "recipe", None)
    trained = {"recipe": json.dumps(recipe.to_config())} if recipe else {}
    return {
        **trained,
        "format": FORMAT,
        "biasgpu_version": __version__,
        "seed": str(run.seed),
        "prior": str(run.prior),
        "architecture": json.dumps(run.architecture.to_config()),
        "task": json.dumps({"name": run.task.name, "checksum": run.task.checksum}),
        "classes": json.dumps(run.task.class_names),
        "n_train": str(run.task.n_train),
        "indices": json.dumps(indices),
    }
