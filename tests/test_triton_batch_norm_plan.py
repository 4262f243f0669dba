"""Passes, tiles and costs of networks with batch norms on the GPU: no kernel runs here."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu import priors
from biasgpu.architectures import Architecture, resnet4
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines.triton_batch_norm_forward import Program, Space
from biasgpu.engines.triton_batch_norm_program import SHARED, Lowering, lower
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels.batch_norm_plan import Tile
from biasgpu.kernels.direct_plan import Stage
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, Fork, Join, MaxPool2d, ReLU, Scale
from biasgpu.layout import n_products, n_words

MNIST, CIFAR10 = (1, 28, 28), (3, 32, 32)


def program(
    architecture: Architecture, shape: tuple[int, ...] = MNIST, n: int = 16, prior: str = "uniform"
) -> Program:
    x = np.random.default_rng(0).normal(size=(n, *shape)).astype(np.float32)
    return Program(BatchNormEnsemble(architecture, priors.make(prior), shape, 2, 0, x), x)


@pytest.mark.parametrize(
    ("units", "rows", "pooled", "n", "expected"),
    [
        (2, 28, False, 16, Tile(2, 2, 2)),
        (4, 28, True, 16, Tile(2, 2, 4)),
        (8, 14, True, 16, Tile(2, 1, 8)),
        (16, 7, True, 16, Tile(2, 1, 8)),
        (16, 3, False, 16, Tile(2, 1, 8)),  # one program, though windows hang over
        (16, 1, False, 16, Tile(1, 1, 8)),
        (16, 7, False, 2, Tile(1, 2, 4)),
        (16, 7, True, 1, Tile(2, 1, 8)),
    ],
)
def test_tiles(units: int, rows: int, pooled: bool, n: int, expected: Tile) -> None:
    found = plan.tile(units, rows, rows, n, pooled)
    assert (found.side, found.units) == (expected.side, expected.units)
    assert found.side**2 * found.units * found.windows <= plan.MAX_SUMS
    assert found.windows <= expected.windows or n > 16


@pytest.mark.parametrize("n", [1, 63, 64, 65, 3136])
@pytest.mark.parametrize("windows", [1, 2, 4])
def test_programs_cover_all_numbers(n: int, windows: int) -> None:
    made = plan.tiles(n, windows)
    assert (made - 1) * windows * plan.LANES < n <= made * windows * plan.LANES
    assert plan.depth(n, windows) >= 3 + windows + 6 + made


def test_windows_cover_an_image() -> None:
    assert [plan.n_windows(rows, 5, 2) for rows in (1, 2, 3, 4)] == [3, 3, 6, 6]
    assert plan.n_windows(3, 5, 1) == 15


def _check(made: Lowering) -> None:
    """No pass writes to what it reads, or to what still has to join."""
    held: list[int] = []
    for number, one in enumerate(made.passes):
        assert one.made.buffer not in (one.source.buffer, SHARED)
        later = [p.fork.buffer for p in made.passes[number:] if p.fork is not None]
        held = [buffer for buffer in held if buffer in later]
        if one.fork is not None:
            assert one.made.buffer != one.fork.buffer
        assert made.sizes[one.made.buffer] >= one.made.size
    for number, one in enumerate(made.passes):
        if one.fork is None:
            continue
        start = next(i for i, p in enumerate(made.passes) if p.made.bound == one.fork.bound)
        between = made.passes[start + 1 : number]
        assert all(p.made.buffer != one.fork.buffer for p in between)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("shape", [MNIST, CIFAR10])
def test_resnet4_in_passes(depth: int, shape: tuple[int, ...]) -> None:
    made = program(resnet4("2/6", depth), shape)
    _check(lower(made.ensemble.steps))
    convolutions = [one for one in made.passes if one.kernel]
    layers = [step for step in made.ensemble.steps if isinstance(step.layer, Conv2d)]
    assert len(convolutions) == len(layers) == len(made.norms)
    assert all(one.norm is not None and one.made.rectified for one in convolutions)
    assert [one.pooled for one in convolutions].count(True) == depth - 1
    joins = [one for one in made.passes if one.fork is not None]
    assert len(joins) == (2 if depth == 4 else 1)
    assert joins[-1].factor == 0.125 and joins[-1].size == (2 if shape == MNIST else 4)
    assert len(made.passes) == len(convolutions) + len(joins) + 1


def test_other_layers_in_passes() -> None:
    layers = [
        Fork(), ReLU(), Fork(), Conv2d(2, kernel=1), Join(), ReLU(), Join(), MaxPool2d(2),
        BatchNorm2d(), ReLU(), MaxPool2d(3), Flatten(), Scale(2.0), Dense(5), ReLU(), Dense(3),
    ]  # fmt: skip
    made = program(Architecture("odd", layers), (2, 12, 12))
    _check(lower(made.ensemble.steps))
    kinds = [type(one.step.layer).__name__ if one.step else "" for one in made.passes]
    assert kinds == ["", "", "Conv2d", "", "", "", "Dense", "Dense", "Dense"]
    expanded, _, _, inner, outer, pooled = made.passes[:6]
    assert expanded.source.buffer == SHARED
    assert (inner.after, outer.size, pooled.size, pooled.factor) == (True, 2, 3, 2.0)
    assert outer.norm is not None and pooled.source.slot == 0 and pooled.source.rectified
    assert made.passes[7].source.rectified and not made.passes[8].made.rectified


def test_memory_is_what_is_allocated() -> None:
    for n in (5, 16):
        made, capacity = program(resnet4("2/6"), n=n), 64
        space = Space.make(made, n, n, capacity, torch.device("meta"))
        parts = [*space.buffers, *space.reaches, *space.totals, *space.affines, space.weights]
        parts += [space.turned, space.sums, space.units, space.products, space.powers]
        parts += [space.logits.values, space.logits.slack]
        assert 8 * sum(part.numel() for part in parts) == capacity * made.bytes_per_draw(n)


def test_costs_count_words_and_products() -> None:
    for shape in (MNIST, CIFAR10):
        made = program(resnet4("2/6"), shape)
        steps, cost = made.ensemble.steps, made.cost(16)
        assert cost.words == n_words(steps)
        # Windows hang over, and batch norms are applied as numbers are read.
        assert 16 * n_products(steps) < cost.operations < 2 * 16 * n_products(steps)
        assert made.cost(32).memory_bytes > 1.8 * cost.memory_bytes


def test_constants_of_bounds() -> None:
    made = program(resnet4("2/6"), n=3, prior="uniform8")
    one = made.passes[1]
    assert one.step is not None and one.norm is not None
    found = made.constants(one, 3)
    count = 3 * 28 * 28
    u = 2.0**-53
    assert found[0] >= 2 * (one.step.fan_in + 2) * u
    assert found[1] >= count**0.5 and found[2:4].tolist() == [count, count**0.5]
    assert found[4] >= (28 + 3 * 28 + 8) * u  # the law adds up rows, then the rows' sums
    assert found[5:7].tolist() == [np.float32(0.1) / 256.0, np.float32(0.05) / 256.0]
    assert found[7] == 3
    x, reach = made.shared(Stage(1, 2))
    assert x.shape == (2, *MNIST) and reach[0] >= np.linalg.norm(x)
