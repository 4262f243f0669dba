"""First convolutions on tensor cores: grey levels, patches, the plan, bounds; and the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu import priors
from biasgpu.architectures import Architecture, lenet
from biasgpu.engines import triton_cost
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.engines.triton_direct import TritonDirectEngine
from biasgpu.engines.triton_patches import PatchedLayer, _levels
from biasgpu.engines.triton_program import Program
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_launch as launch
from biasgpu.kernels import direct_patches_launch as patches_launch
from biasgpu.kernels import direct_patches_plan as patch_plan
from biasgpu.kernels import direct_patches_reference as twins
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels import direct_reference as reference
from biasgpu.kernels.direct_launch import Activations
from biasgpu.kernels.direct_patches_launch import Patches
from biasgpu.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU
from tests.direct_cases import FIRST, SEED, names, tensor
from tests.kernel_cases import DEVICE

GUARD = 2.0**100
N = 3  # draws; a program has room for more


def images(shape: tuple[int, ...], n: int = 8) -> npt.NDArray[np.float32]:
    """Bytes, normalised as the readers do it: each channel in its own way."""
    found = np.random.default_rng(3).integers(0, 256, (n, *shape)).astype(np.float32)
    found[:, :, 0, 0], found[:, :, 0, 1] = 0, 255
    for channel in range(shape[0]):
        found[:, channel] = (found[:, channel] / np.float32(255) - np.float32(0.1307)) / np.float32(
            0.3081 + 0.1 * channel
        )
    return found


def two(kernel: int, bias: Any = "zero", pooled: bool = True, rectified: bool = True) -> Any:
    """Two convolutions."""
    first: list[Layer] = [Conv2d(2, bias, kernel=kernel)]
    first += [ReLU()] if rectified else []
    first += [MaxPool2d(2)] if pooled else []
    return Architecture("two", [*first, Conv2d(2, bias, kernel=2), ReLU(), Flatten(), Dense(2)])


def program(
    architecture: Architecture, shape: tuple[int, ...], prior: str = "uniform", n: int = 8
) -> Program:
    ensemble = Ensemble(architecture, priors.make(prior), shape, 2, SEED)
    return Program(ensemble, images(shape, n))


# --- grey levels ---------------------------------------------------------------------------------


def test_levels_of_bytes_are_found() -> None:
    k = np.array([0, 3, 7, 9, 255])
    for mean, std in ((0.1307, 0.3081), (0.0, 1.0), (0.5, 0.25)):
        x = (k.astype(np.float32) / np.float32(255) - np.float32(mean)) / np.float32(std)
        step, zero = _levels(x.astype(np.float64))
        assert step == pytest.approx(1 / (255 * std), rel=1e-6)
        assert abs(zero) <= step
        found = np.rint((x - zero) / step)
        assert np.array_equal(found - found[0], k)


def test_what_is_no_byte_has_no_levels() -> None:
    rng = np.random.default_rng(1)
    assert _levels(rng.normal(size=100)) == (0.0, 0.0)
    assert _levels(np.arange(400.0)) == (0.0, 0.0)  # more than bytes have
    assert _levels(np.full(5, 0.3)) == (0.0, 0.0)


# --- the plan ------------------------------------------------------------------------------------


def test_the_plan_takes_what_pays() -> None:
    for width in ("1/6", "2/6", "3/6", "4/6", "1"):
        made = program(lenet(width), (1, 28, 28), n=2)
        assert [triton_cost.patched(made, samples) for samples in (1, 2, 4, 8)] == [True] * 4
        layer = PatchedLayer(made)
        assert layer.usable
        assert layer._most * 25 * 2.0**layer._base_bits / 2 <= patch_plan.EXACT
    for refused in (
        program(lenet("2/6"), (3, 32, 32), n=2),  # 75 taps: registers
        program(lenet("2/6", "1c-1f"), (1, 28, 28), n=2),  # a dense layer asks for each slack
        program(two(2), (1, 7, 7), n=2),  # too small
    ):
        assert not triton_cost.patched(refused, 2)
    floats = Program(
        Ensemble(lenet("2/6"), priors.make("uniform"), (1, 28, 28), 2, 0),
        np.random.default_rng(0).normal(size=(2, 1, 28, 28)).astype(np.float32),
    )
    assert not PatchedLayer(floats).usable
    assert triton_cost.cost(floats, 2).words > 0


def test_bases_keep_sums_exact() -> None:
    for fan_in, most, expected in ((25, 222, 12), (32, 255, 12), (50, 222, 11), (64, 255, 11)):
        assert patch_plan.base_bits(fan_in, most) == expected
        assert fan_in * most * 2 ** (expected - 1) <= 2**24
    assert patch_plan.base_bits(64, 2000) is None
    assert [patch_plan.depth(n) for n in (1, 16, 17, 25, 64)] == [16, 16, 32, 32, 64]


# --- exactness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [4, 8, 16, 64])
def test_tensor_cores_that_cut_off_are_exact(group: int) -> None:
    """A twin that lines up and cuts off, on digits and pixels as large as there are."""
    rng = np.random.default_rng(group)
    digits = rng.integers(-2048, 2049, (200, 25)).astype(np.float64)
    pixels = rng.integers(-222, 256, (200, 25)).astype(np.float64)
    digits[:50], pixels[:50] = 2048, 255  # all of one sign, so that sums grow
    digits[50:60, ::2], pixels[50:60] = -1, 1  # beside large ones small ones, of either sign
    for cut in (True, False):
        found = twins.product(pixels, digits, group, cut)
        assert np.array_equal(found, (digits * pixels).sum(axis=1))
    # Beyond 2^24 it does round: the twin is worth its while.
    loose = twins.product(16 * pixels + 1, 16 * digits + 1, group, True)
    assert not np.array_equal(loose, ((16 * digits + 1) * (16 * pixels + 1)).sum(axis=1))


@pytest.mark.parametrize("prior", ["uniform", "uniform8", "kaiming-normal"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 9)])
def test_bounds_hold_for_the_worst_weights(prior: str, shape: tuple[int, ...]) -> None:
    """Weights that the digits leave most of, against the law's sums; and the bound is no waste."""
    made = program(two(5 if shape[0] == 1 else 3), shape, prior, n=4)
    layer, stage, n = PatchedLayer(made), plan.Stage(0, 4), made.ops[0].step.fan_in
    assert layer.usable
    patches, taps = layer.inputs(stage)
    constants = layer.constants(made.constants(0, False))
    base, _, worth = layer.scale.astype(np.float64)
    rng = np.random.default_rng(5)
    largest = made.scale(0) * (
        6.3 if prior == "kaiming-normal" else 2.0 ** min(made.weights(0).bits, 24)
    )
    w = (rng.uniform(-1, 1, (300, n)) * largest).astype(np.float32)
    whole = np.rint(w[:100] * taps[0, :n].astype(np.float64))
    w[:100] = (whole + 0.5) / taps[0, :n]  # half way between
    w[100:150] = np.float32(largest) * rng.choice([-1, 1], (50, n))
    w[150:200] *= 2.0**-20
    upper, lower = twins.digits(w * taps[0, :n], base)
    assert max(np.abs(upper).max(), np.abs(lower).max()) <= base / 2
    rows = patches.reshape(-1, patches.shape[-1])[:, :n].astype(np.float64)
    sums = (rows @ upper.T.astype(np.float64) * base + rows @ lower.T).astype(np.float32) * worth
    found = sums.astype(np.float32) + (w * taps[1, :n]).sum(axis=1, dtype=np.float32)
    exact = pixels_of(made, stage, patches) @ w.T.astype(np.float64)
    bound = np.abs(w) @ taps[2:, :n].T.astype(np.float64) + constants[1]
    error = np.abs(found - exact).reshape(-1, 4, len(w)).max(axis=0)
    ratio = error / bound.T
    assert 0.05 < ratio.max() <= 1.0


def pixels_of(made: Program, stage: plan.Stage, patches: npt.NDArray) -> npt.NDArray[np.float64]:
    """The law's pixels in the rows of patches: `(tiles * positions * ROWS, taps)`."""
    op, samples = made.ops[0], stage.padded
    _, rows, columns = op.step.out_shape
    step = 2 if op.pooled else 1
    rows, columns = rows // step, columns // step
    found = np.empty((*patches.shape[:3], op.step.fan_in))
    for tile, position, row in np.ndindex(*patches.shape[:3]):
        number = tile * patch_plan.ROWS + row
        window = min(number // samples, rows * columns - 1)
        y = window // columns * step + position // step
        x = window % columns * step + position % step
        image = made.x[min(stage.first + number % samples, stage.end - 1)]
        found[tile, position, row] = image[:, y : y + op.kernel, x : x + op.kernel].ravel()
    return found.reshape(-1, op.step.fan_in)


# --- the kernel ----------------------------------------------------------------------------------

KERNELS = {
    "lenet": (two(5), (1, 28, 28), "uniform", 2),
    "bias": (two(3, "prior"), (1, 9, 12), "kaiming-normal", 4),
    "colours": (two(3), (3, 9, 8), "uniform16", 8),
    "not pooled": (two(2, "prior", pooled=False), (2, 6, 7), "uniform8", 1),
    "not rectified": (two(4, rectified=False), (1, 8, 11), "uniform", 2),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_is_its_twin(name: str) -> None:
    architecture, shape, prior, samples = KERNELS[name]
    made = program(architecture, shape, prior, n=samples + 1)
    layer, op, drawn = PatchedLayer(made), made.ops[0], made.weights(0)
    # The last sample of a stage that is not full is repeated.
    stage = plan.Stage(1, samples) if samples < 4 else plan.Stage(1, samples - 1)
    assert layer.usable and stage.padded == samples
    constants = layer.constants(made.constants(0, False))
    values, taps = layer.inputs(stage)
    inputs = Patches(tensor(values), tensor(taps), tensor(layer.scale))
    columns, windows = op.step.columns, op.features // op.units
    weights = torch.zeros(op.units * columns * plan.BLOCK, device=DEVICE)
    sizes = [samples * op.units * each * plan.BLOCK + 7 for each in (windows, windows, 1)]
    parts = [torch.full((size,), GUARD, device=DEVICE) for size in sizes]
    outputs = Activations(*parts, shared=False)
    launch.draw(names(N), drawn, tensor(constants), weights, columns=columns)
    kinds: dict[str, Any] = {
        "fan_in": op.step.fan_in, "n_units": op.units, "n_windows": windows, "biased": op.biased,
        "rectified": op.rectified, "pooled": op.pooled, "samples": samples,
    }  # fmt: skip
    patches_launch.patches(names(N), tensor(constants), weights, inputs, outputs, **kinds)
    assert (parts[1].cpu().numpy() == GUARD).all()  # no slack but a channel's
    found, groups = (parts[i].cpu().numpy().astype(np.float64) for i in (0, 2))
    assert (found[-7:] == GUARD).all() and (groups[-7:] == GUARD).all()
    found = found[:-7].reshape(samples, op.units, windows, plan.BLOCK)
    groups = groups[:-7].reshape(samples, op.units, plan.BLOCK)
    chosen = np.minimum(stage.first + np.arange(samples), stage.end - 1)
    group = taps[2:, : op.step.fan_in : op.kernel**2].astype(np.float64)
    for d in range(N):
        own = made.ensemble.step_parameters(FIRST + d, op.step)
        w, b = (None if part is None else part.astype(np.float64) for part in own or (None, None))
        assert w is not None
        h, _, by_group = reference.convolution(
            w, b, made.x[chosen], group, constants, op.rectified, op.pooled
        )
        bound = group @ np.abs(w).sum(axis=(2, 3)).T + constants[1]
        bound += 0 if b is None else np.abs(b) * constants[2]
        assert (
            np.abs(found[..., d] - h.reshape(samples, op.units, windows))
            <= bound[..., None] * (1 + 1e-6)
        ).all()
        assert (np.abs(groups[..., d] - by_group) <= 1e-4 * by_group).all()
    for refused in (
        lambda: patches_launch.patches(
            names(N), tensor(constants), weights, inputs, outputs, **{**kinds, "samples": 3}
        ),
        lambda: patches_launch.patches(
            names(N), tensor(constants), weights[:9], inputs, outputs, **kinds
        ),
        lambda: patches_launch.patches(
            names(N), tensor(constants), weights, replace(inputs, values=inputs.taps), outputs,
            **kinds,
        ),
        lambda: patches_launch.patches(
            names(plan.BLOCK + 1), tensor(constants), weights, inputs, outputs, **kinds
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            refused()


# --- the engine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "prior"), [((1, 10, 9), "uniform"), ((3, 8, 8), "normal:0.3")])
def test_prefixes_are_the_laws(
    shape: tuple[int, ...], prior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In stages of 2 and of 4 samples, of which 3 are used, whatever the plan says of the size."""
    monkeypatch.setattr(patch_plan, "pays", lambda *_, **__: True)
    started = list[int]()
    make = patches_launch.patches
    monkeypatch.setattr(
        patches_launch, "patches", lambda *a, **k: (started.append(k["samples"]), make(*a, **k))
    )
    x, y = images(shape, 5), np.arange(5) % 2
    ensemble = Ensemble(two(3), priors.make(prior), shape, 2, 2**33 + 5)
    engine = TritonDirectEngine(ensemble, x, y)
    found = engine.screen(2**41 + 7, 70)
    assert found.tolist() == ReferenceEngine(ensemble, x, y).screen(2**41 + 7, 70).tolist()
    assert started == [2, 4]
    assert len(set(found.tolist())) > 2
