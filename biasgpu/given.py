"""The law for networks given by their parameters, trained ones say; the same bits, many at once.

Compiled as for drawn networks (`biasgpu.exact`), the weights being read where those are drawn:
eight networks at a time, their parameters turned from rows into lanes, each unit's weights and then
its bias. A bias is always added, also where it is zero. That changes no bit: a sum of the law
starts at +0.0, so it is never -0.0, the one number that adding a zero could change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biasgpu import batch_norm_law, reference
from biasgpu.answers import classes_of
from biasgpu.decision import arrange, predictions
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.packing import Packing
from biasgpu.priors import UniformPrior

if TYPE_CHECKING:
    from biasgpu.engines.cpu.program import Program
    from biasgpu.engines.cpu.workspace import Workspace

BUFFER_BYTES = 24 << 20  # activations of one thread
KNOWN = (Dense, Conv2d, MaxPool2d, ReLU, Flatten)


def logits(
    steps: Sequence[Step],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """Logits by the law, outputs in the order of the parameters.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`, as `biasgpu.packing.Packing` lays them out.
        x: float32 `(samples, *shape)`.
        threads: how many; None for one a core.

    Returns:
        float64 `(n, samples, outputs)`; the bits of `biasgpu.reference.forward` for each network.
    """
    steps = tuple(steps)
    result = np.empty((len(flat), len(x), int(np.prod(steps[-1].out_shape))))
    if not result.size:
        return result
    if not all(isinstance(step.layer, KNOWN) for step in steps):
        if not batch_norm_law.given_unsupported(steps):
            return batch_norm_law.given_logits(steps, flat, x, threads)
        for row, parameters in zip(result, flat, strict=True):
            row[...] = reference_logits(steps, parameters, x)
        return result
    _compiled(steps, np.ascontiguousarray(flat, dtype=np.float32), x, result, threads)
    return result


def reference_logits(
    steps: Sequence[Step], parameters: npt.NDArray[np.float32], x: npt.NDArray
) -> npt.NDArray[np.float64]:
    """The law itself for one network: `(n_parameters,)` to `(samples, outputs)`."""
    return reference.forward(steps, Packing(tuple(steps)).float64(parameters), x)


def _has_bias(step: Step) -> bool:
    return len(step.parts) > 1


def unit_by_unit(steps: Sequence[Step]) -> npt.NDArray[np.int64]:
    """Where in a network's vector each parameter is found, taken unit by unit: weights, bias."""
    order: list[npt.NDArray[np.int64]] = []
    for step, place in zip(steps, Packing(tuple(steps)).offsets, strict=True):
        if step.linear:
            units = np.arange(step.linear.units)[:, None]
            columns = [place[0] + units * step.fan_in + np.arange(step.fan_in)]
            columns += [place[1] + units] if _has_bias(step) else []
            order.append(np.concatenate(columns, axis=1).reshape(-1))
    return np.concatenate(order)


def classify(
    steps: Sequence[Step],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The class that each network predicts for each input, in float32 where that is sure.

    Args:
        steps, flat, x, threads: as for `logits`.

    Returns:
        uint8 `(n, samples)`, what `logits` say; and bool `(n,)`, whether all of the network's
        logits are finite (where they are not, its classes mean nothing).
    """
    from biasgpu.engines.cpu import answers
    from biasgpu.engines.cpu.vectors import LANES_F32

    steps = tuple(steps)
    finite = np.ones(len(flat), np.bool_)
    if not all(isinstance(step.layer, KNOWN) for step in steps):
        whole = logits(steps, flat, x, threads=threads)
        finite = np.asarray(np.isfinite(whole).all(axis=(1, 2)))
        return predictions(arrange(whole, 0)).astype(np.uint8), finite
    program, order = lowered(steps)
    flat = np.ascontiguousarray(flat, dtype=np.float32)

    def tile(start: int) -> tuple[np.uint64, npt.NDArray[np.uint64], object]:
        mine = flat[start : start + LANES_F32]
        lanes = np.zeros((len(order), LANES_F32), np.float32)
        lanes[:, : len(mine)] = mine.T[order]
        return np.uint64(lanes.ctypes.data), np.zeros(len(mine), np.uint64), lanes

    units = answers.units(program, tile, len(flat), x, threads=threads)
    classes = classes_of(units, np.zeros(len(flat), np.int64), program.n_outputs)
    rows, samples = np.nonzero(units == answers.OPEN)
    if len(rows):
        by_law = _pair_logits(steps, flat, rows, samples, x, threads)
        classes[rows, samples] = predictions(arrange(by_law, 0))
        finite[rows[~np.isfinite(by_law).all(axis=1)]] = False
    return classes, finite


def _pair_logits(
    steps: tuple[Step, ...],
    flat: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    samples: npt.NDArray[np.int64],
    x: npt.NDArray[np.float32],
    threads: int | None,
) -> npt.NDArray[np.float64]:
    """Logits by the law of network `rows[i]` (increasing) on sample `samples[i]`."""
    from biasgpu.engines.cpu import pairs
    from biasgpu.engines.cpu.chunked import default_threads
    from biasgpu.engines.cpu.vectors import LANES_F64
    from biasgpu.engines.cpu.workers import Workers

    program, order = lowered(steps)
    inputs = program.inputs(x, np.float64)
    result = np.empty((len(rows), program.n_outputs))
    networks, starts = np.unique(rows, return_index=True)
    ends = [*starts[1:].tolist(), len(rows)]

    def one(space: Workspace, place: tuple[int, int, int]) -> None:
        network, start, end = place
        lanes = np.repeat(flat[network][order].astype(np.float64)[:, None], LANES_F64, axis=1)
        zeros = np.zeros(end - start, np.uint64)
        result[start:end] = pairs.pair_logits(
            program, np.uint64(lanes.ctypes.data), zeros, inputs[samples[start:end]], space
        )

    def make_space() -> Workspace:
        return pairs.pair_space(program, inputs.shape[1])

    pool = Workers(threads or default_threads(), make_space, "biasgpu-pairs")
    try:
        pool.run(one, zip(networks.tolist(), starts.tolist(), ends, strict=True))
    finally:
        pool.close()
    return result


@lru_cache(maxsize=8)
def lowered(steps: tuple[Step, ...]) -> tuple[Program, npt.NDArray[np.int64]]:
    """The program that reads parameters in the order that comes with it."""
    from biasgpu.engines.cpu.program import GIVEN, lower_steps

    placed: list[Step] = []
    start = 0
    for step in steps:
        if step.linear:
            units, columns = step.linear.units, step.fan_in + _has_bias(step)
            bias = "prior" if _has_bias(step) else "none"
            step = replace(
                step, layer=replace(step.linear, bias=bias), columns=columns,
                first_block=start, blocks_per_unit=columns,
            )  # fmt: skip
            start += units * columns
        placed.append(step)
    # The prior's scale is nothing that given weights are multiplied with.
    program = lower_steps(placed, UniformPrior("given", lambda fan_in: 1.0))
    return replace(program, family=GIVEN), unit_by_unit(steps)


def _compiled(
    steps: tuple[Step, ...],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    result: npt.NDArray[np.float64],
    threads: int | None,
) -> None:
    from biasgpu.engines.cpu.chunked import default_threads
    from biasgpu.engines.cpu.screen import compiled_exact
    from biasgpu.engines.cpu.vectors import LANES_F64
    from biasgpu.engines.cpu.workers import Workers
    from biasgpu.engines.cpu.workspace import Workspace

    program, order = lowered(steps)
    inputs = program.inputs(x, np.float64)
    peaks = program.peaks(inputs)
    exact = compiled_exact()
    workers = threads or default_threads()
    block = max(1, BUFFER_BYTES // (2 * program.buffer_units * LANES_F64 * 8))
    if len(flat) < workers * LANES_F64:
        block = min(block, -(-len(x) // workers))  # too few networks: threads share the samples
    block = min(block, len(x))

    def make_space() -> Workspace:
        return Workspace.make(program, block, np.float64)

    def one(space: Workspace, place: tuple[int, int]) -> None:
        start, begin = place
        mine, rows = flat[start : start + LANES_F64], inputs[begin : begin + block]
        lanes = np.zeros((len(order), LANES_F64))
        lanes[:, : len(mine)] = mine.T[order]
        out = np.empty((len(mine), len(rows), result.shape[2]))
        exact(
            program.ops, program.constants, program.quads, program.family,
            np.uint64(lanes.ctypes.data), rows.reshape(-1), peaks, np.empty(0), len(rows),
            program.n_outputs, np.zeros(len(mine), np.uint64), out, *space.buffers,
        )  # fmt: skip
        result[start : start + LANES_F64, begin : begin + block] = out

    pool = Workers(workers, make_space, "biasgpu-given")
    try:
        pool.run(one, product(range(0, len(flat), LANES_F64), range(0, len(x), block)))
    finally:
        pool.close()
