"""The law's forward pass against PyTorch's layers in float64, and its order of summation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from biasgpu import priors, reference
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.margins import layer_constants

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
WIDTHS = ["1/6", "2/6", "3/6", "4/6", "1", "1/6,1/6,1/24,1/24"]
ARCHITECTURES = [
    *(lenet(width) for width in WIDTHS),
    *(lenet("2/6", depth) for depth in ("2c-2f", "2c-1f", "1c-1f")),
    *(paper_mlp(width) for width in ("1/6", "2/6", "4/6", "1")),
    *(paper_mlp("2/6", depth) for depth in (1, 2, 3)),
    mlp(64, 0),
    mlp(64, 3, bias="prior"),
    mlp(16, 1, head="one-logit", bias="prior"),
    Architecture("own", [Conv2d(3, "prior", kernel=3, padding=2), ReLU(), MaxPool2d(3)]),
]


def _torch_logits(ensemble: Ensemble, draw: int, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Logits by PyTorch in float64, and a bound of how far they and the law's may be apart."""
    h = torch.from_numpy(x).double()
    error = 0.0
    for step, pair in zip(ensemble.steps, ensemble.parameters(draw), strict=True):
        layer = step.layer
        if pair is not None:
            weight = torch.from_numpy(pair[0]).double()
            bias = None if pair[1] is None else torch.from_numpy(pair[1]).double()
            constants = layer_constants(step.fan_in, dtype="float64")
            rho = weight.flatten(1).abs().sum(1) + (0 if bias is None else bias.abs())
            hmax = max(1.0, float(h.abs().max()))
            error = float(rho.max()) * (constants.gain * error + constants.inject * hmax)
            error += constants.tiny
            if isinstance(layer, Conv2d):
                h = torch.nn.functional.conv2d(h, weight, bias, padding=layer.padding)
            else:
                h = torch.nn.functional.linear(h, weight, bias)
        elif isinstance(layer, ReLU):
            h = torch.relu(h)
        elif isinstance(layer, MaxPool2d):
            h = torch.nn.functional.max_pool2d(h, layer.size) if h.ndim == 4 else h
        elif isinstance(layer, Flatten):
            h = h.flatten(1)
    return h.numpy(), error


@pytest.mark.parametrize("shape", [MNIST, CIFAR], ids=["mnist", "cifar"])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_agrees_with_torch(architecture: Architecture, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    for prior in ("uniform", "kaiming-normal"):
        ensemble = Ensemble(architecture, priors.make(prior), shape, 2, 2**33 + 1)
        draw = 2**41 + 5
        logits = ensemble.logits(draw, x)
        expected, bound = _torch_logits(ensemble, draw, x)
        assert logits.dtype == np.float64
        assert logits.shape == (3, ensemble.n_outputs)
        assert np.abs(logits - expected).max() <= bound
        assert np.abs(expected).max() > 0 or "1/24" in str(architecture)


def test_order_of_summation_is_by_runs() -> None:
    # 1 is lost beside 2**53 within a run, and kept where it starts a run of its own.
    terms = np.zeros(32)
    terms[0], terms[1], terms[16], terms[17] = 2.0**53, 1.0, 1.0, 1.0
    assert reference.ordered_sum(lambda k: terms[k : k + 1], 32, 16)[0] == 2.0**53 + 2.0
    assert reference.ordered_sum(lambda k: terms[k : k + 1], 32, 32)[0] == 2.0**53
    assert reference.run_length(Dense(3)) == 16
    assert reference.run_length(Conv2d(3, kernel=5)) == 5


def test_bias_is_added_last() -> None:
    weight, bias = np.full((1, 2), 1.0), np.array([2.0**53])
    y = reference.apply(Dense(1, "prior"), np.array([[1.0, 1.0]]), weight, bias)
    assert y[0, 0] == 2.0**53 + 2.0


def test_small_sums_exactly() -> None:
    """Within 2**-53 relative error a rounding of the exact sum, where each sum rounds once."""
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(1, 5)).astype(np.float32), rng.normal(size=(1, 5)).astype(np.float32)
    y = reference.apply(Dense(1), x.astype(np.float64), w.astype(np.float64))[0, 0]
    exact = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x[0], w[0], strict=True))
    size = sum(abs(float(a) * float(b)) for a, b in zip(x[0], w[0], strict=True))
    assert abs(Fraction(float(y)) - exact) <= Fraction(5 * 2.0**-53 * size)


def test_max_pool_drops_incomplete_windows() -> None:
    x = np.arange(25.0).reshape(1, 1, 5, 5)
    assert reference.apply(MaxPool2d(2), x).tolist() == [[[[6.0, 8.0], [16.0, 18.0]]]]
    flat = np.arange(4.0)[None]
    assert reference.apply(MaxPool2d(2, images_only=True), flat) is flat


def test_parameters_depend_on_nothing_but_the_name() -> None:
    small = Ensemble(mlp(4, 1), priors.make("uniform"), (6,), 2, 5)
    wide = Ensemble(mlp(9, 1), priors.make("uniform"), (6,), 2, 5)
    a, b = small.parameters(2**63)[1], wide.parameters(2**63)[1]
    assert a is not None
    assert b is not None
    assert np.array_equal(a[0], b[0][:4])  # unit by unit, whatever the width
    again = small.parameters(2**63)[1]
    assert again is not None
    assert np.array_equal(a[0], again[0])
