"""The compiled passes on many networks, with threads: settling drawn ones, evaluating others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu.batch_norm_forward import compiled_forward
from biasgpu.engines.cpu.batch_norm_passes import compiled_settle
from biasgpu.engines.cpu.batch_norm_program import Program
from biasgpu.engines.cpu.chunked import default_threads
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.workers import Workers
from biasgpu.engines.cpu.workspace import STOP, aligned

Floats = npt.NDArray[np.float64]
LOGITS_BYTES = 16 << 20  # of one call
INPUTS_BYTES = 64 << 20  # of samples in lanes
NETWORKS, BLOCKS = 16, 16  # networks and blocks of samples that one call takes at most


@dataclass(frozen=True)
class Space:
    """The memory one thread works in."""

    names: npt.NDArray[np.uint64]
    w: Floats
    values: Floats
    scratch: Floats
    sums: Floats
    affine: Floats

    @classmethod
    def make(cls, program: Program, n_samples: int) -> Space:
        """For so many samples at a time, each in all lanes."""
        sizes = (
            program.weight_slots, n_samples * program.values, program.scratch,
            2 * program.slots, 2 * program.slots,
        )  # fmt: skip
        # One vector at least: a place that nothing is read from must have an address, too.
        buffers = [aligned(max(1, size) * LANES_F64, np.float64) for size in sizes]
        return cls(aligned(STOP + 1, np.uint64), *buffers)


def space_bytes(program: Program, n_samples: int) -> int:
    """About what `Space.make` takes."""
    return 8 * LANES_F64 * (n_samples * program.values + program.scratch + program.weight_slots)


def settle_some(
    program: Program, seed: int, inputs: Floats, draws: npt.NDArray[np.uint64], space: Space
) -> tuple[Floats, Floats]:
    """Logits of some draws on their training set, and the statistics of their batch norms.

    Args:
        inputs: from `Program.inputs`, all of the training set.
        draws: uint64 `(n,)`.

    Returns:
        float64 `(n, samples, outputs)`; `(n, slots, 2)`, mean and variance of each channel.
    """
    logits = np.empty((len(draws), len(inputs), program.n_outputs))
    statistics = np.empty((len(draws), program.slots, 2))
    compiled_settle()(
        program.ops, program.constants, program.family, np.uint64(seed), inputs, draws,
        program.output, logits, statistics,
        space.names, space.w, space.values, space.scratch, space.sums, space.affine,
    )  # fmt: skip
    return logits, statistics


def settle_all(
    program: Program, seed: int, inputs: Floats, draws: npt.NDArray[np.uint64], threads: int | None
) -> tuple[Floats, Floats]:
    """`settle_some` for any number of draws, shared among threads."""
    workers = threads or default_threads()
    logits = np.empty((len(draws), len(inputs), program.n_outputs))
    statistics = np.empty((len(draws), program.slots, 2))
    share = -(-len(draws) // (4 * workers * LANES_F64)) * LANES_F64
    each = max(1, LOGITS_BYTES // (8 * (len(inputs) * program.n_outputs + 2 * program.slots)))
    share = max(LANES_F64, min(share, each // LANES_F64 * LANES_F64))

    def one(space: Space, start: int) -> None:
        mine = slice(start, start + share)
        logits[mine], statistics[mine] = settle_some(program, seed, inputs, draws[mine], space)

    def make_space() -> Space:
        return Space.make(program, len(inputs))

    pool = Workers(workers, make_space, "biasgpu-settle")
    try:
        pool.run(one, range(0, len(draws), share))
    finally:
        pool.close()
    return logits, statistics


def _in_lanes(inputs: Floats) -> Floats:
    """Samples side by side: `(blocks, features, lanes)`; what is too many at the end is zero."""
    blocks = -(-len(inputs) // LANES_F64)
    padded = np.zeros((blocks * LANES_F64, inputs.shape[1]))
    padded[: len(inputs)] = inputs
    return np.ascontiguousarray(padded.reshape(blocks, LANES_F64, -1).transpose(0, 2, 1))


def _pieces(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def forward_all(
    program: Program, weights: Floats, affines: Floats, inputs: Floats, threads: int | None
) -> Floats:
    """Logits of settled networks.

    Args:
        weights: float64 `(n, values)`, unit by unit, each unit's bias behind its weights.
        affines: float64 `(n, slots, 2)`, what the batch norms multiply with and add.
        inputs: from `Program.inputs`.

    Returns:
        float64 `(n, samples, outputs)`.
    """
    n, n_samples = len(weights), len(inputs)
    result = np.empty((n, n_samples, program.n_outputs))
    workers = threads or default_threads()
    weights, affines = np.ascontiguousarray(weights), np.ascontiguousarray(affines)
    piece = max(1, INPUTS_BYTES // (8 * LANES_F64 * inputs.shape[1])) * LANES_F64

    def make_space() -> Space:
        return Space.make(program, 1)

    pool = Workers(workers, make_space, "biasgpu-forward")
    try:
        for part in _pieces(n_samples, piece):
            lanes, logits = _in_lanes(inputs[part]), result[:, part]
            # At least a few calls for each thread.
            blocks = max(1, min(BLOCKS, len(lanes) // (2 * workers)))

            def one(
                space: Space, place: tuple[slice, slice], lanes: Floats = lanes,
                logits: Floats = logits,
            ) -> None:  # fmt: skip
                networks, mine = place
                samples = slice(mine.start * LANES_F64, mine.stop * LANES_F64)
                out = np.empty(logits[networks, samples].shape)
                compiled_forward()(
                    program.ops, program.constants, weights[networks], affines[networks],
                    lanes[mine], program.output, out, space.names, space.values, space.scratch,
                )  # fmt: skip
                logits[networks, samples] = out

            pool.run(one, product(_pieces(n, NETWORKS), _pieces(len(lanes), blocks)))
    finally:
        pool.close()
    return result
