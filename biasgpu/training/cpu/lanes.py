"""Vectors of sixteen float32 lanes at addresses, and what is done lane by lane.

Everything here takes addresses in place of arrays (see `biasgpu.engines.cpu.memory`): a step of a
small network takes some microseconds, and passing arrays would cost as much again. Indices count
vectors of 64 bytes, of integers 8 bytes, of shared inputs 4 bytes. A mask is an int64 with one bit
a lane; in memory it takes 16 bits.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types

from biasgpu.engines.cpu.vectors import (
    constant,
    f32x16,
    f64x16,
    i32x16,
    intrinsic,
    llvm_type,
    splat,
)

BYTES = 64  # of a vector
I64, I16 = ir.IntType(64), ir.IntType(16)
ALL = 0xFFFF  # a mask with every lane
BITS = ir.VectorType(ir.IntType(1), 16)


def at(builder: Any, address: Any, offset: Any, size: int, kind: Any) -> Any:
    """While generating code: a pointer `offset` elements of `size` bytes behind an address."""
    base = builder.inttoptr(address, ir.IntType(8).as_pointer())
    moved = builder.gep(base, [builder.mul(offset, I64(size))])
    return builder.bitcast(moved, kind.as_pointer())


def vector_at(builder: Any, address: Any, offset: Any) -> Any:
    """While generating code: the vector `offset` places behind an address."""
    return builder.load(at(builder, address, offset, BYTES, llvm_type(f32x16)), align=4)


def put_vector(builder: Any, address: Any, offset: Any, value: Any) -> None:
    """While generating code: write a vector `offset` places behind an address."""
    builder.store(value, at(builder, address, offset, BYTES, llvm_type(f32x16)), align=4)


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """While generating code: a * b + c, rounded once."""
    return call(builder, "llvm.fma.v16f32", llvm_type(f32x16), a, b, c)


def call(builder: Any, name: str, kind: Any, *args: Any) -> Any:
    """While generating code: an LLVM function of one type."""
    declared = builder.module.globals.get(name)
    if declared is None:
        declared = ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(args)), name)
    return builder.call(declared, args)


def chosen(builder: Any, mask: Any, a: Any, b: Any) -> Any:
    """While generating code: `a` in the lanes of a mask (i64), else `b`."""
    return builder.select(builder.bitcast(builder.trunc(mask, I16), BITS), a, b)


def rectified(builder: Any, x: Any) -> Any:
    """While generating code: max(0, x) as one instruction, which lets through what is no number."""
    zero = constant(f32x16, 0.0)
    return builder.select(builder.fcmp_ordered(">", zero, x), zero, x)


@intrinsic
def get(typingctx: Any, address: Any, index: Any) -> Any:
    """The vector `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return vector_at(builder, args[0], args[1])

    return f32x16(types.intp, types.intp), codegen


@intrinsic
def put(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a vector `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        put_vector(builder, args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.none(types.intp, types.intp, f32x16), codegen


@intrinsic
def whole(typingctx: Any, address: Any, index: Any) -> Any:
    """The int64 `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(at(builder, args[0], args[1], 8, I64))

    return types.int64(types.intp, types.intp), codegen


@intrinsic
def get_mask(typingctx: Any, address: Any, index: Any) -> Any:
    """The mask `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(at(builder, args[0], args[1], 2, I16)), I64)

    return types.int64(types.intp, types.intp), codegen


@intrinsic
def spread(typingctx: Any, scalar: Any) -> Any:
    """A number, rounded to float32, in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return splat(builder, builder.fptrunc(args[0], ir.FloatType()), f32x16)

    return f32x16(types.float64), codegen


@intrinsic
def where(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """`a` in the lanes of a mask, else `b`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return chosen(builder, *args)

    return f32x16(types.int64, f32x16, f32x16), codegen


def _comparison(operator: str) -> Any:
    @intrinsic
    def compare(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            bits = builder.bitcast(builder.fcmp_ordered(operator, args[0], args[1]), I16)
            return builder.zext(bits, I64)

        return types.int64(f32x16, f32x16), codegen

    return compare


# Masks; false for what is not a number.
above = _comparison(">")
at_least = _comparison(">=")
equal = _comparison("==")


@intrinsic
def larger(typingctx: Any, a: Any, b: Any) -> Any:
    """The larger of two; the second if one is not a number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[0], args[1])

    return f32x16(f32x16, f32x16), codegen


@intrinsic
def rectify(typingctx: Any, a: Any) -> Any:
    """`max(0, a)`; what is not a number stays so."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return rectified(builder, args[0])

    return f32x16(f32x16), codegen


@intrinsic
def root(typingctx: Any, a: Any) -> Any:
    """The square root."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, "llvm.sqrt.v16f32", llvm_type(f32x16), args[0])

    return f32x16(f32x16), codegen


@intrinsic
def no_sum(typingctx: Any) -> Any:
    """Zeros of f64x16, to add squares to."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return constant(f64x16, 0.0)

    return f64x16(), codegen


EXP_ERROR = 2.0**-22  # relative, of `exp` on [LOWEST, 0]
LOWEST = -87.0  # below, `exp` gives exp(-87) = 1.6e-38, nearly the smallest normal float32


@intrinsic
def exp(typingctx: Any, a: Any) -> Any:
    """The exponential for a <= 0, within `EXP_ERROR` of itself; what is not a number stays so.

    a = n log 2 + r with |r| <= log(2) / 2 and a Taylor polynomial of degree 7 in r, whose remainder
    is below 0.35^8 / 8! = 5.6e-9; rounding adds some 2 units of 2^-24.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        floats, integers = llvm_type(f32x16), llvm_type(i32x16)

        def f(value: float) -> Any:
            return constant(f32x16, value)

        low = builder.fcmp_ordered("<", args[0], f(LOWEST))
        x = builder.select(low, f(LOWEST), args[0])
        # Adding 1.5 * 2^23 rounds to a whole number, which then lies in the low bits.
        shifted = fused(builder, x, f(1.0 / math.log(2.0)), f(12582912.0))
        n = builder.fsub(shifted, f(12582912.0))
        r = fused(builder, n, f(-0.693359375), x)  # nine bits: n times it is exact
        r = fused(builder, n, f(0.693359375 - math.log(2.0)), r)
        value = f(1.0 / math.factorial(7))
        for power in range(6, -1, -1):
            value = fused(builder, value, r, f(1.0 / math.factorial(power)))
        bits = builder.add(builder.bitcast(shifted, integers), constant(i32x16, 127))
        scale = builder.bitcast(builder.shl(bits, constant(i32x16, 23)), floats)
        return builder.fmul(value, scale)

    return f32x16(f32x16), codegen
