"""Each kernel for networks with batch norms against its twin, and what it must not touch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")


from biasgpu import priors
from biasgpu.architectures import Architecture
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines.triton_batch_norm_forward import Program
from biasgpu.kernels import batch_norm_launch as launch
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels import batch_norm_reference as reference
from biasgpu.kernels.batch_norm_numbers import Numbers
from biasgpu.kernels.direct_launch import Weights
from biasgpu.kernels.direct_plan import BLOCK
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten
from tests.batch_norm_kernel_cases import (
    GUARD,
    RNG,
    N,
    empty,
    numbers,
    own,
    read,
    room,
)
from tests.direct_cases import FIRST, SEED, names, tensor


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
