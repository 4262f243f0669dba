"""What is written is what is read, and a commit touches nothing but its own bytes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from biasgpu.fits import Fits
from biasgpu.results import Store, handle, read, read_config
from biasgpu.results.header import HEADER_BYTES, read_header
from biasgpu.results.layout import SLOTS
from tests.stores import (
    COLUMNS,
    CONFIG,
    N_TRAIN,
    PROVENANCE,
    append,
    assert_same,
    make_fits,
    make_task,
)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_test", [1, 8, 11])
@pytest.mark.parametrize("predictions", [False, True])
def test_round_trip(tmp_path: Path, n_classes: int, n_test: int, predictions: bool) -> None:
    path, task = tmp_path / "run.h5", make_task(n_classes, n_test)
    parts = [make_fits(i * 50, i * 50 + 50, task, predictions) for i in range(4)]
    with Store.create(
        path, CONFIG, task, provenance=PROVENANCE, keep_predictions=predictions
    ) as store:
        for batch, fits in enumerate(parts, 1):
            append(store, fits, batch)
        assert store.n_rows == 200
    stored = read(path)
    assert_same(stored.fits, Fits.concatenate(parts))
    assert stored.config == CONFIG == read_config(path)
    assert stored.provenance == PROVENANCE
    assert stored.keep_predictions is predictions
    assert (stored.next_draw, stored.elapsed_s) == (4000, 2.0)
    assert stored.counters == {"n_borderline": 4, "n_dead": 0}
    assert stored.prefix_counts.dtype == np.int64
    assert stored.prefix_counts.tolist() == [4 * i for i in range(N_TRAIN + 1)]
    assert (stored.complete, stored.stop_reason, stored.recovered) == (False, "", False)
    assert stored.task.checksum == task.checksum
    assert stored.task.class_names == task.class_names
    assert (stored.task.name, stored.task.config, stored.task.sources) == (
        task.name,
        task.config,
        task.sources,
    )


def test_extreme_values_survive(tmp_path: Path) -> None:
    path, task = tmp_path / "run.h5", make_task()
    fits = Fits(
        index=np.array([0, 2**63, 2**64 - 1], np.uint64),
        prefix=np.array([0, N_TRAIN, N_TRAIN]),
        margin=np.array([np.inf, -0.0, 5e-324]),
        test_accuracy=np.array([0.0, 1.0, np.nan]),
        test_accuracy_per_class=np.array([[np.nan, 0], [1, 1], [0, np.nan]]),
    )
    counts = np.full(N_TRAIN + 1, 2**62)
    with Store.create(path, {}, task, provenance={}, keep_predictions=False) as store:
        store.append(fits, next_draw=2**64 - 1, prefix_counts=counts, elapsed_s=0.0)
    stored = read(path)
    assert_same(stored.fits, fits)
    assert np.signbit(stored.fits.margin[1])
    assert stored.next_draw == 2**64 - 1
    assert stored.prefix_counts.tolist() == counts.tolist()


def test_no_fits_at_all(tmp_path: Path) -> None:
    path, task = tmp_path / "run.h5", make_task()
    with Store.create(path, {}, task, provenance={}, keep_predictions=True) as store:
        assert len(read(path).fits) == 0
        append(store, Fits.empty(2, task.n_test, True), 1)
        store.finish("candidates")
    stored = read(path)
    assert len(stored.fits) == 0
    assert stored.fits.test_predictions is not None
    assert stored.fits.test_predictions.shape == (0, task.n_test)
    assert (stored.complete, stored.stop_reason, stored.next_draw) == (True, "candidates", 1000)
    with Store.reopen(path) as store:
        append(store, make_fits(0, 5, task), 2)
    assert len(read(path).fits) == 5


@pytest.mark.parametrize("finish", [False, True])
def test_reopen_goes_on_where_it_stopped(tmp_path: Path, finish: bool) -> None:
    path, task = tmp_path / "run.h5", make_task()
    parts = [make_fits(i * 30, i * 30 + 30, task) for i in range(5)]
    with Store.create(path, CONFIG, task, provenance={"a": 1}, keep_predictions=True) as store:
        append(store, parts[0], 1)
        if finish:
            store.finish("fits")
    for batch in range(2, 6):
        with Store.reopen(path, provenance={"session": batch}) as store:
            assert (store.n_rows, store.next_draw) == (30 * (batch - 1), 1000 * (batch - 1))
            assert (store.elapsed_s, store.counters["n_borderline"]) == ((batch - 1) / 2, batch - 1)
            assert store.complete is finish
            append(store, parts[batch - 1], batch)
            assert not store.complete
            if finish:
                store.finish("fits")
    stored = read(path)
    assert_same(stored.fits, Fits.concatenate(parts))
    if finish:
        assert stored.provenance == {"a": 1, "resumed": [{"session": b} for b in range(2, 6)]}


def test_a_finished_file_has_exactly_its_rows(tmp_path: Path) -> None:
    path, task = tmp_path / "run.h5", make_task()
    with Store.create(path, CONFIG, task, provenance={}, keep_predictions=True) as store:
        append(store, make_fits(0, 37, task), 1)
        before = path.stat().st_size
        store.finish("fits" * 100)
        assert path.stat().st_size < before
        assert store.complete
    assert read(path).stop_reason == "fits" * 64
    with h5py.File(path) as file:
        assert [len(column) for column in file["fits"].values()] == [37] * 6  # pyright: ignore
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.h5"]


def test_finish_without_space_keeps_the_slack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, task = tmp_path / "run.h5", make_task()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with Store.create(path, CONFIG, task, provenance={}, keep_predictions=True) as store:
        append(store, make_fits(0, 37, task), 1)
        monkeypatch.setattr(handle, "build_file", full)
        store.finish("time", complete=False)
    stored = read(path)
    assert (stored.stop_reason, stored.complete, len(stored.fits)) == ("time", False, 37)


def test_every_dataset_says_what_it_is(tmp_path: Path) -> None:
    path, task = tmp_path / "run.h5", make_task()
    Store.create(path, CONFIG, task, provenance={}, keep_predictions=True).close()
    seen: list[str] = []

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            seen.append(name)
            assert item.attrs["units"]
            assert item.attrs["description"]
            assert all(dim.label for dim in item.dims)
        else:
            assert item.attrs["format_version"] == 1

    with h5py.File(path) as file:
        assert (file.attrs["format"], file.attrs["format_version"]) == ("biasgpu-run", 1)
        file.visititems(look)
    assert seen == [
        "commit/slots",
        "config",
        *sorted(f"fits/{name}" for name in COLUMNS),
        "provenance",
        *(f"task/{name}" for name in ("about", "x_test", "x_train", "y_test", "y_train")),
    ]


def test_a_commit_changes_no_byte_outside_its_rows_and_slot(tmp_path: Path) -> None:
    path, task = tmp_path / "run.h5", make_task()
    with Store.create(path, CONFIG, task, provenance={}, keep_predictions=True) as store:
        for batch in range(1, 9):
            before = np.frombuffer(path.read_bytes(), np.uint8)
            append(store, make_fits(batch * 10 - 10, batch * 10, task), batch)
            after = np.frombuffer(path.read_bytes(), np.uint8)
            assert len(before) == len(after)
            changed = np.flatnonzero(before != after)
            allowed = np.zeros(len(after), bool)
            with path.open("rb") as file:
                regions = read_header(file, path).regions
            rows = regions["/fits/index"][1] // 8
            for name, (offset, length) in regions.items():
                step = length // (2 if name == SLOTS else rows)
                first, last = (batch % 2, batch % 2 + 1) if name == SLOTS else (batch - 1, batch)
                scale = 1 if name == SLOTS else 10
                allowed[offset + first * scale * step : offset + last * scale * step] = True
            assert len(changed) > 0
            assert allowed[changed].all()
            assert (before[:HEADER_BYTES] == after[:HEADER_BYTES]).all()
