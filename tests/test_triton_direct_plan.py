"""Tiles, stages, costs and programs of method "direct" on the GPU: no kernel runs here."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

from biasgpu import priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.engines.triton_cost import cost
from biasgpu.engines.triton_program import Op, Program
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels.direct_plan import Stage
from biasgpu.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU
from biasgpu.layout import n_words


def program(architecture: Architecture, shape: tuple[int, ...], prior: str = "uniform") -> Program:
    ensemble = Ensemble(architecture, priors.make(prior), shape, 2, 0)
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    return Program(ensemble, x)


@pytest.mark.parametrize("n_train", [0, 1, 2, 3, 16, 33, 400])
def test_stages_cover_every_sample_once(n_train: int) -> None:
    stages = plan.stages(n_train)
    samples = [s for stage in stages for s in range(stage.first, stage.end)]
    assert samples == list(range(n_train))
    assert all(stage.n <= stage.padded <= plan.MAX_SAMPLES for stage in stages)
    assert all(stage.padded & (stage.padded - 1) == 0 for stage in stages)


def test_stages_grow() -> None:
    assert plan.stages(16) == [Stage(0, 2), Stage(2, 4), Stage(6, 8), Stage(14, 2)]
    assert Stage(6, 3).padded == 4 and Stage(0, 1).padded == 1


@pytest.mark.parametrize(
    ("units", "samples", "wide", "normal", "expected"),
    [
        (512, 2, False, False, 8),
        (40, 2, False, False, 8),
        (2, 2, False, False, 2),
        (10, 2, False, False, 2),  # 5 tiles without waste
        (512, 4, False, False, 4),
        (512, 8, False, False, 2),
        (512, 8, True, False, 1),
        (512, 2, True, False, 4),
        (512, 2, True, True, 2),
        (1, 2, False, False, 1),
        (5, 16, False, False, 1),
    ],
)
def test_tiles(units: int, samples: int, wide: bool, normal: bool, expected: int) -> None:
    assert plan.tile_units(units, samples, wide, normal) == expected


@pytest.mark.parametrize("n_blocks", [1, 2, 7, 196, 1024])
def test_sums_are_added_in_chunks(n_blocks: int) -> None:
    size = plan.chunk_blocks(n_blocks, 4)
    assert 1 <= size <= n_blocks
    assert plan.depth(n_blocks, 4) == 4 * size + -(-n_blocks // size) + 1
    assert plan.depth(n_blocks, 4) <= max(9, 4 * n_blocks**0.5 + 9)


def test_costs_count_every_word() -> None:
    for architecture, shape in ((lenet("2/6"), (1, 28, 28)), (mlp(512, 2), (784,))):
        made = program(architecture, shape)
        assert cost(made, 2).words == n_words(made.ensemble.steps)
        assert cost(made, 8).instructions > cost(made, 2).instructions > 20 * cost(made, 2).words
        assert cost(made, 8).memory_bytes > cost(made, 2).memory_bytes
    normal = program(mlp(512, 2), (784,), "kaiming-normal")
    assert cost(normal, 2).instructions > cost(program(mlp(512, 2), (784,)), 2).instructions
    eight = program(mlp(512, 2), (784,), "uniform8")
    assert 4 * cost(eight, 2).words == pytest.approx(cost(normal, 2).words, rel=0.01)


def test_a_program_of_convolutions() -> None:
    ops = program(lenet("2/6"), (1, 28, 28)).ops
    assert [(op.kernel, op.pooled, op.rectified, op.pools) for op in ops] == [
        (5, True, True, ()),
        (5, True, True, ()),
        (0, False, True, ()),
        (0, False, True, ()),
        (0, False, False, ()),
    ]
    assert [op.features for op in ops] == [2 * 12 * 12, 5 * 4 * 4, 40, 28, 2]
    (first, _) = program(lenet("2/6", "1c-1f"), (1, 28, 28)).ops
    assert first.pools == ((2, (2, 12, 12)),) and first.pooled


def test_what_commutes_is_taken_at_once() -> None:
    layers: list[Layer] = [MaxPool2d(2), ReLU(), Conv2d(2, kernel=1), MaxPool2d(3), ReLU()]
    layers += [MaxPool2d(2), Flatten(), Dense(3, "prior")]
    made = program(Architecture("odd", layers), (1, 14, 14))
    conv, hidden, logits = made.ops
    assert isinstance(conv, Op)
    assert (conv.rectified, conv.pooled) == (True, False)
    assert conv.pools == ((3, (2, 7, 7)), (2, (2, 2, 2)))
    assert (hidden.rectified, hidden.biased, logits.biased) == (False, True, False)
    x, _, group = made.shared(Stage(0, 2), wide=False)
    assert x.shape == (2, 49) and group.shape == (2, 1)
    assert (x >= 0).all()  # pooled and rectified on the way in


def test_padding_repeats_the_last_sample() -> None:
    made = program(mlp(3, 1), (5,))
    x, slack, _ = made.shared(Stage(2, 3), wide=True)
    assert x.shape == slack.shape == (4, 5) and x.dtype == np.float64
    assert x[3].tolist() == x[2].tolist()
    assert (slack > 0).all()


@pytest.mark.parametrize("wide", [False, True])
def test_constants_round_up(wide: bool) -> None:
    made = program(paper_mlp("2/6"), (1, 28, 28), "kaiming-normal")
    constants = np.zeros(6)
    for number in range(len(made.ops)):
        constants = made.constants(number, wide)
        if not wide:
            assert (constants[1:].astype(np.float32) == constants[1:]).all()
        own = made._margins(number, wide)
        assert constants[1] >= own.tiny and constants[2] >= own.inject
    assert constants[3:].tolist() == [1.0, 0.0, 0.0]
