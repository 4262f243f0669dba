"""Shapes of the published architectures, and what is refused."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest

from biasgpu import architectures, sample, task_from_arrays
from biasgpu.architectures import Architecture, lenet, make, mlp, paper_mlp
from biasgpu.errors import UsageError
from biasgpu.layers import Conv2d, Dense, Flatten, Linear, MaxPool2d, ReLU
from biasgpu.layout import lay_out, n_products, n_weights, n_words
from biasgpu.sampling.events import Note

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def _weights(architecture: Architecture, shape: tuple[int, ...], n_classes: int = 2) -> list:
    layers = architecture.resolve(shape, n_classes)
    return [
        step.linear.weight_shape(step.in_shape)
        for step in lay_out(layers, shape, 32)
        if step.linear
    ]


@pytest.mark.parametrize(
    ("width", "channels"),
    [
        ("1/6", (1, 2, 20, 14)),
        ("2/6", (2, 5, 40, 28)),
        ("3/6", (3, 8, 60, 42)),
        ("4/6", (4, 10, 80, 56)),
        (1, (6, 16, 120, 84)),
        ("1/6,1/6,1/24,1/24", (1, 2, 5, 3)),
        ([Fraction(1, 6), "1/6", 1 / 24, "1/24"], (1, 2, 5, 3)),
    ],
)
def test_lenet_widths(width: Any, channels: tuple[int, int, int, int]) -> None:
    a, b, c, d = channels
    expected = [(a, 1, 5, 5), (b, a, 5, 5), (c, 16 * b), (d, c), (2, d)]
    assert _weights(lenet(width), MNIST) == expected
    expected[0], expected[2] = (a, 3, 5, 5), (c, 25 * b)
    assert _weights(lenet(width), CIFAR) == expected


@pytest.mark.parametrize(
    ("depth", "mnist"),
    [
        ("2c-3f", [(2, 1, 5, 5), (5, 2, 5, 5), (40, 80), (28, 40), (2, 28)]),
        ("2c-2f", [(2, 1, 5, 5), (5, 2, 5, 5), (28, 80), (2, 28)]),
        ("2c-1f", [(2, 1, 5, 5), (5, 2, 5, 5), (2, 80)]),
        ("1c-1f", [(2, 1, 5, 5), (2, 2 * 36)]),
    ],
)
def test_lenet_depths(depth: str, mnist: list) -> None:
    assert _weights(lenet("2/6", depth), MNIST) == mnist


@pytest.mark.parametrize(
    ("depth", "units"), [(4, [40, 20, 10, 4]), (3, [20, 10, 4]), (2, [10, 4]), (1, [4])]
)
def test_paper_mlp_drops_layers_from_the_front(depth: int, units: list[int]) -> None:
    for shape, features in ((MNIST, 14 * 14), (CIFAR, 3 * 16 * 16), ((9,), 9)):
        sizes = [features, *units, 2]
        expected = [(b, a) for a, b in pairwise(sizes)]
        assert _weights(paper_mlp("2/6", depth), shape) == expected


def test_mlp() -> None:
    assert _weights(mlp(512, 2), MNIST) == [(512, 784), (512, 512), (2, 512)]
    assert _weights(mlp(8, 0), MNIST, 5) == [(5, 784)]
    assert _weights(mlp(8, 1, head="one-logit", bias="prior"), (2,)) == [(8, 2), (1, 8)]
    assert mlp(8, 3).depth == 3
    assert str(mlp(8, 3)) == "mlp width 8 depth 3"


def test_layout_of_words() -> None:
    steps = lay_out(mlp(8, 1, head="one-logit", bias="prior").resolve((2,), 2), (2,), 32)
    linear = [step for step in steps if step.linear]
    # Two weights and a bias: one block a unit; eight and a bias: three blocks.
    assert [(s.columns, s.first_block, s.blocks_per_unit) for s in linear] == [(3, 0, 1), (9, 8, 3)]
    assert n_words(steps) == 4 * 11
    assert n_weights(steps) == 33
    assert n_products(steps) == 24
    bytes_ = lay_out(mlp(8, 1, head="one-logit", bias="prior").resolve((2,), 2), (2,), 8)
    assert n_words(bytes_) == 4 * 9


@pytest.mark.parametrize(
    "architecture",
    [
        lenet(),
        lenet("1/6,1/6,1/24,1/24", head="one-logit", bias="prior"),
        mlp(3, 0),
        paper_mlp(1, 2),
        Architecture("own", [Conv2d(2, kernel=3, padding=1), MaxPool2d(3), Flatten(), Dense(4)]),
    ],
)
def test_config_rebuilds_the_architecture(architecture: Architecture) -> None:
    again = Architecture.from_config(architecture.to_config())
    assert again == architecture
    assert again.options == architecture.options


def test_make_takes_strings_and_defaults() -> None:
    assert make("mlp", width="64", depth=None) == mlp(64)
    assert make("lenet", width="2/6") == lenet("2/6")
    assert set(architectures.ARCHITECTURES) == {"mlp", "lenet", "paper-mlp", "resnet4"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("lennet"), "Did you mean 'lenet'"),
        (lambda: make("mlp", widht=3), "cannot be made"),
        (lambda: mlp(0), "width is 0"),
        (lambda: mlp(True), "width is True"),
        (lambda: mlp(8, -1), "depth is -1"),
        (lambda: make("mlp", width="-5"), "width is -5"),
        (lambda: make("mlp", width="2/6"), "width is '2/6'"),
        (lambda: lenet("0"), "positive fraction"),
        (lambda: lenet("1/7"), "leaves a layer"),
        (lambda: lenet("a"), "positive fraction"),
        (lambda: lenet("1/0"), "positive fraction"),
        (lambda: lenet("1,1"), "2 width factors for 4"),
        (lambda: lenet(depth="3c"), "unknown LeNet depth"),
        (lambda: paper_mlp(depth=5), "depth is 5"),
        (lambda: make("mlp", head="two"), "unknown head"),
        (lambda: make("mlp", bias="on"), "unknown bias"),
        (lambda: Architecture("x", [cast(Any, 3)]), "not a layer"),
        (lambda: lenet().resolve((1, 8, 8), 2), "does not fit|max-pool"),
        (lambda: lenet().resolve((784,), 2), "needs inputs of shape"),
        (lambda: mlp(head="one-logit").resolve((4,), 3), "two classes apart"),
        (lambda: mlp().resolve((4,), 1), "at least two"),
        (lambda: Architecture("x", [Dense(3)]).resolve(MNIST, 2), "flat input"),
        (lambda: Conv2d(2, padding=-1), "padding is -1"),
        (lambda: Dense(0), "units is 0"),
        (lambda: MaxPool2d(0), "size is 0"),
    ],
)
def test_refused(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_hidden_layers_must_not_need_a_flatten_before_the_logits() -> None:
    layers = Architecture("conv", [Conv2d(2, kernel=3), ReLU()]).resolve((1, 4, 4), 3)
    assert layers[-2:] == (Flatten(), Dense(3))


def test_a_large_width_factor_says_how_units_are_written() -> None:
    wide = lenet(512)
    assert "hidden layers of 3,072, 8,192, 61,440, 43,008 units" in wide.note
    meant = re.search(r"--width ([^)]+)\)", wide.note)
    assert meant is not None
    by_units = lenet(meant[1])
    assert [layer.units for layer in by_units.layers if isinstance(layer, Linear)] == [512] * 4
    assert by_units.note == lenet(16).note == lenet("2/6").note == paper_mlp("16").note == ""
    assert "--width 20/30,40/12" in paper_mlp("20,40", depth=2).note
    assert Architecture.from_config(wide.to_config()).layers == wide.layers


def test_the_note_on_a_width_comes_before_any_work() -> None:
    seen: list[str] = []

    def look(event: object) -> None:
        assert isinstance(event, Note)
        seen.append(event.text)
        raise RuntimeError("seen")

    task = task_from_arrays(*(2 * [np.ones((2, 4)) * [[1], [2]], [0, 1]]))
    with pytest.raises(RuntimeError, match="seen"):
        sample(task, paper_mlp(17, bias="prior"), fits=1, on_event=look)
    assert "width is a factor here: 17" in seen[0]


def test_biases_in_words() -> None:
    said = [mlp(4, bias="zero").bias_said, mlp(4, bias="prior").bias_said]
    assert said == ["bias zero", "bias prior"]
    assert architectures.resnet4().bias_said == "no bias"
