"""The whole training of some networks, compiled: names in, kept weights out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.digest import compiled
from biasgpu.engines.cpu.memory import address_of
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.training.cpu.digest import trainer_digest
from biasgpu.training.cpu.initial import initialize
from biasgpu.training.cpu.lanes import ALL, spread
from biasgpu.training.cpu.loss import classified, logit_gradient
from biasgpu.training.cpu.passes import backward, forward
from biasgpu.training.cpu.plan import (
    BIASES,
    CONV,
    DENSE,
    KIND,
    LANES,
    OUTPUTS,
    UNITS,
    WEIGHTS,
)
from biasgpu.training.cpu.update import SGD, norms, step

# Columns of the settings.
OPTIMIZER, BATCH, SAMPLES, STOP_EARLY, NORMS, N_SETTINGS = range(6)


@njit
def _store(w: Any, lane: int, row: Any) -> None:
    for i in range(len(row)):
        row[i] = w[i * LANES + lane]


@cache
def compiled_train() -> Callable[..., None]:
    """The compiled trainer; its machine code is kept until one of its sources changes."""
    digest = trainer_digest()

    @compiled
    def train(
        ops: Any, scales: Any, table: Any, family: int, seed: Any, inputs: Any, labels: Any,
        orders: Any, settings: Any, rate: float, marks: Any, draws: Any, kept: Any, epochs: Any,
        gradient_norms: Any, entries: Any, starts: Any, background: float, names: Any, unit: Any,
        w: Any, g: Any, state: Any, activations: Any, masks: Any, images: Any, here: Any,
        there: Any, sums: Any, padded: Any,
    ) -> None:  # fmt: skip
        """Fill `kept`, `epochs` and `gradient_norms` for `draws`.

        Args (in numba):
            orders: int64 `(epochs + 1, n_train)`; row 0 is the task's own order.
            marks: epochs whose weights are kept; the last is the number of epochs.
            kept: float32 `(draws, marks, parameters)`.
            epochs: int64 `(draws,)`.
            gradient_norms: float64 `(draws, epochs + 1)`, NaN.
            entries, starts, background: see sparse.py.
            names, ...: a thread's memory, see `Space`.
        """
        _ = digest
        n_ops, n_train, n_parameters = len(ops), len(labels), kept.shape[2]
        outputs = ops[n_ops - 1, OUTPUTS]
        optimizer, batch, at_a_time = settings[OPTIMIZER], settings[BATCH], settings[SAMPLES]
        program, places = address_of(ops), address_of(table)
        task, answers, order = address_of(inputs), address_of(labels), address_of(orders)
        weights, gradient, moments = address_of(w), address_of(g), address_of(state)
        values, winners, image = address_of(activations), address_of(masks), address_of(images)
        up, down = address_of(here), address_of(there)
        listed, listing, places_of = len(starts) > 1, address_of(entries), address_of(starts)
        around, descent = address_of(padded), spread(-rate)
        for tile in range(0, len(draws), LANES):
            live = min(LANES, len(draws) - tile)
            initialize(ops, scales, family, seed, draws, tile, names, unit, w)
            state[:] = np.float32(0.0)
            active = np.int64(ALL)
            n_steps, mark = 0, 0
            for lane in range(live):
                epochs[tile + lane] = marks[-1]
            for epoch in range(marks[-1] + 1):
                row = order + 8 * n_train * epoch
                n_batches = -(-n_train // batch) if epoch else 0
                stops = epoch > 0 and settings[STOP_EARLY] > 0
                wanted = settings[NORMS] > 0
                right = active
                # After the steps of an epoch one more pass over all samples, if it has a use. (What
                # is called in one place only is compiled once.)
                for job in range(n_batches + (1 if wanted or stops else 0)):
                    looks = job == n_batches
                    begin, size = job * batch, min(batch, n_train - job * batch)
                    if looks:
                        begin, size = 0, n_train
                    chosen = order if looks else row
                    at_once = optimizer == SGD and size <= at_a_time and not looks
                    for part in range(0, size, at_a_time):
                        if names[STOP]:
                            return
                        n, samples = min(at_a_time, size - part), chosen + 8 * (begin + part)
                        logits = forward(
                            program,
                            n_ops,
                            places,
                            weights,
                            task,
                            samples,
                            values,
                            winners,
                            n,
                            listed,
                            listing,
                            places_of,
                            background,
                            around,
                        )
                        if looks and stops:
                            right &= classified(logits, answers, samples, n, outputs)
                        if wanted or not looks:
                            logit_gradient(logits, answers, samples, up, n, outputs, 1.0 / size)
                            backward(
                                program, n_ops, places, weights, task, samples, values, winners,
                                image, up, down, n, gradient, part == 0, at_once, descent, active,
                            )  # fmt: skip
                    if not looks:
                        n_steps += 1
                        for k in range(n_ops):
                            kind = ops[k, KIND]
                            if kind in (CONV, DENSE):
                                first = ops[k, BIASES if at_once and kind == DENSE else WEIGHTS]
                                step(
                                    optimizer, weights, gradient, moments, n_parameters, first,
                                    ops[k, BIASES] + ops[k, UNITS], rate, n_steps, active,
                                )  # fmt: skip
                if wanted:
                    norms(gradient, n_parameters, sums)
                    for lane in range(live):
                        if (active >> lane) & 1:
                            gradient_norms[tile + lane, epoch] = sums[lane]
                if epoch == marks[mark]:
                    for lane in range(live):
                        _store(w, lane, kept[tile + lane, mark])
                    mark += 1
                if stops:
                    for lane in range(live):
                        if (right >> lane) & 1:
                            epochs[tile + lane] = epoch
                    active &= ~right
                    if active & (ALL >> (LANES - live)) == 0:
                        break
            while mark < len(marks):  # all have stopped before
                for lane in range(live):
                    _store(w, lane, kept[tile + lane, mark])
                mark += 1

    return train
