"""Single float32 numbers at addresses, and what goes on within a vector.

Vectors themselves, and integers at addresses, are those of `biasgpu.training.cpu.lanes`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from biasgpu.engines.cpu.vectors import f32x16, intrinsic, llvm_type
from biasgpu.training.cpu.lanes import at, call

NUMBER = 4  # bytes
_I32, _FLOAT = ir.IntType(32), ir.FloatType()


def shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """While generating code: lanes of `a` (from 0) and `b` (behind them)."""
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return builder.shuffle_vector(a, b, mask)


@intrinsic
def number(typingctx: Any, address: Any, index: Any) -> Any:
    """The float32 number `index` places behind an address, as float64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(at(builder, args[0], args[1], NUMBER, _FLOAT))
        return builder.fpext(value, ir.DoubleType())

    return types.float64(types.intp, types.intp), codegen


@intrinsic
def put_number(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a number, rounded to float32, `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rounded = builder.fptrunc(args[2], _FLOAT)
        builder.store(rounded, at(builder, args[0], args[1], NUMBER, _FLOAT))
        return context.get_dummy_value()

    return types.none(types.intp, types.intp, types.float64), codegen


@intrinsic
def total(typingctx: Any, a: Any) -> Any:
    """The sum of all lanes, by halves, as float64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, n = args[0], 8
        while n:
            low, high = ([*range(n)], [*range(n, 2 * n)])
            value = builder.fadd(
                shuffled(builder, value, value, low), shuffled(builder, value, value, high)
            )
            n //= 2
        return builder.fpext(builder.extract_element(value, _I32(0)), ir.DoubleType())

    return types.float64(f32x16), codegen


@intrinsic
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once, lane by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, "llvm.fma.v16f32", llvm_type(f32x16), *args)

    return f32x16(f32x16, f32x16, f32x16), codegen


def _pick(start: int, step: int) -> Any:
    @intrinsic
    def pick(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return shuffled(builder, args[0], args[1], [start + step * k for k in range(16)])

        return f32x16(f32x16, f32x16), codegen

    return pick


# Of two vectors in a row: every other number, from the first or the second on.
even, odd = _pick(0, 2), _pick(1, 2)


def _weave(start: int) -> Any:
    lanes = [start + k // 2 + 16 * (k % 2) for k in range(16)]

    @intrinsic
    def weave(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return shuffled(builder, args[0], args[1], lanes)

        return f32x16(f32x16, f32x16), codegen

    return weave


# The inverse: numbers of two vectors in turn, the first sixteen and the rest.
woven_first, woven_rest = _weave(0), _weave(8)


@intrinsic
def vector(typingctx: Any, address: Any, index: Any) -> Any:
    """The vector that begins `index` numbers behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(at(builder, args[0], args[1], NUMBER, llvm_type(f32x16)), align=4)

    return f32x16(types.intp, types.intp), codegen


@intrinsic
def put_vector(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a vector that begins `index` numbers behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = at(builder, args[0], args[1], NUMBER, llvm_type(f32x16))
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.none(types.intp, types.intp, f32x16), codegen


__all__ = [
    "even", "fused", "number", "odd", "put_number", "put_vector", "shuffled", "total",
    "vector", "woven_first", "woven_rest",
]  # fmt: skip
