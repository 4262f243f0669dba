"""The published selection against PyTorch's own generator."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu.data.datasets import DATASETS
from biasgpu.data.published import (
    class_seed,
    published_orders,
    torch_generator,
    torch_permutation,
)


@pytest.mark.parametrize("seed", [0, 200, 203, 2**32 - 1, 2**32 + 7])
def test_permutations_are_those_of_torch(seed):
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    generator = torch_generator(seed)
    for n in (10, 5923, 1, 980, 2, 0, 6265):
        expected = torch.randperm(n).numpy()
        np.testing.assert_array_equal(torch_permutation(generator, n), expected)


def test_class_seeds():
    mnist = {pair: class_seed(pair) for pair in DATASETS["mnist"].published_pairs}
    assert mnist == {(7, 0): 202, (2, 5): 200, (2, 8): 201, (0, 8): 203, (3, 5): 204}
    assert class_seed(DATASETS["cifar10"].default_classes) == 201  # type: ignore[arg-type]


@pytest.mark.parametrize("data_seed", [200, 201, 202, 203])
def test_orders_follow_the_published_calls(data_seed):
    torch = pytest.importorskip("torch")
    n_train, n_test = (6265, 5923), (1028, 980)
    torch.manual_seed(202)
    assert torch.randperm(10)[:2].tolist() == [7, 0]
    if data_seed != 202:
        torch.manual_seed(data_seed)
    expected = []
    for train, test in zip(n_train, n_test, strict=True):
        expected.append(torch.randperm(train).numpy())
        torch.randperm(test)
    found = published_orders((7, 0), data_seed, n_train, n_test)
    for order, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(order, other)


def test_known_beginning():
    """Pins the first places, so that the selection cannot change where PyTorch is not installed."""
    seven, zero = published_orders((7, 0), 202, (6265, 5923), (1028, 980))
    assert seven[128:132].tolist() == [3266, 3981, 3632, 5402]
    assert zero[128:132].tolist() == [2137, 82, 136, 4941]
    seven, zero = published_orders((7, 0), 200, (6265, 5923), (1028, 980))
    assert seven[128:132].tolist() == [6079, 511, 4614, 1609]
    assert zero[128:132].tolist() == [3844, 3543, 5700, 4638]
