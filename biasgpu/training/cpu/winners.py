"""The gradient by the weights of a first convolution whose 2x2 windows' winners alone have one.

A window has one gradient, which belongs to the position that won, another in each lane. So a weight
needs one product a window, not four, if each lane finds the pixel that its winner saw: all lanes
see one image, and eight pixels of a row and eight of the next fill a register, from which one
instruction (`vpermps`) takes each lane's pixel. Needs AVX-512; elsewhere convolution_back.py does
it densely.

Cost: two instructions a weight and window, where the dense way takes four.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import njit, types

from biasgpu.engines.cpu.vectors import constant, f32x16, i32x16, intrinsic, llvm_type
from biasgpu.training.cpu.blocks import make_add_stored, make_store, make_zeros
from biasgpu.training.cpu.lanes import (
    BYTES,
    I64,
    at,
    fused,
    get,
    get_mask,
    put,
    spread,
    where,
    whole,
)
from biasgpu.training.cpu.plan import (
    BIASES,
    CHANNELS,
    COLUMNS,
    FAN_IN,
    HEIGHT,
    ROWS,
    UNITS,
    WEIGHTS,
    WIDTH,
)

KERNEL = 5  # of convolutions that are done so: 25 sums fill most of the registers
TAPS = KERNEL * KERNEL
_zeros, _store, _add = make_zeros(TAPS), make_store(1, TAPS), make_add_stored(1, TAPS)


def available() -> bool:
    """Whether this machine has the instruction."""
    return bool(binding.get_host_cpu_features().get("avx512f"))


@intrinsic
def winners(typingctx: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Where the winner lies in two rows of eight pixels: masks of lanes to i32x16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = constant(i32x16, 0)
        for mask, place in zip(args, (1, 8, 9), strict=True):
            bits = builder.bitcast(
                builder.trunc(mask, ir.IntType(16)), ir.VectorType(ir.IntType(1), 16)
            )
            found = builder.select(bits, constant(i32x16, place), found)
        return found

    return i32x16(types.int64, types.int64, types.int64), codegen


@intrinsic
def add_window(typingctx: Any, sums: Any, place: Any, d: Any, x: Any, row_size: Any) -> Any:
    """Add `d` times each lane's pixels to the sums of all taps.

    Args (in numba):
        sums: 25 f32x16.
        place: the winner's, i32x16.
        d: the window's gradient.
        x: address of the window's top left pixel.
        row_size: pixels from a row to the next.
    """
    kind = types.UniTuple(f32x16, TAPS)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, place, d, x, row_size = args
        half = ir.VectorType(ir.FloatType(), 8)
        integers, floats = llvm_type(i32x16), llvm_type(f32x16)
        both = ir.Constant(ir.VectorType(ir.IntType(32), 16), list(range(16)))
        name, signature_ = "llvm.x86.avx512.permvar.sf.512", [floats, integers]
        pick = builder.module.globals.get(name)
        if pick is None:
            pick = ir.Function(builder.module, ir.FunctionType(floats, signature_), name)
        places = [builder.add(place, constant(i32x16, j)) for j in range(KERNEL)]
        rows = [
            builder.load(at(builder, x, builder.mul(row_size, I64(row)), 4, half), align=4)
            for row in range(KERNEL + 1)
        ]
        found = []
        for i in range(KERNEL):
            pair = builder.shuffle_vector(rows[i], rows[i + 1], both)
            for j in range(KERNEL):
                pixels = builder.call(pick, [pair, places[j]])
                old = builder.extract_value(sums, len(found))
                found.append(fused(builder, pixels, d, old))
        return context.make_tuple(builder, kind, found)

    return kind(kind, i32x16, f32x16, types.intp, types.intp), codegen


@njit
def by_winners(op: int, x: int, up: int, masks: int, g: int, fresh: bool) -> None:
    """Store or add (`fresh`) a sample's gradients by weights and biases at `g`.

    Args (in numba):
        op: address of the operation's row.
        x: address of the sample's image, with 8 numbers behind the last one.
        up: address of the gradient by the pooled outputs.
        masks: address of the sample's masks.
    """
    units, rows, columns = whole(op, UNITS), whole(op, ROWS) // 2, whole(op, COLUMNS) // 2
    width, fan_in = whole(op, WIDTH), whole(op, FAN_IN)
    plane, biases = whole(op, HEIGHT) * width, whole(op, BIASES)
    zero = spread(0.0)
    for u in range(units):
        for channel in range(whole(op, CHANNELS)):
            sums, total = _zeros(), zero
            i = u * rows * columns
            for row in range(rows):
                for column in range(columns):
                    second, third, fourth = (
                        get_mask(masks, 4 * i + 1), get_mask(masks, 4 * i + 2),
                        get_mask(masks, 4 * i + 3),
                    )  # fmt: skip
                    won = get_mask(masks, 4 * i) | second | third | fourth
                    d = where(won, get(up, i), zero)
                    total = total + d
                    corner = x + 4 * (channel * plane + 2 * (row * width + column))
                    sums = add_window(sums, winners(second, third, fourth), d, corner, width)
                    i += 1
            target = g + BYTES * (whole(op, WEIGHTS) + u * fan_in + channel * TAPS)
            if not fresh:
                sums = _add(sums, target, 0, 0, 1, TAPS - 1)
            _store(sums, target, 0, 0, 1, TAPS - 1)
            if channel == 0:
                put(g, biases + u, total if fresh else total + get(g, biases + u))


def absent(op: int, x: int, up: int, masks: int, g: int, fresh: bool) -> None:
    """In place of `by_winners` where the instruction is missing; never called."""


if not available():
    by_winners = njit(absent)
