"""What may be appended: rows and totals that continue the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biasgpu.errors import BiasgpuError, UsageError
from biasgpu.fits import Fits
from biasgpu.results import Store, read
from tests.stores import COLUMNS, CONFIG, N_TRAIN, append, make_fits, make_task


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"index": np.array([5, 5], np.uint64)}, "increase strictly"),
        ({"index": np.array([7, 6], np.uint64)}, "increase strictly"),
        ({"index": np.array([0, 6], np.uint64)}, "increase strictly"),
        ({"prefix": np.array([1, N_TRAIN + 1])}, "prefixes run from 1 to 7"),
        ({"prefix": np.array([-1, 2])}, "prefixes run from -1 to 2"),
        ({"test_accuracy_per_class": np.zeros((2, 3))}, "3 classes"),
        ({"test_predictions": None}, "without predictions"),
        ({"test_predictions": np.zeros((2, 4), np.uint8)}, "4 test samples"),
        ({"test_predictions": np.full((2, 11), 2, np.uint8)}, "class 2 of 2"),
    ],
)
def test_rows_that_do_not_continue_the_file(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    path, task = tmp_path / "run.h5", make_task()
    good = make_fits(1, 3, task)
    columns = {name: getattr(good, name) for name in COLUMNS}
    with Store.create(path, CONFIG, task, provenance={}, keep_predictions=True) as store:
        append(store, make_fits(0, 1, task), 1)
        with pytest.raises(UsageError, match=says):
            append(store, Fits(**(columns | change)), 2)
        append(store, good, 2)
    assert len(read(path).fits) == 3


@pytest.mark.parametrize(
    ("totals", "says"),
    [
        ({"next_draw": 999}, "next_draw goes from 1000 to 999"),
        ({"next_draw": 2**64}, "next_draw"),
        ({"elapsed_s": 0.25}, "elapsed_s goes from 0.5"),
        ({"elapsed_s": float("nan")}, "elapsed_s"),
        ({"prefix_counts": np.zeros(N_TRAIN + 1, np.int64)}, "goes down"),
        ({"prefix_counts": np.full(N_TRAIN, 100)}, "one total for each prefix"),
        ({"counters": {"n": -1}}, "counter n is -1"),
        ({"counters": {"n": 1.5}}, "counter n is 1.5"),
        ({"counters": {"n" * 2000: 1}}, "do not fit"),
    ],
)
def test_totals_that_go_backwards(tmp_path: Path, totals: dict[str, object], says: str) -> None:
    path, task = tmp_path / "run.h5", make_task()
    good = {
        "next_draw": 2000,
        "elapsed_s": 1.0,
        "prefix_counts": np.full(N_TRAIN + 1, 100),
        "counters": {},
    }
    with Store.create(path, CONFIG, task, provenance={}, keep_predictions=True) as store:
        append(store, make_fits(0, 1, task), 1)
        with pytest.raises(UsageError, match=says):
            store.append(make_fits(1, 2, task), **(good | totals))  # pyright: ignore
    assert read(path).next_draw == 1000


def test_what_json_has_no_word_for(tmp_path: Path) -> None:
    for config in ({"a": float("nan")}, {"a": {1, 2}}, {"a": b"x"}):
        with pytest.raises(UsageError, match="cannot be kept as JSON"):
            Store.create(
                tmp_path / "run.h5", config, make_task(), provenance={}, keep_predictions=False
            )
    assert list(tmp_path.iterdir()) == []


def test_a_closed_store(tmp_path: Path) -> None:
    path, task = tmp_path / "run.h5", make_task()
    store = Store.create(path, CONFIG, task, provenance={}, keep_predictions=True)
    store.close()
    store.close()
    with pytest.raises(BiasgpuError, match="is closed"):
        append(store, make_fits(0, 1, task), 1)
