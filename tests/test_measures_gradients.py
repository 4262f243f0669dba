"""Input gradients and Lipschitz constants, against torch's autograd in float64."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from biasgpu import measures
from biasgpu.errors import UsageError
from biasgpu.margins import gamma
from biasgpu.measures import batches, input_gradient
from biasgpu.measures.cpu import kernel, lowering, norms, scaling
from biasgpu.measures.input_gradient import norms_by_law
from biasgpu.networks import GivenNetworks
from biasgpu.packing import Packing
from biasgpu.training import law
from tests.measure_cases import ARCHITECTURES, module_of, networks_of, torch_gradients

pytest.importorskip("torch")
U = 2.0**-24


def from_torch(networks: GivenNetworks, x: npt.NDArray) -> npt.NDArray[np.float64]:
    """The largest norm over pairs of classes: `(n, samples)`."""
    result = []
    for flat in networks.flat:
        module = module_of(networks.steps, flat)
        pairs = combinations(range(networks.task.n_classes), 2)
        gradients = [torch_gradients(module, x, *pair).reshape(len(x), -1) for pair in pairs]
        result.append(np.linalg.norm(gradients, axis=2).max(axis=0))
    return np.array(result)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_exact_on_whole_numbers(name) -> None:
    """Nothing rounds, so ties, zeros and signs must all be as in torch; some are silent."""
    networks = networks_of(name, 19, whole=True)
    x = networks.task.x_test
    found = measures.input_gradient_norms(networks, x)
    # Squares of whole numbers add up exactly, and their root is rounded once.
    np.testing.assert_array_equal(found, from_torch(networks, x))
    by_law = norms_by_law(networks.steps, networks.flat[:3], x)
    np.testing.assert_array_equal(by_law, found[:3])


def bound(networks: GivenNetworks, x: npt.NDArray) -> npt.NDArray[np.float64]:
    """How far the float32 norms of one pair of classes may be from the exact ones: `(n, samples)`.

    Every term of a gradient is a product of weights along a path; it is rounded once by each
    addition that it goes through, at most as many as each layer has paths that meet. So a gradient
    is off by at most gamma_m times the gradient of the network of absolute weights on the same
    linear piece, and its norm by the norm of that.
    """
    steps = networks.steps
    meeting = sum(
        step.linear.units * int(np.prod(step.linear.weight_shape(step.in_shape)[2:]))
        for step in steps
        if step.linear
    )
    result = []
    for flat in networks.flat.astype(np.float64):
        values = law.forward(steps, flat, x)
        upstream = np.ones_like(values[-1])
        found = law.backward(steps, np.abs(flat), values, upstream)[1].reshape(len(x), -1)
        result.append(gamma(meeting, U) * np.linalg.norm(found, axis=1))
    return np.array(result)


@pytest.mark.parametrize("name", ["linear", "one logit", "pool, then padding", "lenet"])
def test_within_the_rounding_of_float32(name) -> None:
    networks = networks_of(name, 17)
    x = networks.task.x_test
    expected = from_torch(networks, x)
    found = measures.input_gradient_norms(networks, x)
    # The roots and squares are of float64; a few of its roundings are far below one of float32.
    assert (np.abs(found - expected) <= bound(networks, x) + U * expected).all()
    assert (found > 0.0).mean() > 0.5


def test_batches_threads_and_company_change_no_bit(monkeypatch) -> None:
    networks = networks_of("lenet", 37, n_test=23)
    x = networks.task.x_test
    whole = norms(networks.steps, networks.flat, x, threads=1)
    np.testing.assert_array_equal(norms(networks.steps, networks.flat, x, threads=3), whole)
    some = norms(networks.steps, networks.flat[5:9], x[4:7], threads=2)
    np.testing.assert_array_equal(some, whole[5:9, 4:7])
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    np.testing.assert_array_equal(measures.lipschitz(networks, threads=2), whole.max(axis=1))


def test_lipschitz_is_the_largest_over_the_data() -> None:
    networks = networks_of("four classes", 5)
    task = networks.task
    train = measures.input_gradient_norms(networks, task.x_train).max(axis=1)
    test = measures.input_gradient_norms(networks, task.x_test).max(axis=1)
    assert (train != test).any()
    np.testing.assert_array_equal(measures.lipschitz(networks), test)
    np.testing.assert_array_equal(measures.lipschitz(networks, on="train"), train)
    np.testing.assert_array_equal(measures.lipschitz(networks, "both"), np.maximum(train, test))
    with pytest.raises(UsageError, match="tests") as error:
        measures.lipschitz(networks, on="tests")  # type: ignore[arg-type]
    assert error.value.why and error.value.fix


def test_without_networks_or_test_set() -> None:
    networks = networks_of("lenet", 3, n_test=0)
    assert np.isnan(measures.lipschitz(networks)).all()
    assert np.isfinite(measures.lipschitz(networks, "both")).all()
    none = GivenNetworks(networks.task, networks.steps, networks.flat[:0])
    assert measures.lipschitz(none, "train").shape == (0,)
    assert measures.input_gradient_norms(networks, networks.task.x_test).shape == (3, 0)


@pytest.mark.parametrize("exponent", [-60, 40])
def test_the_scale_of_weights_does_not_matter(exponent) -> None:
    """Products of such weights are no float32 numbers; powers of two round nothing."""
    networks = networks_of("lenet", 4)
    x = networks.task.x_test
    packing = Packing(networks.steps)
    flat, layers = networks.flat.copy(), 0
    for pair in packing.unpack(flat):
        if pair is not None:
            layers += 1
            pair[0][...] = np.ldexp(pair[0], exponent)
            pair[1][...] = 0.0
    plain = packing.pack(
        [pair and (np.ldexp(pair[0], -exponent), pair[1]) for pair in packing.unpack(flat)]
    ).astype(np.float32)
    expected = np.ldexp(norms(networks.steps, plain, x), layers * exponent)
    np.testing.assert_array_equal(norms(networks.steps, flat, x), expected)


def test_what_float32_may_not_hold_is_left_to_float64() -> None:
    networks = networks_of("one logit", 5)
    x = networks.task.x_test
    flat = networks.flat.copy()
    first = Packing(networks.steps).unpack(flat)[0]
    assert first is not None
    first[0][1] *= 1e-30  # beside biases of 1
    first[0][3, 0, 0] = np.inf
    found = norms(networks.steps, flat, x)
    usual = norms(networks.steps, networks.flat, x)
    np.testing.assert_array_equal(found[[0, 2, 4]], usual[[0, 2, 4]])
    np.testing.assert_array_equal(found[1], norms_by_law(networks.steps, flat[1:2], x)[0])
    assert np.isnan(found[3]).all()
    certain = scaling.scale(networks.steps, flat, 3.0).certain
    assert certain.tolist() == [True, False, True, False, True]


def test_layers_without_a_compiled_form_take_the_law(monkeypatch) -> None:
    networks = networks_of("padded", 3)
    x = networks.task.x_test
    monkeypatch.setattr(input_gradient, "KNOWN", ())
    monkeypatch.setattr(input_gradient, "SAMPLES", 4)
    found = measures.input_gradient_norms(networks, x)
    # Both are float64: a thousand roundings of it at most.
    np.testing.assert_allclose(found, from_torch(networks, x), rtol=1e-12)


def test_a_raised_flag_ends_the_work() -> None:
    from biasgpu.engines.cpu.workspace import STOP, aligned
    from biasgpu.measures.cpu.norms import Space

    networks = networks_of("lenet", 16)
    plan = lowering.lower(networks.steps)
    inputs, passes = plan.inputs(networks.task.x_test)
    space, n = Space.make(plan, 2), len(inputs)
    space.names[STOP] = 1
    squares = aligned(n * 16, np.float64)
    lanes = np.ascontiguousarray(networks.flat.T[plan.order]).reshape(-1)
    arguments: Any = (
        plan.program.ops, plan.places, plan.program.quads, inputs.reshape(-1), passes.reshape(-1),
        np.array([[0, 1]]), n, 2, lanes, space.names, space.outputs, space.winners, space.here,
        space.there, space.spread, squares,
    )  # fmt: skip
    kernel.compiled_squares()(*arguments)
    assert not squares.any()
    space.names[STOP] = 0
    kernel.compiled_squares()(*arguments)
    assert squares.any()


def test_geometric_margins() -> None:
    networks = networks_of("one logit", 9, whole=True)
    flat = networks.flat.copy()
    flat[0] = 0.0  # says nothing: a margin of 0, a gradient of 0
    flat[1, :-1], flat[1, -1] = 0.0, 1.0  # constant
    networks = GivenNetworks(networks.task, networks.steps, flat)
    found = measures.geometric_margins(networks)
    assert np.isnan(found[0]).all()
    labels = networks.task.y_train
    np.testing.assert_array_equal(found[1], np.where(labels == 1, np.inf, -np.inf))
    margins = measures.training_margins(networks)[2:]
    gradients = from_torch(networks, networks.task.x_train)[2:]
    alive = gradients > 0
    np.testing.assert_array_equal(found[2:][alive], margins[alive] / gradients[alive])
    assert alive.any()
