"""Dense layers on tensor cores against the law: digits, sums, bounds, what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu import priors
from biasgpu.architectures import mlp
from biasgpu.engines.triton_program import Program
from biasgpu.engines.triton_tensor import shared_digits
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels import direct_reference as reference
from biasgpu.kernels import tensor_launch, tensor_plan
from biasgpu.kernels.direct_launch import Activations
from biasgpu.kernels.tensor_launch import Digits
from tests.direct_cases import FIRST, SEED, names, tensor
from tests.kernel_cases import DEVICE

N = 3  # draws; a block has room for more
GUARD = 2.0**100  # stands behind and between what a kernel may write
EXACT = frozenset({0, 1, 2})
Floats = npt.NDArray[np.float64]

# --- layers --------------------------------------------------------------------------------------


def program(units: int, n_inputs: int, prior: str, bias: Any, x: Any = None) -> Program:
    ensemble = Ensemble(mlp(units, 2, bias=bias), priors.make(prior), (n_inputs,), 2, SEED)
    if x is None:
        x = np.random.default_rng(1).normal(size=(4, n_inputs))
    return Program(ensemble, np.asarray(x, dtype=np.float32))


def room(features: int, samples: int) -> Activations:
    """Poisoned, with a guard behind."""
    sizes = [samples * plan.BLOCK * size + 7 for size in (features, features, 0)]
    parts = [torch.full((size,), GUARD, dtype=torch.float32, device=DEVICE) for size in sizes]
    return Activations(*parts, shared=False)


def own(values: torch.Tensor, samples: int, units: int) -> Floats:
    """`(draws, samples, units)` of what a kernel wrote; its guard is untouched."""
    size = samples * units * plan.BLOCK
    assert (values[size:].cpu().numpy() == GUARD).all()
    found = values[:size].cpu().numpy().astype(np.float64)
    return np.moveaxis(found.reshape(samples, units, plan.BLOCK), -1, 0)[:N]


def first(made: Program, stage: plan.Stage) -> Digits:
    digits, numbers_ = map(tensor, shared_digits(made, stage))
    return Digits(digits, digits, numbers_, shared=True)


def digits_room(made: Program, number: int, samples: int) -> Digits:
    drawn = made.weights(number)
    each = plan.BLOCK * tensor_plan.padded(drawn.blocks_per_unit, drawn.bits)
    columns = tensor_plan.bounds(samples, tensor_launch.maker())
    sizes = {torch.int8: (4 * samples * each, columns * each), torch.float32: (256 * samples,)}
    parts = [
        torch.full((size + 7,), 77, dtype=kind, device=DEVICE)
        for kind, all_ in sizes.items()
        for size in all_
    ]
    return Digits(*parts, shared=False)


def layer(
    made: Program, number: int, inputs: Activations | Digits, stage: plan.Stage
) -> Activations:
    """A layer's outputs; activations are made digits first."""
    op, samples = made.ops[number], stage.padded
    given = (names(N), made.weights(number), tensor(made.constants(number, False, EXACT)))
    if isinstance(inputs, Activations):
        to = digits_room(made, number, samples)
        tensor_launch.digits(*given, inputs, to, n_inputs=op.step.fan_in, biased=op.biased,
                             samples=samples)  # fmt: skip
        for part in (to.digits, to.slacks, to.numbers):
            assert (part[-7:].cpu().numpy() == 77).all()
        inputs = to
    outputs = room(op.units, samples)
    tensor_launch.product(*given, inputs, outputs, rectified=op.rectified, samples=samples)
    return outputs


def canonical(made: Program, draw: int, number: int) -> tuple[Floats, Floats | None]:
    weights, bias = made.ensemble.step_parameters(draw, made.ops[number].step) or (None, None)
    assert weights is not None
    return weights.astype(np.float64), None if bias is None else bias.astype(np.float64)


def most(made: Program, number: int) -> float:
    return made.scale(number) * 2.0 ** min(made.ensemble.prior.bits, 24)


def bounds(made: Program, number: int, h: Floats, slack: Floats) -> Floats:
    """Of the outputs, from their slack for the next layer."""
    _, _, _, gain, inject, floor = made.constants(number, False, EXACT)
    return np.where(slack == 0, 0.0, (slack - inject * np.maximum(np.abs(h), floor)) / gain)


@pytest.mark.parametrize(
    ("prior", "bias", "units", "stage"),
    [
        ("uniform", "zero", 35, plan.Stage(0, 2)),
        ("uniform16", "prior", 9, plan.Stage(1, 3)),
        ("uniform8", "zero", 66, plan.Stage(0, 2)),
        ("kaiming-uniform", "prior", 5, plan.Stage(0, 4)),
    ],
)
def test_layers(prior: str, bias: Any, units: int, stage: plan.Stage) -> None:
    """A first layer, a second of which one input is certainly zero, and logits."""
    made = program(units, 37, prior, bias)
    samples, inputs = stage.padded, first(made, stage)
    x, slack, _ = made.shared(stage, False, EXACT)
    h = np.broadcast_to(x.astype(np.float64), (N, *x.shape))
    slacks = np.broadcast_to(slack.astype(np.float64), h.shape)
    for number, op in enumerate(made.ops):
        outputs = layer(made, number, inputs, stage)
        found, found_slack = (own(v, samples, op.units) for v in (outputs.values, outputs.slack))
        constants, last = made.constants(number, False, EXACT), number == 2
        for d in range(N):
            weights, b = canonical(made, FIRST + d, number)
            given = (weights, b, h[d], slacks[d], constants)
            expected, expected_slack = reference.exact_dense(
                *given, op.rectified, most(made, number), number == 0
            )
            error = expected_slack if last else bounds(made, number, expected, expected_slack)
            assert (np.abs(found[d] - expected) <= error * (1 + 1e-3)).all()
            clear = np.abs(expected) + last > 1e-3  # of a ReLU's threshold
            # A slack that float32 rounds to another whole number is worth 1 % of the largest.
            close = np.abs(found_slack[d] - expected_slack) <= 0.01 * expected_slack
            assert close[clear].all()
            # What a thread would state of these inputs is not much tighter.
            usual = reference.dense(*given, op.rectified)[1]
            if number:
                assert np.median(expected_slack[clear] / usual[clear]) < 2.0
        if number == 0:  # as if a unit were dead
            at = outputs.values[: plan.BLOCK], outputs.slack[: plan.BLOCK]
            at[0][:], at[1][:] = 0.0, 0.0
            found, found_slack = (
                own(v, samples, op.units) for v in (outputs.values, outputs.slack)
            )
        inputs, h, slacks = outputs, found, found_slack


HARD = {
    "large and small": np.array([[2.0**60, -1.0, 2.0**-60, 3e-5, 0.0] * 7, [0.0] * 35] * 2),
    "cancelling": np.tile([[1.0, -1.0 + 2.0**-23]], (4, 18))[:, :35],
    "tiny": np.full((4, 35), 2.0**-70),
    "one": np.eye(4, 35) * 255.0,
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("bias", ["zero", "prior"])
def test_bounds_hold_against_the_law(name: str, bias: Any) -> None:
    """First layers of inputs chosen to hurt; samples of zeros are certainly zero."""
    made, stage = program(3, 35, "uniform:0.3", bias, HARD[name]), plan.Stage(0, 4)
    outputs = layer(made, 0, first(made, stage), stage)
    h, slack = (own(v, 4, 3) for v in (outputs.values, outputs.slack))
    bound = bounds(made, 0, h, slack)
    for d in range(N):
        weights, b = canonical(made, FIRST + d, 0)
        law = HARD[name].astype(np.float32).astype(np.float64) @ weights.T
        law = np.maximum(law if b is None else law + b, 0.0)
        assert (np.abs(h[d] - law) <= bound[d]).all()
        size = np.abs(HARD[name]).sum(axis=1, keepdims=True) + (b is not None)
        assert (bound[d] <= 2.0**-20 * 0.3 * size * 35 + 2.0**-60).all()
        if b is None:
            zero = (HARD[name] == 0).all(axis=1)
            assert (slack[d][zero] == 0).all() and (h[d][zero] == 0).all()


@pytest.mark.parametrize("prior", ["uniform", "uniform16", "uniform8"])
def test_bounds_hold_where_all_inputs_err_the_same_way(prior: str) -> None:
    """The law's inputs lie as far from the engine's as their slack allows, to one unit's harm."""
    made, stage = program(33, 5, prior, "zero"), plan.Stage(0, 2)
    rng = np.random.default_rng(4)
    h = np.maximum(rng.normal(size=(N, 2, 33)), 0.0).astype(np.float32).astype(np.float64)
    e = np.where(h > 0, 10.0 ** rng.uniform(-6, -1, size=h.shape), 0.0)
    own_constants = made._margins(1, False, EXACT)
    slack = own_constants.gain * e + own_constants.inject * h
    inputs = room(33, 2)
    for values, to in ((h, inputs.values), (slack * (1 + 2.0**-22), inputs.slack)):
        filled = np.zeros((2, 33, plan.BLOCK))
        filled[..., :N] = np.moveaxis(values, 0, -1)
        to[: filled.size] = tensor(filled.astype(np.float32).ravel())
    outputs = layer(made, 1, inputs, stage)
    found, slacks = (own(v, 2, 33) for v in (outputs.values, outputs.slack))
    bound = bounds(made, 1, found, slacks)
    for d in range(N):
        weights, _ = canonical(made, FIRST + d, 1)
        for unit in range(33):
            for sign in (-1.0, 1.0):
                law = (h[d] + sign * e[d] * np.sign(weights[unit])) @ weights[unit]
                within = np.abs(np.maximum(law, 0.0) - found[d, :, unit]) <= bound[d, :, unit]
                dead = slacks[d, :, unit] == 0
                assert (within | (dead & (law <= 0.0))).all()


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2.0**101, 1e38])
def test_what_is_too_large_is_unsure(value: float) -> None:
    made, inputs, stage = program(4, 4, "uniform", "prior"), room(4, 2), plan.Stage(0, 2)
    inputs.values[:] = inputs.slack[:] = 1e-3
    inputs.values[: plan.BLOCK] = value
    inputs.slack[: plan.BLOCK] = float("inf") if value != value else abs(value) * 1e-7
    with np.errstate(over="ignore", invalid="ignore"):  # the interpreter computes with NumPy
        outputs = layer(made, 1, inputs, stage)
    slack = own(outputs.slack, 2, 4)
    assert np.isinf(slack[:, 0]).all() and np.isfinite(slack[:, 1]).all()


def test_launchers_refuse_what_does_not_fit() -> None:
    made, stage = program(5, 7, "uniform", "zero"), plan.Stage(0, 2)
    given, inputs = tensor(made.constants(0, False, EXACT)), first(made, stage)
    usual = made.weights(0)

    def product(drawn: Any = usual, outputs: Any = None, from_: Any = inputs) -> None:
        outputs = outputs or room(5, 2)
        tensor_launch.product(names(N), drawn, given, from_, outputs, rectified=True, samples=2)

    def digits(values: Activations, to: Digits) -> None:
        kinds = {"n_inputs": 5, "biased": False, "samples": 2}
        tensor_launch.digits(names(N), made.weights(1), given, values, to, **kinds)

    product()
    normal = program(5, 7, "normal", "zero").weights(0)
    few = Digits(inputs.digits.flatten()[:9], inputs.slacks, inputs.numbers, shared=True)
    wide = Activations(*(torch.zeros(700, dtype=torch.float64, device=DEVICE),) * 3, shared=False)
    for refused in (
        lambda: product(normal),
        lambda: product(outputs=room(4, 2)),  # too small
        lambda: product(outputs=wide),  # another type
        lambda: product(from_=few),
        lambda: digits(wide, digits_room(made, 1, 2)),
        lambda: digits(room(5, 2), inputs),  # shared
        lambda: digits(room(4, 2), digits_room(made, 1, 2)),
    ):
        with pytest.raises(ValueError, match=r"."):
            refused()
