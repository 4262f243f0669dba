"""The law for many networks with batch norms: compiled where it can be; the reference's bits.

Two steps, as the reference has them: draws are settled on their training set, then any inputs go
through. A network whose numbers overflow on the way is left to the reference, since then the order
of pooling and batch norm is no longer free.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.canonical import initial_parameters
from biasgpu.layers import BatchNorm2d
from biasgpu.layout import Step
from biasgpu.packing import Packing

Floats = npt.NDArray[np.float64]
Draws = npt.NDArray[np.uint64]
SPACE_BYTES = 1 << 30  # a thread's activations, at most
WEIGHTS_BYTES = 128 << 20  # of networks evaluated together, in float64


def unsupported(ensemble: BatchNormEnsemble) -> str | None:
    """Why such draws cannot be settled by compiled code, or None."""
    from biasgpu.engines.cpu import batch_norm_program
    from biasgpu.engines.cpu.batch_norm_lowering import lower
    from biasgpu.engines.cpu.batch_norm_runs import space_bytes

    reason = batch_norm_program.unsupported(ensemble.steps, ensemble.prior)
    if reason:
        return reason
    program = lower(ensemble.steps, ensemble.prior)
    n = len(ensemble.x_train)
    needed = space_bytes(program, n)
    if needed > SPACE_BYTES:
        return f"all {n} training samples at once take {needed / 2**30:.1f} GiB a thread"
    return None


def prepare(ensemble: BatchNormEnsemble) -> None:
    """Have the law compiled, or load it from disk: the first use would else."""
    if not unsupported(ensemble):
        draw = np.zeros(1, np.uint64)
        _settle(ensemble, draw, 1)
        flat = initial_parameters(ensemble, draw)
        given_logits(ensemble.steps, flat, np.zeros((1, *ensemble.shape), np.float32), 1)


def _settle(
    ensemble: BatchNormEnsemble, draws: Draws, threads: int | None
) -> tuple[Floats, Floats]:
    from biasgpu.engines.cpu.batch_norm_lowering import lower
    from biasgpu.engines.cpu.batch_norm_runs import settle_all

    program = lower(ensemble.steps, ensemble.prior)
    inputs = program.inputs(ensemble.x_train)
    return settle_all(program, ensemble.seed, inputs, draws, threads)


def settle(
    ensemble: BatchNormEnsemble, draws: Draws, *, threads: int | None = None
) -> tuple[Floats, Floats]:
    """Draws on their training set.

    Args:
        ensemble: which networks.
        draws: uint64 `(n,)`.
        threads: CPU threads; None takes all.

    Returns:
        logits, float64 `(n, n_train, outputs)`; mean and variance of each channel of each batch
        norm, float64 `(n, channels, 2)`.
    """
    draws = np.ascontiguousarray(draws, np.uint64)
    if unsupported(ensemble):
        left = np.arange(len(draws))
        channels = sum(s.units for s in ensemble.steps if isinstance(s.layer, BatchNorm2d))
        logits = np.empty((len(draws), len(ensemble.x_train), ensemble.n_outputs))
        statistics = np.empty((len(draws), channels, 2))
    else:
        logits, statistics = _settle(ensemble, draws, threads)
        left = np.flatnonzero(~np.isfinite(statistics).all(axis=(1, 2)))
    for row in left.tolist():
        draw = int(draws[row])
        found = ensemble.statistics(draw).values()
        statistics[row] = np.concatenate([np.stack(pair, axis=-1) for pair in found])
        logits[row] = ensemble.logits(draw, ensemble.x_train)
    return logits, statistics


def logits(
    ensemble: BatchNormEnsemble,
    draws: Draws,
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> Floats:
    """As `biasgpu.exact.logits`."""
    draws = np.ascontiguousarray(draws, np.uint64)
    if not len(draws) or not len(x):
        return np.empty((len(draws), len(x), ensemble.n_outputs))
    on_train, statistics = settle(ensemble, draws, threads=threads)
    if len(x) <= len(ensemble.x_train) and np.array_equal(x, ensemble.x_train[: len(x)]):
        return on_train[:, : len(x)]
    result = np.empty((len(draws), len(x), ensemble.n_outputs))
    packing = Packing(ensemble.steps)
    size = max(1, WEIGHTS_BYTES // (8 * packing.n_parameters))
    for start in range(0, len(draws), size):
        some = slice(start, start + size)
        weights, norms = _unit_by_unit(ensemble.steps, initial_parameters(ensemble, draws[some]))
        means, variances = statistics[some, :, 0], statistics[some, :, 1]
        with np.errstate(over="ignore", invalid="ignore"):
            affines = np.stack(
                reference.affine(norms[..., 0], norms[..., 1], means, variances), axis=-1
            )
        result[some], left = _forward(ensemble.steps, weights, affines, x, threads)
        for row in (start + left).tolist():
            result[row] = ensemble.logits(int(draws[row]), x)
    return result


def given_unsupported(steps: Sequence[Step]) -> str | None:
    """Why given networks cannot be evaluated by compiled code, or None."""
    from biasgpu.engines.cpu import batch_norm_program

    return batch_norm_program.unsupported(steps)


def given_logits(
    steps: Sequence[Step],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    threads: int | None,
) -> Floats:
    """As `biasgpu.given.logits`, for layers that `given_unsupported` has nothing against."""
    result = np.empty((len(flat), len(x), int(np.prod(steps[-1].out_shape))))
    packing = Packing(tuple(steps))
    size = max(1, WEIGHTS_BYTES // (8 * packing.n_parameters))
    for start in range(0, len(flat), size):
        some = slice(start, start + size)
        weights, norms = _unit_by_unit(steps, flat[some])
        with np.errstate(all="ignore"):
            parts = (norms[..., part] for part in range(4))
            affines = np.stack(reference.affine(*parts), axis=-1)
            result[some], left = _forward(steps, weights, affines, x, threads)
            for row in (start + left).tolist():
                result[row] = reference.forward(steps, packing.float64(flat[row]), x)
    return result


def _unit_by_unit(steps: Sequence[Step], flat: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Parameters as the compiled passes read them.

    Returns:
        float64 `(n, values)`, each unit's bias behind its weights; and the batch norms' weights,
        biases, means and variances, float64 `(n, channels, 4)`.
    """
    units: list[Floats] = []
    norms: list[Floats] = [np.empty((len(flat), 0, 4))]
    for step, parts in zip(steps, Packing(tuple(steps)).unpack(flat), strict=True):
        if parts is None:
            continue
        if step.linear is None:
            norms.append(np.stack(parts, axis=-1).astype(np.float64))
            continue
        rows = np.zeros((len(flat), step.units, step.fan_in + 1))
        rows[..., :-1] = parts[0].reshape(len(flat), step.units, step.fan_in)
        if len(parts) > 1:
            rows[..., -1] = parts[1]
        units.append(rows.reshape(len(flat), -1))
    return np.concatenate(units, axis=1), np.concatenate(norms, axis=1)


def _forward(
    steps: Sequence[Step],
    weights: Floats,
    affines: Floats,
    x: npt.NDArray[np.float32],
    threads: int | None,
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Logits, and which networks have parameters that are not finite, and so no logits here."""
    from biasgpu.engines.cpu.batch_norm_lowering import lower
    from biasgpu.engines.cpu.batch_norm_runs import forward_all

    rising = bool((affines[..., 0] > 0.0).all())
    program = lower(steps, None, pool_first=rising)
    finite = np.isfinite(weights).all(axis=1) & np.isfinite(affines).all(axis=(1, 2))
    found = forward_all(program, weights, affines, program.inputs(x), threads)
    return found, np.flatnonzero(~finite)
