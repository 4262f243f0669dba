"""The rounding bound: its constants, and that it holds for sums in any order."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu.margins import gamma, layer_constants, threshold


@pytest.mark.parametrize("eps_w", [0.0, 2.0**-22])
def test_bound_holds_and_is_of_the_right_size(eps_w: float) -> None:
    """Float32 products in many orders, with weights off by eps, against float64."""
    generator = np.random.default_rng(3)
    n = 300
    constants = layer_constants(n, None, eps_w)
    worst = 0.0
    for _ in range(200):
        w = generator.uniform(-1, 1, n).astype(np.float32)
        h = np.abs(generator.normal(size=n)).astype(np.float32)
        law_h = h.astype(np.float64) * (1 + generator.uniform(-1e-6, 1e-6, n))
        e = float(np.abs(law_h - h).max())
        off = (w * (1 + generator.choice([-1.0, 1.0], n) * eps_w)).astype(np.float32)
        order = generator.permutation(n)
        y = np.cumsum((off * h)[order], dtype=np.float32)[-1]
        law = float((w.astype(np.float64) * law_h).sum())
        rho, hmax = float(np.abs(off).sum(dtype=np.float32)), float(h.max())
        bound = rho * (constants.gain * e + constants.inject * hmax) + constants.tiny
        worst = max(worst, abs(float(y) - law) / bound)
    assert 1e-4 < worst <= 1.0


def test_constants() -> None:
    plain, deep = layer_constants(25), layer_constants(25, 100)
    assert plain.gain == deep.gain
    assert 1.0 < plain.gain < 1.00001
    assert plain.inject == pytest.approx(28 * 2.0**-24, rel=1e-4)
    assert deep.inject > 3 * plain.inject
    assert layer_constants(25, eps_w=1e-5).inject > plain.inject + 1e-5
    assert layer_constants(25, dtype="float64").inject == pytest.approx(55 * 2.0**-53, rel=1e-6)
    assert layer_constants(2**24).inject == float("inf")
    assert gamma(1, 2.0**-24) > 2.0**-24
    assert 2.0 < threshold(1.0, 2) == 2 * threshold(1.0, 1)
