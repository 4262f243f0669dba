"""What the benchmark of Lipschitz constants compares is the same."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu import measures as library
from biasgpu.networks import GivenNetworks

pytest.importorskip("torch")
from benchmarks import measures


@pytest.mark.parametrize("work", measures.WIDTHS)
def test_autograd_side_by_side_is_that_of_each_network(work: str) -> None:
    networks = measures.networks_of(work, 3)
    x = networks.task.x_test[:4]
    found = measures.Autograd(networks).norms(x)
    assert found.shape == (4, 3)
    for i in range(3):
        alone = GivenNetworks(networks.task, networks.steps, networks.flat[i : i + 1])
        one = measures.Autograd(alone).norms(x)[:, 0]
        # Both float32: sums of some hundred products, added in orders of their own.
        np.testing.assert_allclose(found[:, i], one, rtol=1e-5)
    np.testing.assert_allclose(library.input_gradient_norms(networks, x), found.T, rtol=1e-5)
    assert measures.disagreement(work, 3) == 0.0
