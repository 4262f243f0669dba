"""The structure of a results file, read as untrusted input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biasgpu.errors import DamagedFileError
from biasgpu.fits import OPTIONAL
from biasgpu.results.commits import N_SLOTS
from biasgpu.results.header import FORMAT, FORMAT_VERSION, damaged
from biasgpu.results.layout import ELEMENT_VERSION, SLOTS, Layout
from biasgpu.task import Task

if TYPE_CHECKING:
    import h5py

_MAX_DOCUMENT_BYTES = 1 << 28
_MAX_TASK_BYTES = 1 << 35
_MAX_TASK_AXES = 16
# No deflate stream expands further than this; small arrays are never worth a refusal.
_MAX_EXPANSION = 1100
_SMALL_BYTES = 1 << 24


def read_layout(
    h5: h5py.File, path: Path, regions: dict[str, tuple[int, int]] | None
) -> tuple[Layout, int]:
    """What the file holds besides its rows, and the rows that it has space for.

    Args:
        h5: the open file.
        path: its name, for errors.
        regions: what its header says that commits write to; None not to compare.

    Raises:
        DamagedFileError: something is missing, or is not what it must be.
        OSError, KeyError, ValueError, ...: whatever HDF5 makes of a damaged file.
    """
    _check_version(h5, path, FORMAT_VERSION)
    if h5.attrs["format"] != FORMAT:
        raise damaged(path, "it does not name its format")
    groups = {name: _group(h5, name, path) for name in ("task", "fits", "commit")}
    for group in groups.values():
        _check_version(group, path, ELEMENT_VERSION)
    keep = "test_predictions" in groups["fits"]
    config, provenance = _document(h5, "config", path), _document(h5, "provenance", path)
    optional = _optional(groups["fits"], path)
    layout = Layout(config, provenance, _read_task(groups["task"], path), keep, optional)
    capacity = _dataset(groups["fits"], "index", path).shape[0]
    expected = {
        f"/fits/{column.name}": ((capacity, *column.row_shape), column.dtype)
        for column in layout.columns
    }
    expected[SLOTS] = ((N_SLOTS,), layout.slot_dtype)
    if regions is not None and set(regions) != set(expected):
        raise damaged(path, "its header names other datasets than it has")
    for name, (shape, dtype) in expected.items():
        _, group, leaf = name.split("/")
        found = _region(_dataset(groups[group], leaf, path), shape, dtype, path)
        if regions is not None and regions[name] != found:
            raise damaged(path, f"{name} is not where its header says")
    return layout, capacity


def _optional(group: h5py.Group, path: Path) -> dict[str, tuple[int, ...]]:
    """The optional columns there are; that their rows lie within the file is checked by others."""
    found = {}
    for name, about in OPTIONAL.items():
        if name in group:
            shape = _dataset(group, name, path).shape
            if len(shape) != 1 + len(about.labels) or 0 in shape[1:]:
                raise damaged(path, f"/fits/{name} has another shape than the format says")
            found[name] = tuple(int(n) for n in shape[1:])
    return found


def _read_task(group: h5py.Group, path: Path) -> Task:
    about = _document(group, "about", path)
    names = about["class_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise damaged(path, "the names of the task's classes are not text")
    task = Task(
        name=str(about["name"]),
        x_train=_array(group, "x_train", "<f4", path),
        y_train=_array(group, "y_train", "<i8", path),
        x_test=_array(group, "x_test", "<f4", path),
        y_test=_array(group, "y_test", "<i8", path),
        class_names=tuple(names),
        config=dict(about["config"]),
        sources=dict(about["sources"]),
    )
    if not task.checksum == about["checksum"] == group.attrs["checksum"]:
        raise damaged(path, "the task's data do not match their checksum")
    return task


def _check_version(element: h5py.Group, path: Path, newest: int) -> None:
    version: Any = element.attrs["format_version"]
    if not isinstance(version, int | np.integer) or version < 1:
        raise damaged(path, f"{element.name} has no format version")
    if version > newest:
        raise DamagedFileError(
            f"{path}: {element.name} has format version {version}.",
            why=f"this biasgpu reads versions up to {newest}.",
            fix="install a newer biasgpu: pip install -U biasgpu",
        )


def _member(group: h5py.Group, name: str, path: Path) -> Any:
    import h5py

    # A link out of the file, or around in it, is never followed.
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise damaged(path, f"{name} in {group.name} is missing or a link")
    return group[name]


def _group(parent: h5py.Group, name: str, path: Path) -> h5py.Group:
    import h5py

    member = _member(parent, name, path)
    if not isinstance(member, h5py.Group):
        raise damaged(path, f"{name} is not a group")
    return member


def _dataset(group: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    import h5py

    member = _member(group, name, path)
    if not isinstance(member, h5py.Dataset):
        raise damaged(path, f"{group.name}/{name} is not a dataset")
    plan = member.id.get_create_plist()
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if (
        member.is_virtual
        or member.external
        or filters - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
    ):
        raise damaged(path, f"{group.name}/{name} is stored in a way that the format does not use")
    return member


def _document(group: h5py.Group, name: str, path: Path) -> dict[str, Any]:
    dataset = _dataset(group, name, path)
    if dataset.shape != () or dataset.dtype.kind != "S":
        raise damaged(path, f"{group.name}/{name} is not a text")
    if dataset.dtype.itemsize > _MAX_DOCUMENT_BYTES or dataset.chunks is not None:
        raise damaged(path, f"{group.name}/{name} is too large")
    value = json.loads(dataset[()])
    if not isinstance(value, dict):
        raise damaged(path, f"{group.name}/{name} is not a JSON object")
    return value


def _array(group: h5py.Group, name: str, dtype: str, path: Path) -> npt.NDArray[Any]:
    dataset = _dataset(group, name, path)
    if dataset.dtype != np.dtype(dtype) or not 1 <= len(dataset.shape) <= _MAX_TASK_AXES:
        raise damaged(path, f"{group.name}/{name} has another type than the format says")
    claimed = int(np.prod([int(n) for n in dataset.shape], dtype=object)) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if claimed > _MAX_TASK_BYTES or claimed > _SMALL_BYTES + _MAX_EXPANSION * stored:
        raise damaged(path, f"{group.name}/{name} claims {claimed} bytes, of which it has {stored}")
    return dataset[...]


def _region(
    dataset: h5py.Dataset, shape: tuple[int, ...], dtype: np.dtype[Any], path: Path
) -> tuple[int, int]:
    import h5py

    if dataset.shape != shape or dataset.dtype != dtype:
        raise damaged(path, f"{dataset.name} has another shape or type than the task asks for")
    if dataset.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        raise damaged(path, f"{dataset.name} does not lie in one piece")
    length = int(np.prod(shape, dtype=object)) * dtype.itemsize
    return (int(dataset.id.get_offset()), length) if length else (0, 0)
