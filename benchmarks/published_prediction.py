"""How fast the published way should be on a GPU: what it moves and multiplies, and what binds.

A prediction, not a measurement. A batch of networks passes through kernels of PyTorch, each of
which reads and writes all of its numbers: weights are filled by `uniform_`, every network has its
copy of the inputs, ReLU and pooling are passes of their own. Two numbers come of it:

- *at most*: every kernel moves its bytes at the GPU's full bandwidth, or multiplies at the full
  rate of its tensor cores (cuDNN may use TF32), whichever takes longer, and no time is lost.
- *expected*: the same, but grouped convolutions, in which a network is a group with a few channels,
  reach the share of float32's peak outside tensor cores that they were measured to reach of the
  peak of CPU cores (results.csv). That is an analogy; no measurement on a GPU is behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks import baseline, records
from biasgpu.layers import Flatten, MaxPool2d, ReLU
from biasgpu.layout import lay_out

# Of one H200, by NVIDIA's data sheet; words by what others measured of PyTorch's uniform_.
BYTES_PER_S = 4.8e12
TF32_FLOPS_PER_S = 495e12
FLOPS_PER_S = 67e12
WORDS_PER_S = 0.35e12


@dataclass(frozen=True)
class Pass:
    """A kernel's work for one network: bytes moved, products, words made."""

    moved: int
    products: int = 0
    words: int = 0


def passes(work: str) -> list[Pass]:
    """The kernels of the published way, in order."""
    architecture, n, shape = baseline.WORKS[work]
    steps, found = lay_out(architecture.resolve(shape, 2), shape, 32), list[Pass]()
    for step in steps:
        before, after = (n * math.prod(one) for one in (step.in_shape, step.out_shape))
        match step.layer:
            case Flatten():
                continue
            case ReLU() | MaxPool2d():
                if before != after or isinstance(step.layer, ReLU):
                    found.append(Pass(4 * (before + after)))
            case _:
                assert step.linear is not None
                weights = step.linear.units * step.columns
                found.append(Pass(4 * weights, words=weights))
                found.append(Pass(4 * (before + weights + after), products=after * step.fan_in))
    outputs = n * math.prod(steps[-1].out_shape)
    # The arg max: int64 out; compared with the labels; reduced.
    return [*found, Pass(4 * outputs + 8 * n), Pass(9 * n), Pass(n)]


def at_most(work: str) -> float:
    """Networks a second that no kernel's limits allow to be passed."""
    return 1 / sum(
        max(
            one.moved / BYTES_PER_S,
            2 * one.products / TF32_FLOPS_PER_S,
            one.words / WORDS_PER_S,
        )
        for one in passes(work)
    )


def expected(work: str) -> float:
    """Networks a second, if grouped convolutions are as far from the peak as on CPU cores."""
    share = cpu_share(work)
    return 1 / sum(
        max(
            one.moved / BYTES_PER_S,
            2 * one.products / (share * FLOPS_PER_S),
            one.words / WORDS_PER_S,
        )
        for one in passes(work)
    )


def cpu_share(work: str) -> float:
    """The share of the cores' products that the published way reached in the last run there."""
    rows = records.latest(records.read(), baseline.WORKS.__contains__)
    row = next(row for row in rows if row["work"] == work)
    products = sum(one.products for one in passes(work))
    return float(row["baseline_per_s"]) * products / float(row["products_per_s"])
