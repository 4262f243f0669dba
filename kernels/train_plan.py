"""How the training kernel goes through an architecture: a table of operations, and its memory.

Pure functions. A dense layer is a convolution of 1 x 1 images; a rectifier belongs to the operation
before it, whose outputs it cuts off; flattening moves nothing. So three kinds of operation are
left: taking the inputs, a linear map, and pooling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.packing import Packing

INPUT, LINEAR, POOL = 0, 1, 2
GROUP = 8  # networks of a program, next to each other in memory: 8 float32 fill a sector
ELEMENTS = 64  # of a layer that a program computes at a time
WARPS = 8
MAX_VALUES = 2**31 - 1  # of a program's workspace: 32 bits number them
STATES = {"sgd": 0, "momentum": 1, "adam": 2}  # numbers that an optimiser keeps of a parameter


@dataclass(frozen=True)
class Operation:
    """A row of the table; all numbers are in elements of one network.

    Attributes:
        kind: `INPUT`, `LINEAR` or `POOL`.
        units, channels, kernel, padding: of a linear map; `kernel` is a pooling window's side too.
        in_height, in_width, out_height, out_width: of the images.
        in_at, out_at: where a sample's inputs and outputs begin, if all samples are counted.
        weight_at, bias_at: where parameters begin.
        first_block, blocks_per_unit, columns: of the random words (`biasgpu.layout`).
        rectified: outputs below zero are set to it.
        in_rectified: the same was done with the inputs.
        passes_on: the gradient by the inputs is asked for.
    """

    kind: int
    units: int
    channels: int
    kernel: int
    padding: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    in_at: int
    out_at: int
    weight_at: int
    bias_at: int
    first_block: int
    blocks_per_unit: int
    columns: int
    rectified: int
    in_rectified: int
    passes_on: int

    @property
    def row(self) -> tuple[int, ...]:
        """What the kernel reads."""
        return tuple(vars(self).values())


@dataclass(frozen=True)
class Plan:
    """What a launch needs to know.

    Attributes:
        operations: from the inputs to the logits.
        fan_ins: for each operation its fan-in, 0 if it is not linear.
        n_parameters: of a network.
        n_values: activations of a network, for all samples of a batch.
        n_states: copies of the parameters that the optimiser keeps.
        n_sums: 1 if gradients over all samples are added up, for their norms, else 0.
    """

    operations: tuple[Operation, ...]
    fan_ins: tuple[int, ...]
    n_parameters: int
    n_values: int
    n_states: int
    n_sums: int

    @property
    def window(self) -> int:
        """The kernel size of all convolutions that are not 1 x 1; 0 if there are several."""
        sizes = {op.kernel for op in self.operations if op.kind == LINEAR} - {1}
        return sizes.pop() if len(sizes) == 1 else int(not sizes)

    @property
    def padded(self) -> bool:
        """Whether a convolution is padded."""
        return any(op.padding for op in self.operations)

    @property
    def values_per_program(self) -> int:
        """Float32 numbers of a program's workspace: parameters, states and sums of gradients, then
        activations and gradients by them.
        """
        copies = 1 + self.n_states + self.n_sums
        return GROUP * (self.n_parameters * copies + 2 * self.n_values)

    @property
    def bytes_per_program(self) -> int:
        """Of its workspace."""
        return 4 * self.values_per_program


def make(
    steps: Sequence[Step], batch_size: int, optimizer: str, *, gradient_norms: bool = False
) -> Plan:
    """The plan for some layers.

    Args:
        steps: dense, convolutional, pooling, rectifying and flattening layers.
        batch_size: samples a step at most.
        optimizer: "sgd", "momentum" or "adam".
        gradient_norms: whether they are asked for.

    Raises:
        ValueError: another layer, or more memory than 32 bits number.
    """
    operations = [_operation(INPUT, steps[0].in_shape, steps[0].in_shape, 0, 0)]
    fan_ins = [0]
    at, end, seen = 0, batch_size * math.prod(steps[0].in_shape), False
    for step, places in zip(steps, Packing(tuple(steps)).offsets, strict=True):
        match step.layer:
            case Flatten():
                continue
            case ReLU():
                operations[-1] = replace(operations[-1], rectified=1)
                continue
            case MaxPool2d() if len(step.in_shape) != 3:
                continue
            case MaxPool2d(size=size):
                row = _operation(POOL, step.in_shape, step.out_shape, at, end, kernel=size)
            case Dense(bias="none") | Conv2d(bias="none") as other:
                raise ValueError(f"there is no kernel without biases, as in {other}")
            case Dense() | Conv2d():
                row = _linear(step, places, at, end)
            case other:
                raise ValueError(f"there is no kernel for {other}")
        before = operations[-1].rectified
        operations.append(replace(row, in_rectified=before, passes_on=int(seen)))
        fan_ins.append(step.fan_in)
        seen = seen or row.kind == LINEAR
        at, end = end, end + batch_size * math.prod(step.out_shape)
    plan = Plan(
        tuple(operations), tuple(fan_ins), Packing(tuple(steps)).n_parameters, end,
        STATES[optimizer], int(gradient_norms),
    )  # fmt: skip
    if plan.values_per_program > MAX_VALUES:
        raise ValueError(f"{GROUP} networks take {plan.bytes_per_program:,} bytes")
    return plan


def max_registers(n_states: int, n_sums: int) -> int:
    """What the compiler may take of a thread's registers, so that it spills none.

    Left to itself it takes 64 for plain SGD and spills. An SM of 65,536 has room for 3 programs of
    80 registers a thread, and for 2 of 128.
    """
    return 80 if n_states + n_sums == 0 else 128


def multiplications(plan: Plan, batch_size: int) -> int:
    """Products that a step of one network takes: forward, by the inputs, by the weights."""
    total = 0
    for op in plan.operations:
        if op.kind == LINEAR:
            each = op.units * op.out_height * op.out_width * op.channels * op.kernel**2
            total += batch_size * each * (2 + op.passes_on)
    return total


def trips(plan: Plan, batch_size: int) -> int:
    """Turns of the innermost loops that a program takes for one step of its networks.

    A turn is `ELEMENTS` products of `GROUP` networks, if the elements fill their tiles.
    """

    def tiles(n: int) -> int:
        return -(-n // ELEMENTS)

    total = 0
    for op in plan.operations:
        if op.kind != LINEAR:
            continue
        outputs, window = op.units * op.out_height * op.out_width, op.kernel**2
        inputs = op.channels * op.in_height * op.in_width
        total += tiles(batch_size * outputs) * op.channels * window
        total += op.passes_on * tiles(batch_size * inputs) * op.units * window
        positions = batch_size * op.out_height * op.out_width
        total += tiles(op.units * (op.channels * window + 1)) * positions
    return total


def _linear(step: Step, places: tuple[int, ...], at: int, end: int) -> Operation:
    layer = step.linear
    assert layer is not None
    conv = isinstance(layer, Conv2d)
    return replace(
        _operation(LINEAR, step.in_shape, step.out_shape, at, end),
        kernel=layer.kernel if conv else 1,
        padding=layer.padding if conv else 0,
        weight_at=places[0],
        bias_at=places[1],
        first_block=step.first_block,
        blocks_per_unit=step.blocks_per_unit,
        columns=step.columns,
    )


def _operation(
    kind: int, inputs: tuple[int, ...], outputs: tuple[int, ...], at: int, end: int, kernel: int = 1
) -> Operation:
    ins, outs = ((*shape, 1, 1)[:3] for shape in (inputs, outputs))
    return Operation(
        kind, outs[0], ins[0], kernel, 0, ins[1], ins[2], outs[1], outs[2],
        at, end, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
