"""A named network: weights, logits, module."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biasgpu import priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layers import Conv2d, MaxPool2d, ReLU
from biasgpu.margins import layer_constants
from biasgpu.network import Network

SEED, DRAW = 2**32 + 7, 2**40 + 3
CASES = [
    (lenet("1/6"), (1, 28, 28), 2, "uniform"),
    (paper_mlp("1/6"), (3, 32, 32), 3, "kaiming-normal"),
    (paper_mlp("1/6"), (11,), 2, "kaiming-uniform8"),
    (mlp(9, 2, bias="prior"), (1, 5, 4), 2, "normal:0.3"),
    (mlp(8, 1, head="one-logit", bias="prior"), (2,), 2, "uniform"),
    (mlp(8, 0, head="one-logit"), (6,), 2, "uniform16"),
    (Architecture("c", [Conv2d(3, "prior", kernel=3, padding=1), ReLU(), MaxPool2d(3)]),
     (2, 7, 8), 4, "uniform"),
]  # fmt: skip


def _network(case: int, arrangement: int) -> Network:
    architecture, shape, n_classes, prior = CASES[case]
    ensemble = Ensemble(architecture, priors.make(prior), shape, n_classes, SEED)
    return Network(ensemble, ensemble.n_arrangements * DRAW + arrangement)


def _inputs(network: Network, n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, *network.ensemble.shape)).astype(np.float32)


def _bound(network: Network, x: np.ndarray) -> float:
    """How far the float64 module's logits may be from the law's, by `biasgpu.margins`."""
    h = torch.from_numpy(x).double()
    error = 0.0
    for step, layer in zip(network.steps, network.module(torch.float64), strict=True):
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
            weight, bias = layer.weight.detach(), layer.bias
            assert bias is not None
            bias = bias.detach()
            constants = layer_constants(step.fan_in, dtype="float64")
            rho = float((weight.flatten(1).abs().sum(1) + bias.abs()).max())
            hmax = max(1.0, float(h.abs().max()))
            error = rho * (constants.gain * error + constants.inject * hmax) + constants.tiny
        h = layer(h).detach()
    return error


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("arrangement", [0, 1])
def test_module_agrees_with_the_law(case: int, arrangement: int) -> None:
    network = _network(case, arrangement)
    x = _inputs(network)
    with torch.no_grad():
        outputs = network.module(torch.float64)(torch.from_numpy(x).double()).numpy()
    logits = network.logits(x)
    assert logits.dtype == np.float64
    assert logits.shape == (5, network.ensemble.n_classes)
    if network.ensemble.n_outputs == 1:
        assert outputs.shape == (5, 1)
        outputs = np.concatenate([np.zeros((5, 1)), outputs], axis=1)
    assert np.abs(logits).max() > 0
    assert np.abs(outputs - logits).max() <= _bound(network, x)
    assert network.predict(x).tolist() == logits.argmax(axis=1).tolist()
    assert network.predict(x).dtype == np.int64


@pytest.mark.parametrize("case", range(len(CASES)))
def test_state_dict_names_are_the_modules(case: int) -> None:
    network = _network(case, 1)
    state, weights = network.state_dict(), network.weights()
    module = network.module()
    assert list(state) == list(module.state_dict()) == list(weights)
    for name, value in module.state_dict().items():
        assert value.dtype == torch.float32
        assert np.array_equal(value.numpy(), weights[name])
        assert weights[name].dtype == np.float32
    drawn = network.ensemble.architecture.bias == "prior"
    last = network.steps[-1].position
    assert bool(weights[f"{last}.bias"].any()) == drawn
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_arrangements_permute_the_output_rows() -> None:
    first, second = _network(0, 0), _network(0, 1)
    assert (first.draw, first.arrangement, second.arrangement) == (DRAW, 0, 1)
    a, b = first.weights(), second.weights()
    last = f"{first.steps[-1].position}.weight"
    assert np.array_equal(a[last][::-1], b[last])
    assert all(np.array_equal(a[name], b[name]) for name in a if name != last)
    x = _inputs(first)
    assert np.array_equal(first.logits(x)[:, ::-1], second.logits(x))


def test_three_classes() -> None:
    networks = [_network(1, arrangement) for arrangement in range(6)]
    x = _inputs(networks[0])
    base = networks[0].logits(x)
    last = f"{networks[0].steps[-1].position}.weight"
    assert np.array_equal(networks[3].logits(x), base[:, [1, 2, 0]])
    assert np.array_equal(networks[3].weights()[last], networks[0].weights()[last][[1, 2, 0]])


def test_one_logit_flips_its_sign() -> None:
    first, second = _network(4, 0), _network(4, 1)
    last = first.steps[-1].position
    for name in (f"{last}.weight", f"{last}.bias"):
        assert np.array_equal(first.weights()[name], -second.weights()[name])
    x = _inputs(first)
    logits = first.logits(x)
    assert (logits[:, 0] == 0).all()
    assert np.array_equal(second.logits(x), [-1.0, -1.0] * logits)


def test_the_name_is_everything() -> None:
    network, again = _network(3, 1), _network(3, 1)
    assert network == again
    for name, array in network.weights().items():
        assert np.array_equal(array, again.weights()[name])
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    other_draw = Network(network.ensemble, network.index + 2 * 2**32).weights()
    architecture, shape, n_classes, prior = CASES[3]
    seeds = [
        Network(Ensemble(architecture, priors.make(prior), shape, n_classes, seed), network.index)
        for seed in (7, SEED)
    ]
    assert not np.array_equal(network.weights()["1.weight"], other_draw["1.weight"])
    assert not np.array_equal(seeds[0].weights()["1.weight"], seeds[1].weights()["1.weight"])


def test_making_a_module_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    _network(0, 0).module()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("index", [-1, 2**64, 1.5])
def test_indices_that_name_nothing(index: int) -> None:
    with pytest.raises(UsageError):
        Network(_network(0, 0).ensemble, index)


def test_the_last_names() -> None:
    ensemble = _network(1, 0).ensemble
    assert Network(ensemble, 6 * (2**64 // 6) - 1).arrangement == 5
    with pytest.raises(UsageError, match="names no draw"):
        Network(ensemble, 2**64 - 1)
