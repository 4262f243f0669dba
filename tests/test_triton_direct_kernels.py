"""Each kernel of method "direct" against its twin: values, slack, and what it must not touch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch
import triton
import triton.language as tl

from biasgpu import priors
from biasgpu.architectures import Architecture, mlp
from biasgpu.engines.triton_program import Program
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_launch as launch
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels import direct_reference as reference
from biasgpu.kernels.direct_launch import Activations, Names
from biasgpu.kernels.direct_weights import EPSILON_NORMAL, weight
from biasgpu.layers import Conv2d, Flatten, MaxPool2d, ReLU
from tests.direct_cases import FIRST, SEED, names, tensor
from tests.kernel_cases import DEVICE

N = 3  # draws; a program has room for more
GUARD = 2.0**100  # stands behind and between what a kernel may write
STAGE = plan.Stage(0, 2)


def room(features: int, groups: int, wide: bool) -> Activations:
    """Poisoned, with a guard behind."""
    kind = torch.float64 if wide else torch.float32
    sizes = [STAGE.padded * plan.BLOCK * size + 7 for size in (features, features, groups)]
    parts = [torch.full((size,), GUARD, dtype=kind, device=DEVICE) for size in sizes]
    return Activations(*parts, shared=False)


def own(values: torch.Tensor, *shape: int) -> npt.NDArray[np.float64]:
    """`(draws, samples, *shape)` of what a kernel wrote; its guard is untouched."""
    size = STAGE.padded * int(np.prod(shape)) * plan.BLOCK
    assert (values[size:].cpu().numpy() == GUARD).all()
    found = values[:size].cpu().numpy().astype(np.float64)
    return np.moveaxis(found.reshape(STAGE.padded, *shape, plan.BLOCK), -1, 0)[:N]


def program(architecture: Architecture, shape: tuple[int, ...], prior: str) -> Program:
    ensemble = Ensemble(architecture, priors.make(prior), shape, 2, SEED)
    return Program(ensemble, np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32))


def shared(made: Program, wide: bool) -> Activations:
    return Activations(*(tensor(part) for part in made.shared(STAGE, wide)), shared=True)


def canonical(made: Program, draw: int, number: int) -> tuple[Any, Any]:
    weights, bias = made.ensemble.step_parameters(draw, made.ops[number].step) or (None, None)
    assert weights is not None
    return weights.astype(np.float64), None if bias is None else bias.astype(np.float64)


def close(found: npt.NDArray, expected: npt.NDArray, wide: bool) -> bool:
    """Slack is computed in few roundings of numbers that are not negative."""
    return bool((np.abs(found - expected) <= (1e-12 if wide else 1e-4) * np.abs(expected)).all())


# --- weights -------------------------------------------------------------------------------------


@triton.jit
def _weights_kernel(
    word_ptr, factor_ptr, to_ptr, J: tl.constexpr, BITS: tl.constexpr, NORMAL: tl.constexpr,
    WIDE: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    at = tl.arange(0, N)
    w0 = tl.load(word_ptr + at).to(tl.uint32)
    w1 = tl.load(word_ptr + N + at).to(tl.uint32)
    w2 = tl.load(word_ptr + 2 * N + at).to(tl.uint32)
    w3 = tl.load(word_ptr + 3 * N + at).to(tl.uint32)
    value = weight(w0, w1, w2, w3, tl.load(factor_ptr), J, BITS, NORMAL, WIDE)
    tl.store(to_ptr + J * N + at, value)


@pytest.mark.parametrize("name", ["uniform:0.3", "uniform16", "uniform8", "normal:0.7"])
@pytest.mark.parametrize("wide", [False, True])
def test_weights_are_the_law(name: str, wide: bool) -> None:
    prior, n = priors.make(name), 4096
    words = np.random.default_rng(2).integers(0, 2**32, (n, 4), dtype=np.uint32)
    words[:6, 0] = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1]
    made = program(mlp(2, 0), (3,), name)
    factor = tensor(made.constants(0, wide)[:1])
    per_block = 128 // prior.bits
    kind = torch.float64 if wide else torch.float32
    found = torch.zeros(per_block * n, dtype=kind, device=DEVICE)
    run: Any = _weights_kernel[(1,)]
    for j in range(per_block):
        run(
            tensor(words.T.astype(np.int64).ravel()), factor, found, J=j, BITS=prior.bits,
            NORMAL=prior.family == "normal", WIDE=wide, N=n,
        )  # fmt: skip
    weights = found.cpu().numpy().reshape(per_block, n).T
    expected = prior.weights(words, 3)
    if prior.family == "uniform" or wide:
        known = ~np.isnan(weights)
        assert known.mean() > 0.999
        assert np.array_equal(weights[known], expected[known])
    else:
        assert np.abs(weights / expected.astype(np.float64) - 1).max() < EPSILON_NORMAL


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "bias", "wide"),
    [("uniform", "zero", False), ("uniform16", "prior", True), ("normal", "prior", False)],
)
def test_dense_layers(prior: str, bias: Any, wide: bool) -> None:
    """A first layer and a second, of which one input is certainly zero."""
    made = program(mlp(5, 1, bias=bias), (7,), prior)
    batch, hidden, logits = names(), room(5, 0, wide), room(2, 0, wide)
    for number, (inputs, outputs) in enumerate(((shared(made, wide), hidden), (hidden, logits))):
        op = made.ops[number]
        launch.dense(
            batch, made.weights(number), tensor(made.constants(number, wide)), inputs, outputs,
            n_inputs=op.step.fan_in, biased=op.biased, rectified=op.rectified, samples=STAGE.padded,
        )  # fmt: skip
        if number == 0:  # as if a unit were dead
            hidden.values[: plan.BLOCK] = hidden.slack[: plan.BLOCK] = 0.0
    x, slack, _ = made.shared(STAGE, wide)
    for d in range(N):
        h, s = x.astype(np.float64), slack.astype(np.float64)
        for number, outputs in ((0, hidden), (1, logits)):
            units = made.ops[number].units
            found, found_slack = (own(v, units)[d] for v in (outputs.values, outputs.slack))
            constants = made.constants(number, wide)
            weights, b = canonical(made, FIRST + d, number)
            expected, expected_slack = reference.dense(weights, b, h, s, constants, number == 0)
            if number == 0:
                expected[0, 0] = expected_slack[0, 0] = 0.0
                gain, inject = constants[3], constants[4]
                error = (expected_slack - inject * np.abs(expected)) / gain
                assert (np.abs(found - expected) <= np.maximum(error, 0)).all()
            else:
                assert (np.abs(found - expected) <= expected_slack).all()
            tight = np.abs(expected) + (number == 1) > 1e-3  # clear of a ReLU's threshold
            assert close(found_slack[tight], expected_slack[tight], wide)
            h, s = found, found_slack


@pytest.mark.parametrize(
    ("bias", "pooled", "wide"), [("zero", True, False), ("prior", False, True)]
)
def test_convolutions_and_pools(bias: Any, pooled: bool, wide: bool) -> None:
    first = [Conv2d(3, bias, kernel=2), ReLU(), *([MaxPool2d(2)] if pooled else [])]
    layers = [*first, Conv2d(2, bias, kernel=2), MaxPool2d(2), MaxPool2d(2), Flatten()]
    made = program(Architecture("two", layers), (2, 11, 12) if pooled else (1, 6, 7), "uniform")
    batch, x, (_, _, group) = names(), made.x, made.shared(STAGE, wide)
    here = shared(made, wide)
    kind = here.values.dtype
    values = [x.astype(np.float64)] * N
    groups = [group.astype(np.float64)] * N
    for number, op in enumerate(made.ops[:2]):
        constants, drawn = made.constants(number, wide), made.weights(number)
        size = op.units * op.step.columns * plan.BLOCK
        weights = torch.full((size + 7,), GUARD, dtype=kind, device=DEVICE)
        there = room(op.features, op.units, wide)
        launch.draw(batch, drawn, tensor(constants), weights, columns=op.step.columns)
        assert (weights[size:].cpu().numpy() == GUARD).all()
        launch.convolution(
            batch, tensor(constants), weights, here, there, in_shape=op.image, n_units=op.units,
            kernel=op.kernel, biased=op.biased, rectified=op.rectified, pooled=op.pooled,
            samples=STAGE.padded,
        )  # fmt: skip
        _, rows, columns = op.step.out_shape
        shape = (op.units, rows // 2, columns // 2) if op.pooled else op.step.out_shape
        for d in range(N):
            weights_, b = canonical(made, FIRST + d, number)
            drawn_ = weights.cpu().numpy()[:size].reshape(op.units, -1, plan.BLOCK)[..., d]
            assert np.array_equal(drawn_[:, : op.step.fan_in], weights_.reshape(op.units, -1))
            h, slack, by_group = reference.convolution(
                weights_, b, values[d], groups[d], constants, op.rectified, op.pooled
            )
            found = own(there.values, *shape)[d]
            bound = by_group[..., None, None] / constants[3]
            assert (np.abs(found - h) <= bound).all()
            clear = np.abs(h) > 1e-3
            assert close(own(there.slack, *shape)[d][clear], slack[clear], wide)
            values[d], groups[d] = found, own(there.group, op.units)[d]
            assert close(groups[d], by_group, wide)
        here = there
    (size, image) = made.ops[1].pools[0]
    after = room(image[0] * (image[1] // size) * (image[2] // size), 0, wide)
    shape = (image[0], image[1] // size, image[2] // size)
    to = Activations(after.values, after.slack, here.group, shared=False)
    launch.pool(batch, here, to, in_shape=image, size=size, samples=STAGE.padded)
    h, slack = reference.pool(values[0], own(here.slack, *image)[0], size)
    assert np.array_equal(own(to.values, *shape)[0], h)
    assert np.array_equal(own(to.slack, *shape)[0], slack)


# --- what launchers refuse -----------------------------------------------------------------------


def test_launchers_refuse_what_does_not_fit() -> None:
    made = program(mlp(5, 1), (7,), "uniform")
    constants, inputs = tensor(made.constants(0, False)), shared(made, False)

    def dense(outputs: Activations, batch: Names | None = None, **changes: Any) -> None:
        values = {"n_inputs": 7, "biased": False, "rectified": True, "samples": 2, **changes}
        launch.dense(batch or names(), made.weights(0), constants, inputs, outputs, **values)

    dense(room(5, 0, False))
    for refused in (
        lambda: dense(room(4, 0, False)),  # too small
        lambda: dense(room(5, 0, True)),  # another type
        lambda: dense(inputs),  # shared outputs
        lambda: dense(room(5, 0, False), names(plan.BLOCK + 1)),  # more programs than room
        lambda: dense(room(5, 0, False), names(0)),  # no draws
        lambda: dense(room(5, 0, False), n_inputs=8),  # more inputs than there are
        lambda: launch.pool(
            names(), room(4, 1, False), room(1, 1, False), in_shape=(1, 2, 2), size=3, samples=2
        ),
        lambda: launch.draw(names(), made.weights(0), constants, constants[:3], columns=7),
    ):
        with pytest.raises(ValueError, match=r"."):
            refused()
