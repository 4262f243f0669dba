"""Fits: columns that fit together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from biasgpu.errors import UsageError
from biasgpu.fits import Fits


def make(n: int, first: int = 0, predictions: bool = True, n_classes: int = 2) -> Fits:
    return Fits(
        index=np.arange(first, first + n, dtype=np.uint64),
        prefix=np.arange(n, dtype=np.uint16),  # pyright: ignore[reportArgumentType]
        margin=np.arange(n) / 4,
        test_accuracy=np.full(n, 0.5),
        test_accuracy_per_class=np.full((n, n_classes), 0.5),
        test_predictions=np.ones((n, 3), np.uint8) if predictions else None,
    )


def test_types_are_made_uniform() -> None:
    fits = make(3)
    assert fits.index.dtype == np.uint64
    assert fits.prefix.dtype == np.int64
    assert len(fits) == 3
    assert fits.n_classes == 2


def test_empty() -> None:
    fits = Fits.empty(3, 7, True)
    assert len(fits) == 0
    assert fits.test_accuracy_per_class.shape == (0, 3)
    assert fits.test_predictions is not None
    assert fits.test_predictions.shape == (0, 7)
    assert Fits.empty(3, 7, False).test_predictions is None


def test_concatenate() -> None:
    fits = Fits.concatenate([make(2), make(0), make(3, first=10)])
    assert fits.index.tolist() == [0, 1, 10, 11, 12]
    assert fits.prefix.tolist() == [0, 1, 0, 1, 2]
    assert fits.test_predictions is not None
    assert fits.test_predictions.shape == (5, 3)


@pytest.mark.parametrize("other", [make(1, predictions=False), make(1, n_classes=3)])
def test_concatenate_what_differs(other: Fits) -> None:
    with pytest.raises(UsageError, match="differ"):
        Fits.concatenate([make(1), other])


def test_concatenate_nothing() -> None:
    with pytest.raises(UsageError, match="nothing to concatenate"):
        Fits.concatenate([])


def test_take() -> None:
    fits = make(5)
    assert fits.take(fits.index % 2 == 0).index.tolist() == [0, 2, 4]
    assert fits.take(np.array([3, 1])).margin.tolist() == [0.75, 0.25]
    assert fits.take(slice(1, 3)).prefix.tolist() == [1, 2]
    assert len(fits.take(np.zeros(5, bool))) == 0
    assert make(2, predictions=False).take(np.array([0])).test_predictions is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"margin": np.zeros(2)}, "margin has 2 rows, index has 3"),
        ({"margin": np.zeros((3, 1))}, "margin has shape"),
        ({"test_accuracy_per_class": np.zeros(3)}, "must have 2 axes"),
        ({"test_predictions": np.zeros((2, 3), np.uint8)}, "test_predictions has 2 rows"),
        ({"index": np.array([0.0, 1.0, 2.0])}, "index has dtype float64"),
        ({"index": np.array([-1, 0, 1])}, "index runs from -1 to 1"),
        ({"test_predictions": np.full((3, 3), 256)}, "kept as uint8, 0 to 255"),
        ({"margin": np.array(["a", "b", "c"])}, "margin has dtype"),
        ({"index": np.uint64(3)}, "index has shape"),
    ],
)
def test_columns_that_do_not_fit_together(change: dict[str, Any], says: str) -> None:
    fits = make(3)
    columns = {name: getattr(fits, name) for name in fits.__dataclass_fields__}
    with pytest.raises(UsageError, match=says):
        Fits(**(columns | change))
