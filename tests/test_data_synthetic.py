"""The synthetic tasks kink and slab."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu.data.synthetic import MARGIN, points_by_class, signed_distance


@pytest.mark.parametrize("name", ["kink", "slab"])
def test_points_lie_on_their_side_in_the_square(name):
    for side, points in zip((-1, 1), points_by_class(name, "train", 3, 5000), strict=True):
        assert points.shape == (5000, 2)
        assert points.dtype == np.float32
        assert (np.abs(points) < 1).all()
        assert (side * signed_distance(name, points.astype(np.float64)) >= MARGIN).all()
        # Uniform: a class covers both halves of the square alike.
        assert abs((points[:, 0] > 0).mean() - 0.5) < 0.03


@pytest.mark.parametrize("name", ["kink", "slab"])
def test_points_are_nested_and_named_by_the_seed(name):
    few = points_by_class(name, "train", 7, 10)
    many = points_by_class(name, "train", 7, 3000)
    for short, long in zip(few, many, strict=True):
        np.testing.assert_array_equal(short, long[:10])
    other = points_by_class(name, "train", 8, 10)
    test = points_by_class(name, "test", 7, 10)
    assert not np.array_equal(few[0], other[0])
    assert not np.array_equal(few[0], test[0])


def test_both_classes_cover_half_of_the_square():
    grid = (np.arange(400) + 0.5) / 200 - 1
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    for name in ("kink", "slab"):
        assert (signed_distance(name, points) > 0).mean() == pytest.approx(0.5, abs=0.002)


def test_corners_of_the_definition():
    points = np.array([[0.0, 0.0], [0.0, -0.75], [0.75, 0.0], [-0.75, 0.5], [0.9, 0.6]])
    assert (signed_distance("kink", points) > 0).tolist() == [True, False, False, True, True]
    assert (signed_distance("slab", points) > 0).tolist() == [True, False, True, False, False]
