"""Random architectures with batch norms and residual blocks, for the compiled law and engine."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from biasgpu.architectures import Architecture
from biasgpu.architectures.base import Head
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.errors import UsageError
from biasgpu.layers import (
    BatchNorm2d,
    Bias,
    Conv2d,
    Dense,
    Flatten,
    Fork,
    Join,
    Layer,
    MaxPool2d,
    ReLU,
    Scale,
    Shape,
)
from tests.strategies import PRIORS, Case

BIASES: list[Bias] = ["none", "zero", "prior"]
HEADS: list[Head] = ["logits", "one-logit"]


@st.composite
def images(draw: st.DrawFn, shape: Shape, depth: int = 0) -> list[Layer]:
    """Layers on images of `shape`; those behind the outermost may change it."""
    layers: list[Layer] = []
    for _ in range(draw(st.integers(0 if depth else 1, 3))):
        kind = draw(st.sampled_from(["conv", "conv", "conv", "norm", "relu", "scale", "block"]))
        if kind == "conv":
            kernel, padding = draw(
                st.sampled_from([(3, 1), (3, 1), (3, 0), (1, 0), (2, 2), (5, 2)])
            )
            units = shape[0] if depth else draw(st.integers(1, 5))
            if depth:
                kernel, padding = draw(st.sampled_from([(3, 1), (1, 0), (5, 2)]))
            convolution = Conv2d(units, draw(st.sampled_from(BIASES)), kernel, padding)
            try:
                shape = convolution.out_shape(shape)
            except UsageError:
                continue
            layers.append(convolution)
            layers += [BatchNorm2d()] * (draw(st.integers(0, 3)) > 0)
            layers += [ReLU()] * draw(st.integers(0, 1))
            size = draw(st.sampled_from([1, 2, 2, 3]))
            if not depth and min(shape[1:]) >= size and draw(st.booleans()):
                layers.append(MaxPool2d(size))
                shape = layers[-1].out_shape(shape)
        elif kind == "block" and depth < 2:
            layers += [Fork(), *draw(images(shape, depth + 1)), Join()]
        elif kind != "block":
            one = {"norm": BatchNorm2d(), "relu": ReLU(), "scale": Scale(-0.75)}
            layers.append(one.get(kind, ReLU()))
    return layers


@st.composite
def ensembles(draw: st.DrawFn) -> BatchNormEnsemble:
    """Ensembles with one batch norm at least, of 2 or 3 classes."""
    sizes = st.integers(1, 9)
    shape = draw(st.tuples(st.integers(1, 3), sizes, sizes))
    hidden = draw(images(shape))
    if not any(isinstance(layer, BatchNorm2d) for layer in hidden):
        hidden.append(BatchNorm2d())
    hidden.append(Flatten())
    if draw(st.booleans()):
        hidden += [Dense(draw(st.integers(1, 20)), draw(st.sampled_from(BIASES))), ReLU()]
    n_classes = draw(st.sampled_from([2, 2, 3]))
    head = draw(st.sampled_from(HEADS)) if n_classes == 2 else HEADS[0]
    bias = draw(st.sampled_from(BIASES))
    architecture = Architecture("random", hidden, head, bias)
    n_train = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x_train = rng.normal(size=(n_train, *shape)).astype(np.float32)
    if draw(st.integers(0, 3)) == 0:
        x_train[-1] = x_train[0]
    seed = draw(st.one_of(st.integers(0, 9), st.integers(2**32, 2**64 - 1)))
    prior = draw(st.sampled_from(PRIORS))
    return BatchNormEnsemble(architecture, prior, shape, n_classes, seed, x_train)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An ensemble, its training set with labels, and some draws."""
    ensemble = draw(ensembles())
    n_draws = draw(st.integers(1, 11))
    last = ensemble.max_draws - n_draws
    first = draw(st.one_of(st.integers(0, 9), st.integers(2**40, last), st.just(last)))
    y_train = np.arange(len(ensemble.x_train)) % ensemble.n_classes
    return Case(ensemble, ensemble.x_train, y_train.astype(np.int64), first, n_draws)
