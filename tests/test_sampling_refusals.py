"""Bad arguments and impossible tasks are refused before any work."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu import layers, mlp, paper_mlp
from biasgpu.architectures import Architecture
from biasgpu.errors import ImpossibleTaskError, UsageError
from biasgpu.sampling import sample, stream
from biasgpu.task import Task
from tests.sampling_cases import (
    make_task,
)


def images(values: list[list[list[float]]], labels: list[int]) -> Task:
    x = np.array(values, dtype=np.float32)[:, None]
    y = np.array(labels)
    return Task("images", x, y, x, y, ("a", "b"))


def points(values: list[list[float]], labels: list[int]) -> Task:
    x = np.array(values, dtype=np.float32)
    return Task("points", x, np.array(labels), x, np.array(labels), ("a", "b"))


def test_inputs_that_pooling_makes_equal() -> None:
    task = images(
        [[[1, 2], [3, 4]], [[4, 3], [2, 0]], [[0, 0], [0, 9]], [[1, 1], [1, 5]]], [0, 1, 0, 1]
    )
    with pytest.raises(ImpossibleTaskError, match=r"samples 0 and 1 .*before they reach"):
        sample(task, paper_mlp(1, 1, bias="prior"), fits=1)
    sample(task, mlp(4, 1, bias="prior"), candidates=2)


def test_inputs_that_a_leading_rectifier_makes_equal() -> None:
    task = points([[-1, 2], [-3, 2]], [0, 1])
    net = Architecture("cut", [layers.ReLU(), layers.Dense(3, "prior"), layers.ReLU()])
    with pytest.raises(ImpossibleTaskError, match="samples 0 and 1"):
        sample(task, net, fits=1)


def test_multiples_cannot_be_told_apart_without_biases() -> None:
    task = points([[1, -3], [7, 7], [1, 2], [3, -9]], [0, 1, 0, 1])
    with pytest.raises(ImpossibleTaskError, match=r"samples 0 and 3 .*multiples"):
        sample(task, mlp(4, 1), fits=1)
    sample(task, mlp(4, 1, bias="prior"), candidates=2)
    sample(points([[1, -3], [-1, 3]], [0, 1]), mlp(4, 1), candidates=2)


def test_an_input_of_zeros_needs_biases() -> None:
    task = points([[1, 2], [0, -0.0]], [0, 1])
    with pytest.raises(ImpossibleTaskError, match="sample 1 is all zeros"):
        sample(task, mlp(4, 1), fits=1)
    sample(points([[0, 0], [1, 2]], [0, 1]), mlp(4, 1), candidates=2)


def test_arguments_are_checked_before_any_work() -> None:
    task, net = make_task(), mlp(2, 1)
    for options, message in (
        ({"first_index": 3}, "first_index is 3.*\n.*\n.*first_index=2 or 4"),
        ({"first_index": -2}, "index is -2"),
        ({"first_index": 2**64}, "index is"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"curve_fits": -1}, "curve_fits is -1"),
        ({"engine": "cup"}, "unknown engine 'cup'. Did you mean 'cpu'"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"batch_draws": 0}, "batch_draws is 0"),
        ({"candidates": 2**65}, "64-bit"),
        ({"prior": "unifrom"}, "Did you mean 'uniform"),
        ({"threads": 0}, "threads is 0"),
    ):
        arguments = {"prior": "uniform", "candidates": 1, **options}
        with pytest.raises(UsageError, match=message):
            sample(task, net, **arguments)
    with pytest.raises(UsageError, match=r"biasgpu\.task"):
        sample("mnist", net, fits=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"biasgpu\.mlp"):
        sample(task, "mlp", fits=1)  # pyright: ignore[reportArgumentType]
    for first_draw, end_draw in ((5, 4), (-1, None), (0, 2**64)):
        with pytest.raises(UsageError, match="range of draws"):
            stream(task, net, first_draw=first_draw, end_draw=end_draw)
    with pytest.raises(UsageError, match="state has shape"):
        stream(task, net, state=np.zeros(3, np.int64))


def test_a_class_without_training_samples() -> None:
    task = points([[1, 2], [3, 4]], [0, 0])
    with pytest.raises(UsageError, match="no training sample has label 1"):
        sample(task, mlp(4, 1), fits=1)


def test_more_training_samples_than_a_prefix_counts() -> None:
    n = 0xFFFF
    x = np.arange(1, n + 1, dtype=np.float32)[:, None]
    task = Task("long", x, np.arange(n) % 2, x[:2], np.arange(2), ("a", "b"))
    with pytest.raises(UsageError, match="n_train is 65535"):
        sample(task, mlp(4, 1, bias="prior"), fits=1)
