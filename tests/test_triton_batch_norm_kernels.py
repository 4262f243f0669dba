"""Each kernel for networks with batch norms against its twin, and what it must not touch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu import priors, rng
from biasgpu.architectures import Architecture
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines.triton_batch_norm_forward import Program
from biasgpu.kernels import batch_norm_launch as launch
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels import batch_norm_reference as reference
from biasgpu.kernels.batch_norm_launch import Numbers
from biasgpu.kernels.direct_launch import Weights
from biasgpu.kernels.direct_plan import BLOCK
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten
from tests.direct_cases import FIRST, SEED, names, tensor

N = 2  # draws
GUARD = 2.0**100  # stands behind what a kernel may write, and where it shall
RNG = np.random.default_rng(6)


def room(*shape: int) -> torch.Tensor:
    """Poisoned, with a guard behind."""
    return tensor(np.full(N * int(np.prod(shape)) + 7, GUARD))


def own(values: torch.Tensor, *shape: int) -> npt.NDArray[np.float64]:
    """`(draws, *shape)` of what a kernel wrote: all of it, and nothing behind."""
    found = values.cpu().numpy()
    assert (found[-7:] == GUARD).all()
    assert not (found[:-7] == GUARD).any()
    return found[:-7].reshape(N, *shape)


Bounds = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def bounds(channels: int, draws: int = N) -> Bounds:
    """Reaches, and totals far above rounding."""
    return 1 + RNG.random((draws, channels)), RNG.random(draws) * 1e-6


def numbers(
    shape: tuple[int, int, int], n_samples: int, draws: int = N, **kinds: Any
) -> tuple[Numbers, npt.NDArray[np.float64], Bounds, Any]:
    """Some that are given: as kernels take them, values, bounds, and what is to be applied."""
    normed = kinds.pop("normed", False)
    values = RNG.normal(size=(draws, n_samples, *shape))
    affine = RNG.normal(size=(draws, shape[0], 2)) if normed else None
    bound = bounds(shape[0], draws)
    on_device = [
        None if part is None else tensor(part.ravel()) for part in (values, *bound, affine)
    ]
    made = Numbers(shape, n_samples, *on_device, **kinds)  # type: ignore[arg-type]
    return made, values, bound, affine


def empty(shape: tuple[int, int, int], n_samples: int, normed: bool = False) -> Numbers:
    affine = room(shape[0], 2) if normed else None
    return Numbers(shape, n_samples, room(n_samples, *shape), room(shape[0]), room(1), affine)


def turned(weight: npt.NDArray[np.float64]) -> torch.Tensor:
    """Weights `(draws, units, columns)` with those of all units side by side."""
    return tensor(weight.transpose(0, 2, 1).ravel())


def read(
    values: npt.NDArray[np.float64], affine: Any, rectified: bool
) -> list[npt.NDArray[np.float64]]:
    parts = [None] * len(values) if affine is None else affine
    return [reference.read(x, one, rectified) for x, one in zip(values, parts, strict=True)]


@pytest.mark.parametrize(
    ("shape", "units", "kernel", "padding", "pooled", "kinds"),
    [
        ((1, 6, 6), 2, 3, 1, False, {"shared": True}),
        ((2, 7, 5), 3, 3, 1, True, {"normed": True, "rectified": True}),  # windows hang over
        ((3, 3, 3), 9, 3, 1, False, {"normed": True}),  # one output a window; two tiles of units
        ((2, 5, 7), 5, 3, 0, False, {"rectified": True}),
        ((1, 4, 5), 2, 2, 2, True, {}),
        ((2, 3, 4), 1, 1, 0, False, {"normed": True}),
        ((1, 2, 1), 4, 5, 2, False, {}),
    ],
)
def test_convolutions(
    shape: tuple[int, int, int], units: int, kernel: int, padding: int, pooled: bool, kinds: Any
) -> None:
    n_samples, biased = 5, kernel == 2
    shared, rectified = kinds.get("shared", False), kinds.get("rectified", False)
    source, values, _, affine = numbers(shape, n_samples, 1 if shared else N, **kinds)
    weight = RNG.normal(size=(N, units, shape[0] * kernel**2 + biased))
    rows, columns = (side + 2 * padding - kernel + 1 for side in shape[1:])
    kept = (units, rows // 2, columns // 2) if pooled else (units, rows, columns)
    made = empty(kept, n_samples)
    tile = plan.tile(units, rows, columns, n_samples, pooled)
    tiles = plan.tiles(n_samples * plan.n_windows(rows, columns, tile.side), tile.windows)
    sums = room(tiles, units, 2)
    launch.images(
        names(N), tensor(weight.ravel()), source, made, sums, kernel=kernel, padding=padding,
        biased=biased, pooled=pooled,
    )  # fmt: skip
    x = read(values, affine, rectified) * (N if shared else 1)
    for d in range(N):
        w = weight[d, :, : weight.shape[2] - biased].reshape(units, shape[0], kernel, kernel)
        bias = weight[d, :, -1] if biased else None
        expected, added = reference.images(w, bias, x[d], padding, pooled)
        found = own(made.values, n_samples, *kept)[d]
        assert np.allclose(found, expected, rtol=0, atol=1e-12)
        parts = own(sums, tiles, units, 2)[d]
        assert np.allclose(parts.sum(axis=0), added, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("joined", [False, True])
def test_numbers_one_by_one(joined: bool) -> None:
    shape, n_samples, size = (3, 5, 7), 4, 2 if joined else 1
    kinds = {"normed": joined, "rectified": True}
    source, values, bound, affine = numbers(shape, n_samples, N if joined else 1, **kinds,
                                            shared=not joined)  # fmt: skip
    fork, others, fork_bound, fork_affine = numbers(shape, n_samples, normed=True, rectified=joined)
    kept = (3, 2, 3) if joined else shape
    made, factor = empty(kept, n_samples), -0.3 if joined else 1.0
    tiles = plan.tiles(n_samples * kept[1] * kept[2], plan.NUMBERS)
    sums = room(tiles, 3, 2)
    launch.elements(
        names(N), source, made, tensor(np.array([factor])), fork=fork if joined else None,
        after=joined, size=size, sums=sums,
    )  # fmt: skip
    x, y = read(values, affine, True), read(others, fork_affine, joined)
    for d in range(N):
        own_x, own_bound = x[d if joined else 0], [part[d if joined else 0] for part in bound]
        other = y[d] if joined else None
        expected = reference.elements(own_x, other, joined, size, factor)
        assert np.allclose(own(made.values, n_samples, *kept)[d], expected, rtol=1e-14, atol=1e-15)
        joins = (fork_bound[0][d], fork_bound[1][d]) if joined else None
        reach, total = reference.element_bound(*own_bound, joins, factor)  # type: ignore[arg-type]
        assert np.allclose(own(made.reach, 3)[d], reach, rtol=1e-12)
        assert own(made.total, 1)[d] == pytest.approx(total, rel=1e-12)
        parts = own(sums, tiles, 3, 2)[d].sum(axis=0)
        assert np.allclose(parts, reference.sums(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("prior", "kernel", "biased"),
    [
        ("uniform", 3, False),
        ("uniform8", 0, True),
        ("kaiming-normal", 1, True),
        ("uniform16", 3, True),
    ],
)
def test_batch_norms_are_settled(prior: str, kernel: int, biased: bool) -> None:
    """Weights and biases are drawn to the bit; bounds as the twin has them."""
    shape, n_samples = (2, 3, 4), 5
    source, _, bound, _ = numbers(shape, n_samples)
    taps, units = kernel**2 or 12, 35  # of two draws, more than a program has lanes
    weight = RNG.normal(size=(N, units, 2 * taps + biased))
    normed = bool(kernel)
    made = empty((units, 3, 4) if normed else (units, 1, 1), n_samples, normed)
    parts = RNG.normal(size=(N, 3, units, 2))
    parts[..., 1] = 50 + RNG.random(parts.shape[:-1])
    law, bits = priors.make(prior), priors.make(prior).bits
    per_unit = -(-2 // (128 // bits))
    drawn = Weights(bits, law.family == "normal", units, 11, per_unit)
    random = prior.startswith("uniform")
    unit = np.float32(2.0 ** -min(bits, 24))
    halves = [float(np.float32(half) * unit) for half in (priors.NORM_WEIGHT, priors.NORM_BIAS)]
    constants = np.array([1e-15, 7.7, 60.0, 60**0.5, 1e-14, *halves, kernel or 1])
    settled, on_device = room(units, 4), turned(weight)
    launch.settle(
        names(N), source, made, settled, tensor(constants), turned=on_device, kernel=kernel,
        biased=biased, sums=tensor(parts.ravel()) if normed else None, tiles=3,
        norms=drawn if normed else None, random=random,
    )  # fmt: skip
    launch.totals(
        names(N), source, made, settled, tensor(constants), turned=on_device,
        columns=2 * taps + biased, products=room(units, units),
        powers=room(plan.product_tiles(units)),
    )  # fmt: skip
    for d in range(N):
        w = weight[d, :, : 2 * taps].reshape(units, 2, taps)
        bias = weight[d, :, -1] if biased else None
        norm = None
        if normed:
            blocks = np.uint64(11) + np.arange(units * per_unit, dtype=np.uint64)
            words = rng.words(SEED, FIRST + d, blocks).reshape(units, -1)
            scale, shift = (part.astype(np.float64) for part in law.normalizer(words))
            assert random == (np.unique(scale).size > 1)
            norm = (parts[d].sum(axis=0), scale, shift)
        affine, reach, expected = reference.settle(
            w, bias, bound[0][d], bound[1][d], norm, constants, not kernel
        )
        if normed:
            assert affine is not None and made.affine is not None
            assert np.allclose(own(made.affine, units, 2)[d], affine, rtol=1e-13, atol=1e-15)
        assert np.allclose(own(made.reach, units)[d], reach, rtol=1e-11)
        assert np.allclose(own(settled, units, 4)[d], expected, rtol=1e-11)
        total = reference.total(weight[d], expected, bound[1][d], constants)
        assert own(made.total, 1)[d] == pytest.approx(total, rel=1e-11)


@pytest.mark.parametrize("kernel", [0, 3])
def test_totals_bound_differences(kernel: int) -> None:
    """Errors far larger than rounding are put in: what comes out differs by less than is said."""
    shape, n_samples, units = (2, 6, 5), 4, 3
    x = RNG.normal(size=(1, n_samples, *shape))
    weight = RNG.normal(size=(1, units, 2 * (kernel**2 or 30)))
    # Along the weights themselves, most comes through; and anywhere.
    along = np.zeros_like(x)
    if kernel:
        along[0, :, :, 1:4, 1:4] = weight[0, 1].reshape(2, 3, 3)
    else:
        along[0] = weight[0, 1].reshape(shape)
    for difference in (1e-4 * along, 1e-3 * RNG.normal(size=x.shape)):
        outputs, total = [], 0.0
        for values in (x, x + difference):
            kept = (units, 6, 5) if kernel else (units, 1, 1)
            reach = tensor(np.full(2, np.sqrt((values**2).sum())))
            before = tensor(np.array([np.sqrt((difference**2).sum())]))
            source = Numbers(shape, n_samples, tensor(values.ravel()), reach, before)
            made, count = empty(kept, n_samples, bool(kernel)), n_samples * 30
            constants = np.array([1e-14, 1.0, count, count**0.5, 1e-13, 0, 0, kernel or 1])
            parts, settled, w = room(9, units, 2), room(units, 4), tensor(weight.ravel())
            one, tiles = names(1), 0
            if kernel:
                tile = plan.tile(units, 6, 5, n_samples, False)
                tiles = plan.tiles(n_samples * plan.n_windows(6, 5, tile.side), tile.windows)
                launch.images(
                    one, w, source, made, parts, kernel=3, padding=1, biased=False, pooled=False
                )
            launch.settle(
                one, source, made, settled, tensor(constants), turned=turned(weight), kernel=kernel,
                biased=False, sums=parts if kernel else None, tiles=tiles,
                norms=Weights(32, False, units, 0, 1) if kernel else None, random=False,
            )  # fmt: skip
            launch.totals(
                one, source, made, settled, tensor(constants), turned=turned(weight),
                columns=weight.shape[2],
                products=room(units, units), powers=room(1),
            )  # fmt: skip
            if not kernel:
                launch.features(one, w, source, made, settled, biased=False, padded=4, logits=None)
            size = n_samples * int(np.prod(kept))
            y = made.values.cpu().numpy()[:size].reshape(n_samples, *kept)
            affine = None if made.affine is None else made.affine.cpu().numpy()[: 2 * units]
            outputs.append(
                reference.read(y, None if affine is None else affine.reshape(units, 2), False)
            )
            total = float(made.total.cpu()[0])
        share = np.sqrt(((outputs[1] - outputs[0]) ** 2).sum()) / total
        assert 0.03 < share <= 1.0


@pytest.mark.parametrize("prior", ["uniform:0.3", "uniform16", "uniform8", "normal:0.7"])
def test_weights_are_the_law(prior: str) -> None:
    architecture = Architecture(
        "two", [Conv2d(3, "prior", kernel=2), BatchNorm2d(), Flatten(), Dense(40)]
    )
    x = np.zeros((1, 1, 4, 4), dtype=np.float32)
    ensemble = BatchNormEnsemble(architecture, priors.make(prior), (1, 4, 4), 2, SEED, x)
    program = Program(ensemble, x)
    for one in program.passes:
        step = one.step
        assert step is not None
        weights, other = room(step.units, step.columns), room(step.columns, step.units)
        launch.parameters(
            names(N), program.weights(step), tensor(program.scale(one)), weights, other,
            columns=step.columns,
        )  # fmt: skip
        found = own(weights, step.units, step.columns)
        same = own(other, step.columns, step.units).transpose(0, 2, 1)
        assert np.array_equal(found, same, equal_nan=True)
        for d in range(N):
            expected, bias = ensemble.step_parameters(FIRST + d, step) or (None, None)
            assert expected is not None
            flat = expected.reshape(step.units, -1)
            if bias is not None and step.columns > step.fan_in:
                flat = np.concatenate([flat, bias[:, None]], axis=1)
            known = ~np.isnan(found[d])
            assert known.all() or prior.startswith("normal")
            assert np.array_equal(found[d][known], flat.astype(np.float64)[known])


@pytest.mark.parametrize("last", [False, True])
def test_dense_layers(last: bool) -> None:
    n_samples, units, padded = 3, 5, 4
    source, values, _, affine = numbers((2, 2, 3), n_samples, normed=True, rectified=last)
    weight = RNG.normal(size=(N, units, 12 + last))
    made = empty((units, 1, 1), n_samples)
    settled = RNG.random((N, units, 4))
    size = padded * units * BLOCK
    logits = [tensor(np.full(size + 7, GUARD)) for _ in range(2)]
    launch.features(
        names(N), tensor(weight.ravel()), source, made, tensor(settled.ravel()), biased=last,
        padded=padded, logits=(logits[0], logits[1]) if last else None,
    )  # fmt: skip
    x = read(values, affine, last)
    for d in range(N):
        expected = x[d].reshape(n_samples, -1) @ weight[d, :, :12].T
        if last:
            expected += weight[d, :, -1]
            table = logits[0].cpu().numpy()[:size].reshape(padded, units, BLOCK)
            errors = logits[1].cpu().numpy()[:size].reshape(padded, units, BLOCK)
            assert np.allclose(table[:n_samples, :, d], expected, rtol=1e-13, atol=1e-13)
            assert (errors[:n_samples, :, d] == settled[d, :, 3]).all()
            assert (table[n_samples:] == GUARD).all() and (table[..., N:] == GUARD).all()
        else:
            found = own(made.values, n_samples, units)[d]
            assert np.allclose(found, expected, rtol=1e-13, atol=1e-13)


def test_launchers_refuse_what_does_not_fit() -> None:
    source, _, _, _ = numbers((2, 4, 4), 3)
    weights, made = room(3, 18)[:-6], empty((3, 4, 4), 3)
    one = tensor(np.ones(1))

    def images(made: Numbers = made, n: int = N, **changes: Any) -> None:
        values = {"kernel": 3, "padding": 1, "biased": False, "pooled": False, **changes}
        launch.images(names(n), weights, source, made, None, **values)

    def elements(made: Numbers, fork: Numbers | None = None, size: int = 1) -> None:
        launch.elements(names(N), source, made, one, fork=fork, after=False, size=size, sums=None)

    def settle(**changes: Any) -> None:
        values: dict[str, Any] = {
            "turned": weights, "kernel": 3, "biased": False, "sums": None, "tiles": 1,
            "norms": None, "random": False, **changes,
        }  # fmt: skip
        launch.settle(names(N), source, made, room(3, 4), tensor(np.ones(8)), **values)

    images()
    settle()
    narrow = Numbers((3, 4, 4), 3, made.values.float(), made.reach, made.total)
    for refused in (
        lambda: images(n=N + 1),  # more draws than room
        lambda: images(n=0),
        lambda: images(padding=0),  # another shape
        lambda: images(biased=True),  # more weights than there are
        lambda: images(narrow),  # another type
        lambda: images(empty((3, 4, 4), 2)),  # fewer samples
        lambda: elements(made),  # other channels
        lambda: elements(empty((2, 2, 2), 3), size=3),
        lambda: elements(empty((2, 4, 4), 3), fork=made),
        lambda: settle(turned=None),  # other channels
        lambda: settle(sums=weights),  # sums without parameters
        lambda: settle(turned=weights[:9]),
        lambda: launch.features(
            names(N), weights, source, made, room(3, 4), biased=False, padded=4, logits=None
        ),
        lambda: launch.parameters(
            names(N), Weights(32, False, 9, 0, 5), one, weights, weights, columns=18
        ),
    ):
        with pytest.raises(ValueError, match=r"."):
            refused()
