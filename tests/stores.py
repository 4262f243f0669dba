"""Results files for the tests: small tasks, fits that can be told apart, and tools for harm."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from biasgpu.fits import Fits
from biasgpu.results import Store, Stored
from biasgpu.results.commits import Commit, decode_commits, encode_commit, slot_dtype
from biasgpu.results.header import HEADER_BYTES, make_header, read_header
from biasgpu.results.layout import SLOTS
from biasgpu.task import Task

N_TRAIN = 6
CONFIG = {"width": 512, "prior": {"name": "uniform:0.2"}, "range": [0, 2]}
PROVENANCE = {"python": "3.11", "command": ["biasgpu", "sample"]}
COLUMNS = (
    "index",
    "prefix",
    "margin",
    "test_accuracy",
    "test_accuracy_per_class",
    "test_predictions",
)


def make_task(n_classes: int = 2, n_test: int = 11) -> Task:
    rng = np.random.default_rng(3)
    return Task(
        name="points",
        x_train=rng.normal(size=(N_TRAIN, 1, 3, 3)).astype(np.float32),
        y_train=np.arange(N_TRAIN) % n_classes,
        x_test=rng.normal(size=(n_test, 1, 3, 3)).astype(np.float32),
        y_test=np.arange(n_test) % n_classes,
        class_names=tuple(f"class {k}" for k in range(n_classes)),
        config={"name": "points", "n_train": N_TRAIN},
        sources={"file": "punkte-ä.npz"},
    )


def make_fits(start: int, stop: int, task: Task, predictions: bool = True) -> Fits:
    rng = np.random.default_rng(start)
    n = stop - start
    return Fits(
        index=np.arange(start, stop, dtype=np.uint64) * 3 + 1,
        prefix=rng.integers(0, N_TRAIN + 1, n),
        margin=rng.normal(size=n),
        test_accuracy=rng.random(n),
        test_accuracy_per_class=rng.random((n, task.n_classes)),
        test_predictions=rng.integers(0, task.n_classes, (n, task.n_test)).astype(np.uint8)
        if predictions
        else None,
    )


def append(store: Store, fits: Fits, batch: int) -> None:
    store.append(
        fits,
        next_draw=1000 * batch,
        prefix_counts=np.arange(N_TRAIN + 1) * batch,
        elapsed_s=0.5 * batch,
        counters={"n_borderline": batch, "n_dead": 0},
    )


def assert_same(left: Fits, right: Fits) -> None:
    for name in COLUMNS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def write(path: Path, *, batches: int = 2, finish: bool = False) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_TRAIN + 6, 2)).astype(np.float32)
    y = np.arange(N_TRAIN + 6) % 2
    task = Task("p", x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], ("a", "b"))
    store = Store.create(path, {"width": 8}, task, provenance={}, keep_predictions=True)
    with store:
        for batch in range(batches):
            fits = Fits(
                index=np.arange(5, dtype=np.uint64) + np.uint64(5 * batch),
                prefix=np.full(5, N_TRAIN),
                margin=rng.normal(size=5),
                test_accuracy=rng.random(5),
                test_accuracy_per_class=rng.random((5, 2)),
                test_predictions=rng.integers(0, 2, (5, 6)).astype(np.uint8),
            )
            counts = np.arange(N_TRAIN + 1) * batch
            store.append(fits, next_draw=9 * batch, prefix_counts=counts, elapsed_s=batch)
        if finish:
            store.finish("fits")
    return path


def essence(stored: Stored) -> tuple[Any, ...]:
    """Everything that was read, in a form that compares."""
    names = stored.fits.__dataclass_fields__
    values = [getattr(stored.fits, name) for name in names]
    columns = [None if value is None else value.tobytes() for value in values]
    commit = stored.commit
    totals = commit.prefix_counts.tolist(), commit.next_draw, commit.elapsed_s, commit.stop_reason
    return stored.config, stored.provenance, stored.task.checksum, columns, totals


def reseal(path: Path) -> None:
    """Make the header right again, as one would who means harm."""
    with path.open("r+b") as file:
        line = json.loads(file.read(HEADER_BYTES))
        regions = {name: (offset, length) for name, (offset, length) in line["regions"].items()}
        header = make_header(file, file.seek(0, 2), regions)
        file.seek(0)
        file.write(header.encode())


def change_rows(path: Path, name: str, row: int, value: bytes) -> None:
    """Change a row and everything that vouches for it."""
    with path.open("r+b") as file:
        regions = read_header(file, path).regions
        columns = [region for region in regions if region.startswith("/fits/")]
        dtype = slot_dtype(N_TRAIN, len(columns))
        offset, length = regions[f"/fits/{name}"]
        row_bytes = length // (regions["/fits/index"][1] // 8)
        file.seek(offset + row * row_bytes)
        file.write(value)
        file.seek(regions[SLOTS][0])
        commit = decode_commits(file.read(regions[SLOTS][1]), dtype)[0]
        checksums = []
        for column in columns:
            start, total = regions[column]
            rows = regions["/fits/index"][1] // 8
            file.seek(start)
            checksums.append(zlib.crc32(file.read(total // rows * commit.n_rows)))
        rewrite_commit(file, regions, commit, column_crc32=tuple(checksums))


def rewrite_commit(
    file: Any, regions: dict[str, tuple[int, int]], commit: Commit, **change: Any
) -> None:
    n_columns = len(commit.column_crc32)
    record = encode_commit(replace(commit, **change), slot_dtype(N_TRAIN, n_columns))
    file.seek(regions[SLOTS][0])
    file.write(b"\0" * (2 * len(record)))
    file.seek(regions[SLOTS][0] + commit.serial % 2 * len(record))
    file.write(record)
