"""Logits of networks given by their parameters: the bits of the law, however many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from biasgpu import exact, given, priors, reference
from biasgpu.architectures import lenet
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU
from biasgpu.layout import lay_out
from biasgpu.packing import Packing
from tests.strategies import strokes

NETWORKS: dict[str, tuple[Sequence[Layer], tuple[int, ...]]] = {
    "dense": ([Dense(7), ReLU(), Dense(5), Dense(3)], (19,)),
    "one layer": ([Dense(1)], (40,)),
    "padded": (
        [
            Conv2d(3, kernel=3, padding=1),
            ReLU(),
            MaxPool2d(2),
            Conv2d(2, kernel=2, padding=2),
            MaxPool2d(3),
            ReLU(),
            Flatten(),
            Dense(5),
            ReLU(),
            Dense(2),
        ],
        (2, 9, 8),
    ),
    "colour images": (
        [
            Conv2d(2, kernel=5),
            ReLU(),
            MaxPool2d(2),
            Conv2d(5, kernel=5),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
            Dense(40),
            ReLU(),
            Dense(2),
        ],
        (3, 32, 32),
    ),
    "pool first": ([MaxPool2d(2), Flatten(), ReLU(), Dense(6), ReLU(), Dense(1)], (1, 7, 6)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [1, 8, 19])
def test_bits_are_those_of_the_law(name, n) -> None:
    layers, shape = NETWORKS[name]
    steps = lay_out(layers, shape, 32)
    rng = np.random.default_rng(n)
    flat = rng.normal(size=(n, Packing(steps).n_parameters)).astype(np.float32)
    flat[rng.random(flat.shape) < 0.1] = -0.0
    x = rng.normal(size=(5, *shape)).astype(np.float32)
    x[1] = -0.0
    expected = np.stack([given.reference_logits(steps, row, x) for row in flat])
    for threads in (1, 2):
        found = given.logits(steps, flat, x, threads=threads)
        np.testing.assert_array_equal(found.view(np.int64), expected.view(np.int64))


def test_a_bias_of_zero_is_no_bias() -> None:
    """Drawn networks, whose architecture has no biases, bit for bit: zeros keep their signs."""
    ensemble = Ensemble(
        lenet(width=(1 / 6, 1 / 6, 1 / 24, 1 / 24)), priors.make("uniform"), (1, 28, 28), 2, 3
    )
    draws, x = np.arange(40, dtype=np.uint64), strokes(6)
    packing = Packing(ensemble.steps)
    flat = np.stack([packing.pack(ensemble.parameters(int(draw))) for draw in draws])
    drawn = exact.logits(ensemble, draws, x, threads=1)
    assert (drawn == 0.0).any()  # silent networks are among them
    found = given.logits(ensemble.steps, flat, x, threads=1)
    np.testing.assert_array_equal(found.view(np.int64), drawn.view(np.int64))


def test_samples_come_in_blocks(monkeypatch) -> None:
    layers, shape = NETWORKS["padded"]
    steps = lay_out(layers, shape, 32)
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(3, Packing(steps).n_parameters)).astype(np.float32)
    x = rng.normal(size=(7, *shape)).astype(np.float32)
    whole = given.logits(steps, flat, x, threads=1)
    monkeypatch.setattr(given, "BUFFER_BYTES", 1)
    np.testing.assert_array_equal(given.logits(steps, flat, x, threads=2), whole)


@dataclass(frozen=True)
class Halving(ReLU):
    """A layer that no compiled code knows."""


def test_what_has_no_compiled_form_takes_the_reference(monkeypatch) -> None:
    monkeypatch.setattr(given, "KNOWN", (Dense,))
    steps = lay_out([Dense(3), Halving(), Dense(2)], (4,), 32)
    rng = np.random.default_rng(1)
    flat = rng.normal(size=(2, Packing(steps).n_parameters)).astype(np.float32)
    x = rng.normal(size=(3, 4)).astype(np.float32)
    monkeypatch.setattr(given, "_compiled", None)
    found = given.logits(steps, flat, x)
    for row, parameters in zip(found, flat, strict=True):
        layers: Any = Packing(steps).unpack(parameters.astype(np.float64))
        np.testing.assert_array_equal(row, reference.forward(steps, layers, x))


def test_none_at_all() -> None:
    steps = lay_out([Dense(2)], (3,), 32)
    flat, x = np.zeros((5, 8), np.float32), np.ones((4, 3), np.float32)
    assert given.logits(steps, flat[:0], x).shape == (0, 4, 2)
    assert given.logits(steps, flat, x[:0]).shape == (5, 0, 2)
