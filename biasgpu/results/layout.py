"""Laying out a results file: everything but the rows and the commits, written once by HDF5.

The columns and the commit slots are contiguous datasets whose space is set aside here. Later
commits write only inside them, at the offsets that HDF5 reports, so that no structure of the file
is ever changed in place and nothing that stops a writer can tear it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from biasgpu.errors import UsageError
from biasgpu.results.columns import MAX_CLASSES, MAX_TRAIN, Column, columns_of
from biasgpu.results.commits import N_SLOTS, slot_dtype
from biasgpu.results.header import FORMAT, HEADER_BYTES
from biasgpu.task import Task

if TYPE_CHECKING:
    import h5py

SLOTS = "/commit/slots"
ELEMENT_VERSION = 1
_AXES = {1: ("feature",), 3: ("channel", "height", "width")}


@dataclass(frozen=True, eq=False)
class Layout:
    """What a results file holds besides its rows.

    Args:
        config: the experiment (JSON-able).
        provenance: by what and where it was run (JSON-able).
        task: kept in full, so that the file reopens from itself alone.
        keep_predictions: whether each row has the prediction for every test sample.
        optional: the shape of a row of each optional column.

    Raises:
        UsageError: too many training samples or classes for the format, or not JSON-able.
    """

    config: dict[str, Any]
    provenance: dict[str, Any]
    task: Task
    keep_predictions: bool
    optional: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    documents: dict[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        for what, value, limit in (
            ("training samples", self.task.n_train, MAX_TRAIN),
            ("classes", self.task.n_classes, MAX_CLASSES),
        ):
            if value > limit:
                raise UsageError(
                    f"{value} {what}.",
                    why=f"a results file holds up to {limit}.",
                    fix="use a smaller task, or keep the results in memory (output=None).",
                )
        task = self.task
        about = {
            "name": task.name,
            "class_names": list(task.class_names),
            "config": task.config,
            "sources": task.sources,
            "checksum": task.checksum,
        }
        documents = {
            "config": to_json(self.config, "the configuration"),
            "provenance": to_json(self.provenance, "the provenance"),
            "task/about": to_json(about, "the task's config or sources"),
        }
        object.__setattr__(self, "documents", documents)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The datasets under `/fits`."""
        task = self.task
        return columns_of(task.n_classes, task.n_test, self.keep_predictions, self.optional)

    @property
    def version(self) -> int:
        """The first version of the format that describes such a file: older readers read it."""
        return 2 if self.optional or "recipe" in self.config else 1

    @cached_property
    def slot_dtype(self) -> np.dtype[Any]:
        """The record of a commit slot."""
        return slot_dtype(self.task.n_train, len(self.columns))

    @property
    def row_bytes(self) -> int:
        """Bytes that one row takes over all columns."""
        return sum(column.row_bytes for column in self.columns)


def to_json(value: Any, what: str) -> bytes:
    """Strict JSON in UTF-8.

    Raises:
        UsageError: it holds something that JSON has no word for.
    """
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{what} cannot be kept as JSON: {error}.",
            why="a results file keeps it as text that every language can read.",
            fix="use only str, int, finite float, bool, None, lists and dicts with str keys.",
        ) from error


def write_layout(file: BinaryIO, layout: Layout, capacity: int) -> dict[str, tuple[int, int]]:
    """Write the file's structure; rows and slots stay unwritten.

    Args:
        file: empty, open for reading and writing.
        layout: what to write.
        capacity: rows to set space aside for.

    Returns:
        dataset name to `(offset, length)` in bytes of the space set aside.

    Raises:
        OSError: the file system failed.
    """
    import h5py

    sink = _Sink(file)
    regions: dict[str, tuple[int, int]] = {}
    try:
        with h5py.File(sink, "w", userblock_size=HEADER_BYTES) as h5:  # pyright: ignore[reportArgumentType]
            regions = _write(h5, layout, capacity)
    except (OSError, RuntimeError, ValueError):
        if sink.error is None:
            raise
    if sink.error is not None:
        raise sink.error
    return regions


class _Sink:
    """Keeps the first failure of a file to itself, and goes on as if nothing had happened.

    HDF5 does not get over a failed write: it tries again at every chance up to the interpreter's
    exit. It never learns of the failure here; `write_layout` raises it once HDF5 is done.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                write_all(self.file, data)
            except OSError as error:
                self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        if self.error is None:
            try:
                return self.file.truncate(size)
            except OSError as error:
                self.error = error
        return size or 0

    def flush(self) -> None:
        """Nothing is buffered."""


def write_all(file: BinaryIO, data: Any) -> None:
    """Write every byte at the current position of an unbuffered file, or raise OSError."""
    view = memoryview(data).cast("B")
    while view:
        view = view[file.write(view) :]


def _write(h5: h5py.File, layout: Layout, capacity: int) -> dict[str, tuple[int, int]]:
    h5.attrs["format"] = FORMAT
    h5.attrs["format_version"] = layout.version
    task, fits, commit = (h5.create_group(name) for name in ("task", "fits", "commit"))
    for group in (task, fits, commit):
        group.attrs["format_version"] = ELEMENT_VERSION
    task.attrs["checksum"] = layout.task.checksum
    _write_documents(h5, layout)
    _write_task(task, layout.task)
    regions = {}
    for column in layout.columns:
        name = f"/fits/{column.name}"
        shape = (capacity, *column.row_shape)
        dataset, regions[name] = _reserve(fits, column.name, shape, column.dtype)
        _describe(dataset, column.units, column.description, column.labels)
    dataset, regions[SLOTS] = _reserve(commit, "slots", (N_SLOTS,), layout.slot_dtype)
    _describe(
        dataset,
        "see the file format",
        "how far the run has come: the record with a correct crc32 and the highest serial counts",
        ("slot",),
    )
    return regions


def _write_documents(h5: h5py.File, layout: Layout) -> None:
    import h5py

    for name, text in layout.documents.items():
        dtype = h5py.string_dtype("utf-8", len(text))
        dataset = h5.create_dataset(name, data=np.array(text, dtype=dtype))
        _describe(dataset, "JSON", f"{name.rpartition('/')[2]}, as JSON in UTF-8", ())


def _write_task(group: h5py.Group, task: Task) -> None:
    axes = _AXES.get(len(task.shape), tuple(f"axis_{i}" for i in range(len(task.shape))))
    for part, word in (("train", "training"), ("test", "test")):
        for name, dtype, units, description, labels in (
            (f"x_{part}", "<f4", "1", f"{word} inputs, as the network sees them", axes),
            (f"y_{part}", "<i8", "class", f"{word} labels, 0 to K - 1", ()),
        ):
            values = np.asarray(getattr(task, name), np.dtype(dtype))
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            dataset = group.create_dataset(name, data=values, **(packed if values.size else {}))
            _describe(dataset, units, description, (f"{part}_sample", *labels))


def _reserve(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[h5py.Dataset, tuple[int, int]]:
    import h5py

    # The low-level names are not in the type stubs.
    h5d, h5p, h5s, h5t = (getattr(h5py, name) for name in ("h5d", "h5p", "h5s", "h5t"))
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_layout(h5d.CONTIGUOUS)
    plan.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5d.FILL_TIME_NEVER)
    dataset = h5d.create(
        group.id, name.encode(), h5t.py_create(dtype), h5s.create_simple(shape), dcpl=plan
    )
    length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    # A dataset of no bytes has no place in the file.
    return h5py.Dataset(dataset), (int(dataset.get_offset()), length) if length else (0, 0)


def _describe(dataset: h5py.Dataset, units: str, description: str, labels: tuple[str, ...]) -> None:
    dataset.attrs["units"] = units
    dataset.attrs["description"] = description
    for axis, label in enumerate(labels):
        dataset.dims[axis].label = label
