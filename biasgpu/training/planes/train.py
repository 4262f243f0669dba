"""The whole training of some networks, one after the other, compiled."""

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
from biasgpu.training.cpu.lanes import ALL
from biasgpu.training.cpu.update import step
from biasgpu.training.planes.digest import planes_digest
from biasgpu.training.planes.grid import LANES
from biasgpu.training.planes.loss import classified, logit_gradient
from biasgpu.training.planes.norm import EVALUATE, NO_TRACK, TRACK
from biasgpu.training.planes.numbers import NUMBER
from biasgpu.training.planes.passes import backward, forward, take

# Columns of the settings.
OPTIMIZER, BATCH, STOP_EARLY, NORMS, FLAT, OUTPUTS, N_SETTINGS = range(7)


@njit
def _norm(g: Any, trained: Any) -> float:
    total = 0.0
    for place in trained:
        total += np.float64(g[place]) * np.float64(g[place])
    return math.sqrt(total)


@njit
def _layout(sizes: Any, n: int) -> int:
    """The layout for `n` samples."""
    for k in range(len(sizes)):
        if sizes[k] == n:
            return k
    return 0


@cache
def compiled_train() -> Callable[..., None]:
    """The compiled trainer; its machine code is kept until one of its sources changes."""
    digest = planes_digest()

    @compiled
    def train(
        sizes: Any, ops: Any, factors: Any, masks: Any, table: Any, logits: Any, order: Any,
        trained: Any, n_trained: int, inputs: Any, labels: Any, orders: Any, settings: Any,
        rate: float, marks: Any, initial: Any, kept: Any, epochs: Any, gradient_norms: Any,
        names: Any, w: Any, g: Any, state: Any, values: Any, grads: Any, statistics: Any,
    ) -> None:  # fmt: skip
        """Fill `kept`, `epochs` and `gradient_norms`.

        Args (in numba):
            sizes, ops, factors, masks, table, logits: see `Plan`.
            order, trained, n_trained: see `Places`.
            inputs: float32 `(n_train, planes, numbers)`, on their grid.
            orders: int64 `(epochs + 1, n_train)`; row 0 is the task's own order.
            marks: epochs whose weights are kept; the last is the number of epochs.
            initial: float32 `(networks, parameters)`.
            kept: float32 `(networks, marks, parameters)`.
            epochs: int64 `(networks,)`.
            gradient_norms: float64 `(networks, epochs + 1)`, NaN.
            names, ...: a thread's memory, see `Space`.
        """
        _ = digest
        n_ops, n_train, columns = ops.shape[1], len(labels), ops.shape[2]
        optimizer, batch = settings[OPTIMIZER], settings[BATCH]
        stop_early, norms = settings[STOP_EARLY] > 0, settings[NORMS] > 0
        outputs, flat = settings[OUTPUTS], settings[FLAT] > 0
        n_batches = -(-n_train // batch)
        for network in range(len(initial)):
            w[:] = np.float32(0.0)
            g[:] = np.float32(0.0)
            state[:] = np.float32(0.0)
            for i in range(len(order)):
                w[order[i]] = initial[network, i]
            n_steps, mark = 0, 0
            epochs[network] = marks[-1]
            for epoch in range(marks[-1] + 1):
                steps = n_batches if epoch else 0
                looks = n_batches if epoch and stop_early else 0
                right = True
                # Steps; then, if it has a use, all samples as one batch; and, by the running
                # statistics, a look at who is right. (What is called in one place only is compiled
                # once.)
                for job in range(steps + norms + looks):
                    if names[STOP]:
                        return
                    whole, last = norms and job == steps, job >= steps + norms
                    part = job - steps - norms if last else job
                    begin = 0 if whole else part * batch
                    size = n_train if whole else min(batch, n_train - begin)
                    row = 0 if whole or last else epoch
                    samples = address_of(orders) + 8 * (n_train * row + begin)
                    layout = _layout(sizes, size)
                    program = address_of(ops) + 8 * layout * n_ops * columns
                    place, stride = NUMBER * logits[layout, 0], logits[layout, 1]
                    mode = EVALUATE if last else NO_TRACK if whole else TRACK
                    take(program, flat, address_of(inputs), samples, address_of(values))
                    forward(
                        program, n_ops, address_of(factors), address_of(table), address_of(masks),
                        address_of(w), address_of(values), address_of(statistics), mode,
                    )  # fmt: skip
                    found, answers = address_of(values) + place, address_of(labels)
                    if last:
                        right &= classified(found, answers, samples, size, outputs, stride)
                        if not right:
                            break
                        continue
                    up = address_of(grads) + place
                    logit_gradient(found, answers, samples, up, size, outputs, stride)
                    backward(
                        program, n_ops, address_of(factors), address_of(table), address_of(masks),
                        address_of(w), address_of(values), address_of(grads), address_of(g),
                        address_of(statistics),
                    )  # fmt: skip
                    if whole:
                        gradient_norms[network, epoch] = _norm(g, trained)
                        continue
                    n_steps += 1
                    step(
                        optimizer, address_of(w), address_of(g), address_of(state),
                        n_trained // LANES, 0, n_trained // LANES, rate, n_steps, ALL,
                    )  # fmt: skip
                stops = looks > 0 and right
                if stops:
                    epochs[network] = epoch
                while mark < len(marks) and (epoch == marks[mark] or stops):
                    for i in range(len(order)):
                        kept[network, mark, i] = w[order[i]]
                    mark += 1
                if stops:
                    break

    return train
