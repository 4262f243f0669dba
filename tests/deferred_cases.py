"""Ensembles under method "deferred": random ones, known ones, and what tests ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from scipy import stats

from biasgpu import priors
from biasgpu.architectures import Architecture, mlp, paper_mlp
from biasgpu.architectures.base import Head
from biasgpu.deferred import exact
from biasgpu.deferred import reference as law
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layers import Bias, Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU, Shape

PRIORS = ("kaiming-normal", "kaiming-normal", "normal", "normal:7.5", "normal:0.01")
_BIASES: list[Bias] = ["zero", "zero", "prior"]
_BIAS = st.sampled_from(_BIASES)


@dataclass(frozen=True)
class Case:
    """A draw of an ensemble."""

    ensemble: DeferredEnsemble
    draw: int


def make(
    architecture: Architecture,
    x_train: npt.NDArray,
    x_test: npt.NDArray | None = None,
    *,
    prior: str = "kaiming-normal",
    n_classes: int = 2,
    seed: int = 12,
) -> DeferredEnsemble:
    """An ensemble under method "deferred", without test inputs unless there are any."""
    x_train = np.asarray(x_train, dtype=np.float32)
    x_test = np.asarray(x_train[:0] if x_test is None else x_test, dtype=np.float32)
    shape = x_train.shape[1:]
    return DeferredEnsemble(
        architecture, priors.make(prior), shape, n_classes, seed, x_train, x_test
    )


def directly(ensemble: DeferredEnsemble, seed: int = 11) -> Ensemble:
    """The ensemble under method "direct", under another seed."""
    assert seed != ensemble.seed
    return Ensemble(ensemble.architecture, ensemble.prior, ensemble.shape, ensemble.n_classes, seed)


def logits(ensemble: DeferredEnsemble, n_draws: int) -> npt.NDArray[np.float64]:
    """The logits of the first draws for all inputs: float64 `(n_draws, n_inputs, outputs)`."""
    n, shared, sums = len(ensemble.x), ensemble.shared, exact.arithmetic()
    return np.array(
        [
            law.logits(ensemble.plan, ensemble.seed, draw, ensemble.features(draw, n), shared, sums)
            for draw in range(n_draws)
        ]
    )


def ks(one: npt.NDArray, other: npt.NDArray) -> float:
    """The p-value of the two-sample Kolmogorov-Smirnov test."""
    found: Any = stats.ks_2samp(one, other, method="asymp")
    return float(found.pvalue)


def homogeneity(table: Any) -> float:
    """The p-value of the chi-square test that a table's rows count draws of one distribution."""
    found: Any = stats.chi2_contingency(table)
    return float(found.pvalue)


@st.composite
def _layers(draw: st.DrawFn, shape: Shape) -> list[Layer]:
    """Perhaps a convolution, then dense layers with and without ReLUs behind them."""
    candidates: list[Layer] = []
    if len(shape) == 3 and draw(st.booleans()):
        for _ in range(draw(st.integers(1, 2))):
            units, kernel, padding = (draw(st.integers(a, b)) for a, b in ((1, 3), (1, 3), (0, 1)))
            candidates.append(Conv2d(units, draw(_BIAS), kernel=kernel, padding=padding))
            candidates += [ReLU()] * draw(st.integers(0, 1))
            candidates += [MaxPool2d(2)] * draw(st.integers(0, 1))
    candidates += [ReLU()] * draw(st.sampled_from([0, 0, 0, 1]))
    candidates.append(Flatten())
    for _ in range(draw(st.integers(0, 4))):
        candidates.append(Dense(draw(st.integers(1, 40)), draw(_BIAS)))
        candidates += draw(
            st.sampled_from(
                [
                    *([ReLU()], [ReLU()], [ReLU()], [], [ReLU(), ReLU()], [Flatten(), ReLU()]),
                    *([Flatten()], [MaxPool2d(2, images_only=True), ReLU(), Flatten()]),
                ]
            )
        )
    layers: list[Layer] = []
    for layer in candidates:
        try:
            shape = layer.out_shape(shape)
        except UsageError:
            continue
        layers.append(layer)
    return layers


@st.composite
def _architectures(draw: st.DrawFn, shape: Shape, n_classes: int) -> Architecture:
    heads: list[Head] = ["logits", "one-logit"]
    head, bias = draw(st.sampled_from(heads)) if n_classes == 2 else heads[0], draw(_BIAS)
    kind = draw(st.sampled_from(["mlp", "paper-mlp", "custom", "custom", "infinite"]))
    depth = draw(st.integers(0, 4))
    if kind == "custom":
        return Architecture("custom", draw(_layers(shape)), head, bias)
    if kind == "paper-mlp" and (len(shape) == 1 or min(shape[1:]) >= 2):
        return paper_mlp("1/6", max(1, depth), head=head, bias=bias)
    return mlp("inf" if kind == "infinite" else draw(st.integers(1, 40)), depth, head=head,
               bias=bias)  # fmt: skip


def awkward(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Inputs of a kind: float32 `shape`."""
    x = rng.normal(size=shape)
    flat = x.reshape(shape[0], -1)
    if kind == "small whole":
        x = rng.integers(-2, 3, size=shape)
    elif kind == "dependent" and len(flat):
        x = (rng.normal(size=(len(flat), 2)) @ flat[rng.integers(0, len(flat), 2)]).reshape(shape)
    elif kind == "duplicated" and len(flat):
        x = x[rng.integers(0, max(1, len(x) // 3), len(x))]
    elif kind == "close" and len(flat):
        x = x[:1] + 1e-6 * np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)) * x[-1:]
    elif kind == "zeros":
        x = np.where(rng.random(shape) < 0.9, 0.0, x)
    elif kind == "all zero":
        x = 0.0 * x
    elif kind == "large":
        x = x * 1e6
    return np.ascontiguousarray(x, dtype=np.float32)


KINDS = (
    *("normal", "normal", "small whole", "dependent", "duplicated"),
    *("close", "zeros", "all zero", "large"),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A draw of an ensemble that may be awkward in every way."""
    sizes = st.integers(1, 6)
    shape: Shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 40)), st.tuples(st.just(1), sizes, sizes),
            st.tuples(sizes, sizes, sizes),
        )
    )  # fmt: skip
    n_classes = draw(st.sampled_from([2, 2, 3, 4]))
    architecture = draw(_architectures(shape, n_classes))
    n_train = draw(st.sampled_from([1, 1, 2, 3, 5, 8, 17, 33]))
    n_test = draw(st.sampled_from([0, 1, 1, 7, 33]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = awkward(rng, draw(st.sampled_from(KINDS)), (n_train + n_test, *shape))
    prior = "kaiming-normal" if architecture.infinite else draw(st.sampled_from(PRIORS))
    ensemble = make(
        architecture, x[:n_train], x[n_train:], prior=prior, n_classes=n_classes,
        seed=draw(st.one_of(st.integers(0, 9), st.integers(2**32, 2**64 - 1))),
    )  # fmt: skip
    last = ensemble.max_draws - 1
    number = draw(st.one_of(st.integers(0, 9), st.integers(2**40, last), st.just(last)))
    return Case(ensemble, number)
