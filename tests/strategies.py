"""Random ensembles and training sets, to hold the engines to the law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from biasgpu import priors
from biasgpu.architectures.base import Architecture, Head
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layers import (
    BatchNorm2d,
    Bias,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Scale,
    Shape,
    residual,
)


class Lopsided(priors.Prior):
    """A prior of a user's own: not symmetric, of no known family."""

    name = "test-lopsided"
    symmetric = False

    def weights(self, words: npt.NDArray[np.uint32], fan_in: int) -> npt.NDArray[np.float32]:
        odd = priors.odd_integers(words, 32).astype(np.float64) * 2.0**-24
        return (odd + 0.25 * odd * odd + 1 / 64).astype(np.float32)


PRIORS: list[priors.Prior] = [
    *(priors.make(name) for name in
      ("uniform", "uniform:0.2", "uniform16", "uniform8", "normal", "normal:7.5",
       "kaiming-uniform", "kaiming-uniform16", "kaiming-uniform8", "kaiming-normal")),
    Lopsided(),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What an engine is asked: some draws of an ensemble on a training set."""

    ensemble: Ensemble
    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[np.int64]
    first_draw: int
    n_draws: int


_BIASES: list[Bias] = ["zero", "zero", "prior"]
_BIAS = st.sampled_from(_BIASES)


@st.composite
def _layers(draw: st.DrawFn, shape: Shape) -> list[Layer]:
    """Hidden layers that fit inputs of `shape`: some convolutions, then some dense layers."""
    candidates: list[Layer] = []
    if len(shape) == 3:
        for _ in range(draw(st.integers(0, 2))):
            units, kernel, padding = (draw(st.integers(a, b)) for a, b in ((1, 4), (1, 4), (0, 2)))
            candidates.append(Conv2d(units, draw(_BIAS), kernel=kernel, padding=padding))
            if draw(st.integers(0, 3)):
                candidates.append(ReLU())
            if draw(st.booleans()):
                candidates.append(MaxPool2d(draw(st.integers(1, 3))))
    candidates.append(Flatten())
    for _ in range(draw(st.integers(0, 3))):
        candidates.append(Dense(draw(st.integers(1, 20)), draw(_BIAS)))
        if draw(st.integers(0, 3)):
            candidates.append(ReLU())
    layers: list[Layer] = []
    for layer in candidates:
        try:
            shape = layer.out_shape(shape)
        except UsageError:
            continue
        layers.append(layer)
    return layers


@st.composite
def ensembles(draw: st.DrawFn) -> Ensemble:
    """Ensembles of 2 to 4 classes."""
    sizes = st.integers(1, 9)
    shape: Shape = draw(st.one_of(st.tuples(sizes), st.tuples(st.integers(1, 3), sizes, sizes)))
    n_classes = draw(st.sampled_from([2, 2, 3, 4]))
    heads: list[Head] = ["logits", "one-logit"]
    head = draw(st.sampled_from(heads)) if n_classes == 2 else heads[0]
    architecture = Architecture("random", draw(_layers(shape)), head, draw(_BIAS))
    seed = draw(st.one_of(st.integers(0, 9), st.integers(2**32, 2**64 - 1)))
    return Ensemble(architecture, draw(st.sampled_from(PRIORS)), shape, n_classes, seed)


_NO_BIASES: list[Bias] = ["none", "none", "zero", "prior"]
_NO_BIAS = st.sampled_from(_NO_BIASES)


@st.composite
def _units(draw: st.DrawFn, channels: int, *, keep: bool = False) -> list[Layer]:
    """A convolution that may have a batch norm and a rectifier, in either order, or neither."""
    kernel = draw(st.sampled_from([1, 3])) if keep else draw(st.integers(1, 3))
    padding = kernel // 2 if keep else draw(st.integers(0, 1))
    layers: list[Layer] = [Conv2d(channels, draw(_NO_BIAS), kernel=kernel, padding=padding)]
    behind = [BatchNorm2d(), ReLU()] if draw(st.integers(0, 3)) else [ReLU(), BatchNorm2d()]
    return layers + behind[: draw(st.sampled_from([2, 2, 2, 1, 0]))]


@st.composite
def _coupled_layers(draw: st.DrawFn, shape: Shape) -> list[Layer]:
    """Hidden layers with batch norms, residual blocks and factors, for images of `shape`."""
    candidates: list[Layer | list[Layer]] = []
    if draw(st.integers(0, 3)) == 0:
        candidates.append(BatchNorm2d())
    for _ in range(draw(st.integers(1, 2))):
        channels = draw(st.integers(1, 4))
        candidates += draw(_units(channels))
        if draw(st.booleans()):
            candidates.append(MaxPool2d(draw(st.integers(1, 3))))
        if draw(st.booleans()):
            inner = [*draw(_units(channels, keep=True)), *draw(_units(channels, keep=True))]
            candidates.append(residual(*inner))
    candidates.append(Flatten())
    if draw(st.booleans()):
        candidates.append(Scale(draw(st.sampled_from([0.125, -3.0, 0.7]))))
    if draw(st.booleans()):
        units = draw(st.integers(1, 6))
        candidates += [Dense(units, draw(_NO_BIAS)), ReLU(), residual(Dense(units), ReLU())]
    layers: list[Layer] = []
    for candidate in candidates:
        block = candidate if isinstance(candidate, list) else [candidate]
        try:
            after = shape
            for layer in block:
                after = layer.out_shape(after)
        except UsageError:
            continue
        if len(block) == 1 or after == shape:
            layers, shape = layers + block, after
    return layers


@st.composite
def coupled_ensembles(draw: st.DrawFn, x_train: npt.NDArray[np.float32]) -> Ensemble:
    """Ensembles with batch norms (few without), residual blocks and factors."""
    n_classes = draw(st.sampled_from([2, 2, 3]))
    heads: list[Head] = ["logits", "one-logit"]
    head = draw(st.sampled_from(heads)) if n_classes == 2 else heads[0]
    shape = x_train.shape[1:]
    architecture = Architecture("random", draw(_coupled_layers(shape)), head, draw(_NO_BIAS))
    seed = draw(st.one_of(st.integers(0, 9), st.integers(2**32, 2**64 - 1)))
    parts = (architecture, draw(st.sampled_from(PRIORS)), shape, n_classes, seed)
    return BatchNormEnsemble(*parts, x_train) if architecture.coupled else Ensemble(*parts)


@st.composite
def coupled_cases(draw: st.DrawFn) -> Case:
    """The same as `cases`, of `coupled_ensembles`."""
    n_train = draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (n_train, draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    x = rng.normal(size=shape)
    match draw(st.sampled_from(["normal", "normal", "whole", "one input", "far", "large"])):
        case "whole":
            x = rng.integers(-2, 3, size=shape)
        case "one input":
            x = np.broadcast_to(x[:1], shape)
        case "far":  # a mean beside which the variance is small
            x = x + 300.0
        case "large":
            x = x * 1e4
    x_train = np.ascontiguousarray(x, dtype=np.float32)
    ensemble = draw(coupled_ensembles(x_train))
    labels = (np.arange(n_train) + draw(st.integers(0, 1))) % ensemble.n_classes
    n_draws = draw(st.integers(1, 12))
    last = ensemble.max_draws - n_draws
    first = draw(st.one_of(st.integers(0, 9), st.integers(2**40, last), st.just(last)))
    return Case(ensemble, x_train, labels.astype(np.int64), first, n_draws)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An ensemble, a training set that may be awkward, and some draws."""
    ensemble = draw(ensembles())
    n_train = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (n_train, *ensemble.shape)
    kind = draw(st.sampled_from(["normal", "normal", "small whole", "one input", "zeros", "large"]))
    x = rng.normal(size=shape)
    if kind == "small whole":
        x = rng.integers(-2, 3, size=shape)
    elif kind == "one input":
        x = np.broadcast_to(x[:1], shape)
    elif kind == "zeros":
        x = np.where(rng.random(shape) < 0.9, 0.0, x)
    elif kind == "large":
        x = x * 1e4
    x_train = np.ascontiguousarray(x, dtype=np.float32)
    y_train = (np.arange(n_train) + draw(st.integers(0, 1))) % ensemble.n_classes
    if draw(st.booleans()):
        rng.shuffle(y_train)
    if n_train > 2 and draw(st.booleans()):  # one input twice, with its label
        x_train[-1], y_train[-1] = x_train[0], y_train[0]
    n_draws = draw(st.integers(1, 40))
    last = ensemble.max_draws - n_draws
    first = draw(st.one_of(st.integers(0, 9), st.integers(2**40, last), st.just(last)))
    return Case(ensemble, x_train, y_train.astype(np.int64), first, n_draws)


def strokes(n: int, size: int = 28) -> npt.NDArray[np.float32]:
    """Rings and bars, normalised as MNIST is: float32 `(n, 1, size, size)`."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size] - size / 2
    x = np.full((n, 1, size, size), -0.4242, dtype=np.float32)
    for i in range(n):
        wobble = rng.normal(size=3)
        if i % 2:
            ink = np.abs(np.hypot(rows + wobble[0], columns) - size / 4 - wobble[1]) < 1.5
        else:
            ink = np.abs(columns + wobble[0] + rows * (0.3 + 0.1 * wobble[1])) < 1.5
        x[i, 0][ink & (np.abs(rows) < size / 3)] = 2.8
    return x
