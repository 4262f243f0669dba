"""The law of batch norms and residual blocks: statistics, settled networks, declarations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biasgpu import priors, reference, resnet4
from biasgpu.architectures import Architecture
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layers import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Fork,
    Join,
    Layer,
    MaxPool2d,
    MaxPoolToFit,
    ReLU,
    Scale,
    layer_from_config,
    residual,
)
from biasgpu.layout import coupled, lay_out
from biasgpu.margins import gamma
from biasgpu.network import Network

U = 2.0**-53
SMALL = Architecture(
    "small",
    [Conv2d(3, "none", padding=1), BatchNorm2d(), ReLU(),
     *residual(Conv2d(3, "none", padding=1), BatchNorm2d(), ReLU()), MaxPool2d(2), Flatten(),
     Scale(-0.5)],
    bias="none",
)  # fmt: skip


def _inputs(n: int, shape: tuple[int, ...] = (2, 6, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def _ensemble(x: np.ndarray, prior: str = "uniform") -> BatchNormEnsemble:
    return BatchNormEnsemble(SMALL, priors.make(prior), x.shape[1:], 2, 7, x)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 4, 5), (2, 2, 1, 6), (7, 4, 9, 3)])
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_statistics_against_torch(shape: tuple[int, ...], mean: float) -> None:
    x = mean + np.random.default_rng(1).normal(size=shape)
    found = reference.statistics(x)
    flat = torch.from_numpy(x).transpose(0, 1).flatten(1)
    n = flat.shape[1]
    # Of n additions on either side, a product and a quotient; the square of the mean as well.
    once = 2 * gamma(n + 2, U) * flat.abs().mean(dim=1).numpy()
    assert (np.abs(found[0] - flat.mean(dim=1).numpy()) <= once).all()
    twice = 8 * gamma(n + 4, U) * flat.square().mean(dim=1).numpy()
    assert (np.abs(found[1] - flat.var(dim=1, correction=0).numpy()) <= twice).all()
    assert found[0].dtype == found[1].dtype == np.float64


def test_the_order_of_sums() -> None:
    # Along a row 1 is lost beside 2**53; in a row of its own it is not, and comes in once.
    x = np.zeros((2, 1, 2, 3))
    x[0, 0, 0] = (2.0**53, 1.0, 1.0)
    x[1, 0, 0, :2] = 1.0
    assert reference.statistics(x)[0][0] == (2.0**53 + 2.0) / 12.0
    # Rows one after the other: samples, and in them from the top.
    x = np.zeros((1, 1, 3, 1))
    x[0, 0, :, 0] = (2.0**53, 1.0, 1.0)
    assert reference.statistics(x)[0][0] == 2.0**53 / 3.0


def test_no_variance_is_negative() -> None:
    x = np.full((3, 2, 3, 7), 0.1)
    x[:, 1] = 1e-9
    mean, variance = reference.statistics(x)
    assert (variance >= 0.0).all()
    assert np.abs(mean - [0.1, 1e-9]).max() <= 0.1 * gamma(64, U)
    factor, shift = reference.affine(np.array([2.0, 0.0]), np.array([0.25, -1.0]), mean, variance)
    y = reference.apply(BatchNorm2d(), x, factor, shift)
    # A channel that says nothing ends at its bias: rounding times 1 / sqrt(epsilon).
    assert np.abs(y[:, 0] - 0.25).max() <= 0.2 * 1000 * gamma(64, U)
    assert (y[:, 1] == -1.0).all()


def test_affine_exactly() -> None:
    factor, shift = reference.affine(
        np.array([3.0]), np.array([0.5]), np.array([2.0]), np.array([4.0 - reference.EPSILON])
    )
    assert (factor[0], shift[0]) == (1.5, -2.5)
    assert torch.nn.BatchNorm2d(1).eps == reference.EPSILON


@pytest.mark.parametrize("n", [1, 2, 5])
def test_statistics_are_those_of_the_training_set(n: int) -> None:
    x = _inputs(n)
    ensemble = _ensemble(x)
    first = reference.apply(SMALL.layers[0], x.astype(np.float64), ensemble.settled(3)[0][0])  # type: ignore[index]
    expected = reference.statistics(first)
    found = ensemble.statistics(3)
    assert sorted(found) == [1, 5]
    assert np.array_equal(found[1][0], expected[0])
    assert np.array_equal(found[1][1], expected[1])
    others = _inputs(4, seed=9)
    # What is asked together changes nothing; what it was trained on does.
    alone = np.concatenate([ensemble.logits(3, others[i : i + 1]) for i in range(4)])
    assert np.array_equal(ensemble.logits(3, others), alone)
    if n > 1:
        assert not np.array_equal(_ensemble(x[:-1]).logits(3, others), alone)
    before = Ensemble(SMALL, priors.make("uniform"), x.shape[1:], 2, 7)
    assert not np.array_equal(before.logits(3, others), alone)


def test_weights_of_batch_norms() -> None:
    drawn = _ensemble(_inputs(2)).parameters(5)[1]
    assert drawn is not None
    weight, bias = drawn
    assert bias is not None
    assert weight.dtype == bias.dtype == np.float32
    assert (np.abs(weight - 1.0) <= 0.1).all()
    assert (np.abs(bias) <= 0.05).all()
    assert len({*weight.tolist(), *bias.tolist()}) == 6
    plain = _ensemble(_inputs(2), "kaiming-uniform").parameters(5)[1]
    assert plain is not None
    assert plain[1] is not None
    assert (plain[0] == 1.0).all()
    assert (plain[1] == 0.0).all()


@pytest.mark.parametrize("arrangement", [0, 1])
def test_a_module_in_evaluation_mode(arrangement: int) -> None:
    x, others = _inputs(6), _inputs(3, seed=4)
    network = Network(_ensemble(x), 2 * 11 + arrangement)
    module = network.module(torch.float64)
    assert not module.training
    with torch.no_grad():
        found = module(torch.from_numpy(others).double()).numpy()
        # In training mode on the training set: the same, without any rounding to float32.
        trained = network.module(torch.float64).train()(torch.from_numpy(x).double()).numpy()
    # Statistics of the module are float32: 2^-24 of each number, times what layers make of it.
    size = np.abs(network.logits(others)).max()
    assert np.abs(found - network.logits(others)).max() <= 1e-4 * size
    assert np.abs(trained - network.logits(x)).max() <= 1e-12 * np.abs(network.logits(x)).max()
    state = module.state_dict()
    weights = network.weights()
    counted = [name for name in state if name.endswith("num_batches_tracked")]
    assert counted == ["1.num_batches_tracked", "5.num_batches_tracked"]
    assert [name for name in state if name not in counted] == list(weights)
    assert all(int(state[name]) == 0 for name in counted)
    for name, values in weights.items():
        assert values.dtype == np.float32
        assert np.array_equal(state[name].numpy(), values.astype(np.float64))
    mean, variance = network.ensemble.statistics(11)[1]
    assert np.array_equal(weights["1.running_mean"], mean.astype(np.float32))
    assert np.array_equal(weights["1.running_var"], variance.astype(np.float32))
    assert "0.bias" not in weights
    # Going on with training moves the running statistics, as PyTorch users expect.
    module.train()(torch.from_numpy(x).double())
    assert int(module.state_dict()["1.num_batches_tracked"]) == 1


def test_an_ensemble_needs_batch_norms_and_samples() -> None:
    plain = Architecture("plain", [Flatten(), Dense(3), ReLU()])
    for architecture, x in ((plain, _inputs(2)), (SMALL, _inputs(0))):
        with pytest.raises(UsageError, match="no batch norm, or there is no training sample"):
            BatchNormEnsemble(architecture, priors.make("uniform"), (2, 6, 5), 2, 0, x)


# --- declarations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Fork(), ReLU()], "a Fork has no Join"),
        ([Join()], "a Join of shape .* has no Fork"),
        (residual(MaxPool2d(2)), "a Join of shape .* has no Fork of that shape"),
        (residual(Conv2d(3, padding=1)), "a Join of shape"),
        ([Flatten(), BatchNorm2d()], "BatchNorm2d needs inputs of shape"),
        ([Flatten(), MaxPoolToFit()], "MaxPoolToFit needs inputs of shape"),
    ],
)
def test_what_does_not_fit(layers: list[Layer], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lay_out(layers, (2, 8, 8), 32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scale(0.0), "Scale: factor is 0.0"),
        (lambda: Scale(float("nan")), "factor is nan"),
        (lambda: Scale(True), "factor is True"),
        (lambda: MaxPoolToFit((4, 0)), "sizes is 0"),
        (lambda: Conv2d(3, "nine"), "bias"),  # type: ignore[arg-type]
        (lambda: resnet4(depth=5), "depth is 5"),
        (lambda: resnet4("1/100"), "1/100"),
    ],
)
def test_what_cannot_be(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_blocks_within_blocks() -> None:
    layers = residual(ReLU(), *residual(Scale(3.0)), Scale(2.0))
    steps = lay_out(layers, (1, 2, 2), 32)
    x = np.array([[[[1.0, -2.0], [0.0, 4.0]]]])
    assert (
        reference.forward(steps, [None] * len(steps), x).tolist()
        == (x + 2.0 * 4.0 * np.maximum(x, 0.0)).tolist()
    )
    assert not coupled(steps)


@pytest.mark.parametrize(
    ("shape", "size"), [((2, 4, 4), 4), ((2, 3, 3), 2), ((2, 8, 6), 2), ((2, 16, 12), 4)]
)
def test_a_pool_that_fits(shape: tuple[int, ...], size: int) -> None:
    assert MaxPoolToFit((4, 2)).at(shape) == MaxPool2d(size)
    assert MaxPoolToFit((4, 2)).out_shape(shape) == MaxPool2d(size).out_shape(shape)
    made = Architecture("own", [MaxPoolToFit((4, 2))]).resolve(shape, 2)
    assert made[0] == MaxPool2d(size)


@pytest.mark.parametrize("made", [SMALL, resnet4(), resnet4("4/6", 2, head="one-logit")], ids=str)
def test_a_description_rebuilds_them(made: Architecture) -> None:
    assert Architecture.from_config(made.to_config()) == made
    assert made.coupled
    for layer in made.layers:
        assert layer_from_config(layer.to_config()) == layer
