"""What batch norms are settled by, and the bounds of errors, against twins and against errors."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")


from biasgpu import priors, rng
from biasgpu.kernels import batch_norm_launch as launch
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels import batch_norm_reference as reference
from biasgpu.kernels.batch_norm_numbers import Numbers
from biasgpu.kernels.direct_launch import Weights
from tests.batch_norm_kernel_cases import (
    RNG,
    N,
    empty,
    numbers,
    own,
    room,
    turned,
)
from tests.direct_cases import FIRST, SEED, names, tensor


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
