"""Measures of networks with batch norms and residual blocks, against PyTorch's differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biasgpu import measures, priors, task_from_arrays
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.drawn import DrawnNetworks
from biasgpu.layers import Linear
from biasgpu.measures import input_gradient
from biasgpu.measures.input_gradient import norms_by_law
from biasgpu.network import Network
from tests.test_batch_norm_law import SMALL


def _networks(n: int = 4) -> DrawnNetworks:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(13, 2, 6, 5)).astype(np.float32)
    y = np.arange(13) % 2
    task = task_from_arrays(x[:6], y[:6], x[6:], y[6:])
    ensemble = BatchNormEnsemble(SMALL, priors.make("uniform"), (2, 6, 5), 2, 1, task.x_train)
    return DrawnNetworks(task, ensemble, np.arange(3, 3 + n, dtype=np.uint64))


def _modules(networks: DrawnNetworks) -> list[torch.nn.Module]:
    indices = networks.index.tolist()
    return [Network(networks.ensemble, index).module(torch.float64) for index in indices]


def _by_input(networks: DrawnNetworks, x: np.ndarray) -> np.ndarray:
    found = []
    for module in _modules(networks):
        inputs = torch.from_numpy(x).double().requires_grad_()
        logits = module(inputs)
        (logits[:, 1] - logits[:, 0]).sum().backward()
        assert inputs.grad is not None
        found.append(inputs.grad.flatten(1).norm(dim=1).numpy())
    return np.stack(found)


def test_statistics_are_constants_in_input_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = _networks()
    x = networks.task.x_test
    expected = _by_input(networks, x)
    flat = networks.parameters(0, 4)
    found = measures.input_gradient_norms(networks, x)
    # Float64 throughout: some thousand roundings.
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(norms_by_law(networks.steps, flat, x), expected, rtol=1e-12)
    monkeypatch.setattr(input_gradient, "SAMPLES", 3)
    monkeypatch.setattr(input_gradient, "BATCH_BYTES", 1)
    np.testing.assert_allclose(norms_by_law(networks.steps, flat, x), expected, rtol=1e-12)
    np.testing.assert_array_equal(measures.lipschitz(networks), found.max(axis=1))


def test_gradients_of_training_go_through_the_statistics() -> None:
    networks = _networks()
    task = networks.task
    expected = []
    for module in _modules(networks):
        logits = module.train()(torch.from_numpy(task.x_train).double())
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(task.y_train)).backward()
        squares = [(p.grad**2).sum() for p in module.parameters() if p.grad is not None]
        expected.append(float(torch.stack(squares).sum().sqrt()))
    np.testing.assert_allclose(measures.gradient_norm(networks), expected, rtol=1e-11)


def test_norms_are_those_of_linear_layers() -> None:
    networks = _networks(2)
    n_linear = sum(isinstance(step.layer, Linear) for step in networks.steps)
    assert n_linear == 3
    frobenius, spectral = measures.frobenius(networks), measures.spectral(networks)
    assert frobenius.shape == spectral.shape == (2, n_linear)
    for row, module in zip(frobenius, _modules(networks), strict=True):
        weights = [p for p in module.parameters() if p.ndim > 1]
        np.testing.assert_allclose(row, [float(w.norm().detach()) for w in weights], rtol=1e-12)


def test_logits_of_measures_are_of_the_exported_network() -> None:
    networks = _networks()
    logits = measures.measure_columns(networks)["train_logits"]
    for row, index in zip(logits, networks.index.tolist(), strict=True):
        network = Network(networks.ensemble, index)
        by_law = network.logits(networks.task.x_train)
        with torch.no_grad():
            module = network.module(torch.float64)(torch.from_numpy(networks.task.x_train).double())
        # Statistics rounded to float32, in both; not so in the law.
        np.testing.assert_allclose(row, module.numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(row, by_law, rtol=1e-4, atol=1e-5)
        assert not np.array_equal(row, by_law)
