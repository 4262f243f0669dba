"""Searches, compiled: sixteen networks at a time, one proposal of each in one forward pass.

Logits are float32; losses, norms and what is decided by them are float64, lane by lane: beside the
forward pass they cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.digest import compiled
from biasgpu.engines.cpu.memory import address_of
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.rng import STREAM_SEARCH
from biasgpu.training.cpu.digest import trainer_digest
from biasgpu.training.cpu.initial import initialize
from biasgpu.training.cpu.lanes import ALL, get, put, where
from biasgpu.training.cpu.loss import classified
from biasgpu.training.cpu.passes import forward
from biasgpu.training.cpu.plan import (
    BIASES,
    CONV,
    DENSE,
    KIND,
    LANES,
    OUTPUTS,
    TO,
    VECTOR_BYTES,
    WEIGHTS,
)
from biasgpu.training.cpu.proposals import WORDS, choose, perturb
from biasgpu.training.cpu.update import norms

# Columns of the settings.
PATTERN, SAMPLES, STOP_EARLY, PROPOSALS, TRIES, N_SETTINGS = range(6)


@njit
def _add_losses(
    activations: Any, start: int, samples: Any, labels: Any, scale: Any, outputs: int, losses: Any
) -> None:
    """Add each sample's loss to each lane's sum.

    Args (in numba):
        start: where the logits `[sample, output, lane]` begin.
        samples: numbers of the samples.
        scale: float64 `(16,)`, what logits are multiplied with.
        losses: float64 `(16,)`, added to.
    """
    for s in range(len(samples)):
        label = labels[samples[s]]
        at = start + s * outputs * LANES
        for lane in range(LANES):
            best, mine = -math.inf, 0.0
            if outputs == 1:  # stands for the logits (0, z)
                best = 0.0
            for k in range(outputs):
                best = max(best, activations[at + k * LANES + lane] * scale[lane])
            total = math.exp(-best) if outputs == 1 else 0.0
            for k in range(outputs):
                z = activations[at + k * LANES + lane] * scale[lane]
                total += math.exp(z - best)
                if (outputs == 1 and label == 1) or (outputs > 1 and k == label):
                    mine = z
            losses[lane] += math.log(total) + best - mine


@njit
def _weight_scale(ops: Any, w: int, sums: Any, scale: Any) -> None:
    """1 / product over layers of (Frobenius norm / 3), to `scale`; no number for norms of 0."""
    scale[:] = 1.0
    for k in range(len(ops)):
        if ops[k, KIND] == DENSE or ops[k, KIND] == CONV:
            first = ops[k, WEIGHTS]
            norms(w + VECTOR_BYTES * first, ops[k, BIASES] - first, sums)
            for lane in range(LANES):
                scale[lane] *= sums[lane] / 3.0
    for lane in range(LANES):
        scale[lane] = 1.0 / scale[lane] if scale[lane] > 0.0 else math.nan


@njit
def _take(w: int, changed: int, n_parameters: int, kept: Any) -> None:
    """Copy the changed weights of some lanes."""
    for i in range(n_parameters):
        put(w, i, where(kept, get(changed, i), get(w, i)))


@njit
def _store(w: Any, lane: int, row: Any) -> None:
    for i in range(len(row)):
        row[i] = w[i * LANES + lane]


@cache
def compiled_search() -> Callable[..., None]:
    """The compiled searches; their machine code is kept until one of its sources changes."""
    digest = trainer_digest()

    @compiled
    def search(
        ops: Any, scales: Any, table: Any, family: int, seed: Any, inputs: Any, labels: Any,
        order: Any, settings: Any, first_step: float, marks: Any, draws: Any, kept: Any,
        epochs: Any, entries: Any, starts: Any, background: float, names: Any, unit: Any, w: Any,
        changed: Any, state: Any, activations: Any, masks: Any, images: Any, here: Any, there: Any,
        sums: Any, padded: Any,
    ) -> None:  # fmt: skip
        """Fill `kept` and `epochs` for `draws`.

        Args (in numba):
            order: int64 `(n_train,)`, the task's own order.
            marks: epochs whose weights are kept; the last is the number of epochs.
            kept: float32 `(draws, marks, parameters)`.
            epochs: int64 `(draws,)`.
            entries, starts, background: see sparse.py.
            names, ...: a thread's memory, see `Space`; what training takes for gradients holds the
                changed weights here.
        """
        _ = digest
        n_ops, n_train, n_parameters = len(ops), len(labels), kept.shape[2]
        outputs, to = ops[n_ops - 1, OUTPUTS], ops[n_ops - 1, TO]
        pattern, at_a_time = settings[PATTERN] > 0, settings[SAMPLES]
        program, places_in = address_of(ops), address_of(table)
        task, answers, numbers = address_of(inputs), address_of(labels), address_of(order)
        values, winners, around = address_of(activations), address_of(masks), address_of(padded)
        own, other = address_of(w), address_of(changed)
        listed, listing, places_of = len(starts) > 1, address_of(entries), address_of(starts)
        places, signs = np.zeros(LANES, np.int64), np.zeros(LANES, np.float32)
        words, noise = np.empty(WORDS, np.int32), np.empty(WORDS, np.float64)
        steps, scale, losses, best = (
            np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES),
        )  # fmt: skip
        failed = np.empty(LANES, np.int64)
        for tile in range(0, len(draws), LANES):
            live = min(LANES, len(draws) - tile)
            initialize(ops, scales, family, seed, draws, tile, names, unit, w)
            changed[:] = w
            steps[:], best[:], failed[:] = np.float64(np.float32(first_step)), math.inf, 0
            active, right, mark = np.int64(ALL), np.int64(0), 0
            for lane in range(live):
                epochs[tile + lane] = marks[-1]
            # Number 0 changes nothing: it finds the loss to begin with.
            for number in range(marks[-1] * settings[PROPOSALS] + 1):
                stream = np.uint64(STREAM_SEARCH) + np.uint64(number)
                if number > 0 and pattern:
                    choose(stream, seed, names, n_parameters, words, noise, places, signs)
                    for lane in range(LANES):
                        moved = signs[lane] * np.float32(steps[lane])
                        changed[places[lane] * LANES + lane] += moved
                elif number > 0:
                    perturb(stream, seed, names, n_parameters, steps, noise, w, changed)
                _weight_scale(ops, other, sums, scale)
                losses[:] = 0.0
                fits = np.int64(ALL)
                for part in range(0, n_train, at_a_time):
                    if names[STOP]:
                        return
                    n, samples = min(at_a_time, n_train - part), numbers + 8 * part
                    logits = forward(
                        program, n_ops, places_in, other, task, samples, values, winners, n, listed,
                        listing, places_of, background, around,
                    )  # fmt: skip
                    fits &= classified(logits, answers, samples, n, outputs)
                    _add_losses(
                        activations, LANES * n * to, order[part : part + n], labels, scale, outputs,
                        losses,
                    )  # fmt: skip
                better = np.int64(0)
                for lane in range(LANES):
                    loss = losses[lane] / n_train
                    if not math.isfinite(loss):
                        loss = math.inf
                    if number == 0:
                        best[lane] = loss
                    elif loss < best[lane]:
                        best[lane], failed[lane] = loss, 0
                        better |= np.int64(1) << lane
                    else:
                        failed[lane] += 1
                        if failed[lane] == settings[TRIES]:
                            steps[lane], failed[lane] = 0.5 * steps[lane], 0
                better &= active
                if pattern:
                    for lane in range(LANES):
                        place = places[lane] * LANES + lane
                        if (better >> lane) & 1:
                            w[place] = changed[place]
                        else:
                            changed[place] = w[place]
                elif better:
                    _take(own, other, n_parameters, better)
                right = fits if number == 0 else (right & ~better) | (fits & better)
                if number % settings[PROPOSALS]:
                    continue
                epoch = number // settings[PROPOSALS]
                if epoch == marks[mark]:
                    for lane in range(live):
                        _store(w, lane, kept[tile + lane, mark])
                    mark += 1
                if epoch > 0 and settings[STOP_EARLY] > 0:
                    stopped = active & right
                    for lane in range(live):
                        if (stopped >> lane) & 1:
                            epochs[tile + lane] = epoch
                    active &= ~stopped
                    if active & (ALL >> (LANES - live)) == 0:
                        break
            while mark < len(marks):  # all have stopped before
                for lane in range(live):
                    _store(w, lane, kept[tile + lane, mark])
                mark += 1

    return search
