"""An ensemble laid out for compiled training: for each operation a row of integers.

The operations are those of the engine's program (`biasgpu.engines.cpu.program`), which puts
rectifiers and 2x2 max-pools together with what they follow. Rows are read at addresses; all offsets
count vectors of sixteen lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from llvmlite import binding

from biasgpu.engines.cpu import program
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import n_products
from biasgpu.packing import Packing
from biasgpu.training.recipe import Recipe

# Columns of an operation's row.
(
    KIND, RELU, POOL, UNITS, FAN_IN, WEIGHTS, BIASES, INPUTS, OUTPUTS, CHANNELS, HEIGHT, WIDTH,
    KERNEL, ROWS, COLUMNS, FROM, TO, MASKS, SPREAD, SPREAD_WIDTH, TAPS, QUADS, QUADS_START, PADDING,
    FIRST_BLOCK, BLOCKS, DRAWN, BY_WINNERS, N_COLUMNS,
) = range(29)  # fmt: skip
DENSE, CONV = program.DENSE, program.CONV
SAMPLES_BYTES = 16 << 20  # of activations a thread holds, if one sample's fit
LANES = 16
VECTOR_BYTES = 64
MAX_BYTES = 4 << 30  # of parameters and gradients a thread may hold
KNOWN = (Dense, Conv2d, MaxPool2d, ReLU, Flatten)
STATES = {"sgd": 0, "momentum": 1, "adam": 2, "pattern-search": 0, "greedy-random": 0}


@dataclass(frozen=True)
class Plan:
    """What the compiled trainer needs to know of an ensemble and a recipe.

    Attributes:
        ops: int64 `(n_ops, N_COLUMNS)`.
        scales: float64 `(n_ops,)`, the prior's scale at each operation.
        table: int64, input offsets of convolutions' taps and of their output positions by four.
        lowered: the engine's program.
        n_parameters: of a network, as `Packing` lays them out.
        n_states: vectors as long as the parameters that the optimiser keeps.
        activations, masks, spread, widest: how many vectors (masks) buffers need: of all
            activations of a sample, of its pooling masks, of one sample's gradient by convolutions'
            outputs, and of the largest gradient by activations.
        samples: how many samples are taken at a time.
        drawn: the most parameters drawn for a unit.
    """

    ops: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float64]
    table: npt.NDArray[np.int64]
    lowered: program.Program
    n_parameters: int
    n_states: int
    activations: int
    masks: int
    spread: int
    widest: int
    samples: int
    drawn: int


def unsupported(ensemble: Ensemble, recipe: Recipe) -> str | None:
    """Why compiled training cannot take this, or None if it can."""
    reason = program.unsupported(ensemble)
    if reason:
        return reason
    for step in ensemble.steps:
        if not isinstance(step.layer, KNOWN):
            return f"training has no compiled form of the layer {type(step.layer).__name__}"
        if step.linear and step.linear.bias == "none":
            return "it trains every linear layer's biases, and one has none"
    copies = 2 + STATES[recipe.optimizer]
    need = copies * VECTOR_BYTES * Packing(ensemble.steps).n_parameters
    if need > MAX_BYTES:
        return (
            f"sixteen networks, their gradients and the optimiser's state take {need / 1e9:.1f} GB "
            f"a thread, more than {MAX_BYTES / 1e9:.1f} GB"
        )
    return None


def lay_out(ensemble: Ensemble, recipe: Recipe, n_train: int) -> Plan:
    """The plan for an ensemble that `unsupported` has nothing against."""
    look_up = bool(binding.get_host_cpu_features().get("avx512f"))
    lowered = program.lower(ensemble)
    parameters = iter(places for places in Packing(ensemble.steps).offsets if len(places) > 1)
    rows: list[npt.NDArray[np.int64]] = []
    table = [lowered.quads]
    places = len(lowered.quads)
    activations = masks = spread = 0
    widest = int(lowered.ops[-1, program.OUTPUTS])
    for number, op in enumerate(lowered.ops):
        row = np.zeros(N_COLUMNS, np.int64)
        for mine, theirs in _SAME:
            row[mine] = op[theirs]
        row[FROM] = rows[-1][TO] if number else 0
        row[TO] = activations
        activations += row[OUTPUTS]
        widest = max(widest, int(row[OUTPUTS]), int(row[INPUTS]) if number else 0)
        if row[KIND] in (DENSE, CONV):
            row[WEIGHTS], row[BIASES] = next(parameters)[:2]
        if row[KIND] == CONV:
            kernel = int(row[KERNEL])
            row[PADDING] = 0  # the inputs are padded by now
            row[ROWS], row[COLUMNS] = row[HEIGHT] - kernel + 1, row[WIDTH] - kernel + 1
            row[SPREAD], row[SPREAD_WIDTH] = spread, row[COLUMNS] + 2 * (kernel - 1)
            spread += int(row[UNITS] * row[ROWS] * row[SPREAD_WIDTH])
            # See winners.py.
            row[BY_WINNERS] = not number and row[POOL] and kernel == 5 and look_up
            row[MASKS] = masks
            masks += 4 * int(row[OUTPUTS]) if row[POOL] else 0
            taps = _taps(row)
            row[TAPS], places = places, places + len(taps)
            table.append(taps)
        rows.append(row)
    per_sample = VECTOR_BYTES * (activations + 2 * widest) + 2 * masks
    batch = n_train if recipe.searches else min(recipe.batch_size, n_train)
    samples = min(max(SAMPLES_BYTES // per_sample, 1), max(batch, 2))
    return Plan(
        ops=np.stack(rows),
        scales=np.ascontiguousarray(lowered.constants[:, program.SCALE]),
        table=np.concatenate(table).astype(np.int64),
        lowered=lowered,
        n_parameters=Packing(ensemble.steps).n_parameters,
        n_states=STATES[recipe.optimizer],
        activations=activations,
        masks=masks,
        spread=spread,
        widest=widest,
        samples=int(samples),
        drawn=int(lowered.ops[:, program.COLUMNS].max()),
    )


_SAME = (
    (KIND, program.KIND), (RELU, program.RELU_AFTER), (POOL, program.POOL_SIZE),
    (UNITS, program.UNITS), (FAN_IN, program.FAN_IN), (INPUTS, program.INPUTS),
    (OUTPUTS, program.OUTPUTS), (CHANNELS, program.CHANNELS), (HEIGHT, program.HEIGHT),
    (WIDTH, program.WIDTH), (KERNEL, program.KERNEL), (QUADS, program.QUADS),
    (QUADS_START, program.QUADS_START), (PADDING, program.PADDING),
    (FIRST_BLOCK, program.FIRST_BLOCK), (BLOCKS, program.BLOCKS), (DRAWN, program.COLUMNS),
)  # fmt: skip


def _taps(row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each weight's input lies, from an output position's top left input."""
    channels, kernel = int(row[CHANNELS]), int(row[KERNEL])
    channel, i, j = np.indices((channels, kernel, kernel)).reshape(3, -1)
    return (channel * row[HEIGHT] + i) * row[WIDTH] + j


def chunk(ensemble: Ensemble, passes: int) -> int:
    """Networks a thread takes at a time: some 0.3 s of work.

    Args:
        ensemble: which networks.
        passes: samples that go through a network in all.
    """
    work = 3.0 * passes * n_products(ensemble.steps)  # forward, and back to weights and inputs
    return LANES * int(min(max(1e9 / max(work, 1.0), 1.0), 256.0))
