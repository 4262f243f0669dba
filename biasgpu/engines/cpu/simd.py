"""SIMD vectors inside numba: a value of 16 or 8 lanes that stays in a register.

Numba compiles loops over arrays and leaves it to LLVM which become vector code. Here one lane is
one candidate, always, so the vectors are written down: a local variable of type `f32x16` is a
512-bit value (LLVM splits it where registers are smaller). `load` picks the vector by the array's
dtype: float32 gives f32x16, the lanes of screening; float64 gives f64x8, the lanes of the law.

`madd(a, b, c)` is where the two differ on purpose: for screening it is a fused multiply-add, for
the law a product rounded before it is added. Screening may also `widen` its lanes to f64x16 for a
while.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.extending import lower_builtin, type_callable

from biasgpu.engines.cpu.vectors import (
    LANES_F32,
    OF_DTYPE,
    SCALAR_TYPES,
    Vector,
    constant,
    element_pointer,
    f32x16,
    f64x8,
    f64x16,
    intrinsic,
    llvm_type,
    splat,
)


def _binary(function: Any, floats: str, integers: str) -> None:
    """Let an operator work on two vectors of one type."""

    @type_callable(function)
    def _type(context: Any) -> Callable:
        def typer(a: Any, b: Any) -> Any:
            return a if isinstance(a, Vector) and a == b else None

        return typer

    @lower_builtin(function, Vector, Vector)
    def _lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = floats if signature.return_type.kind in ("f32", "f64") else integers
        return getattr(builder, name)(*args)


_binary(operator.add, "fadd", "add")
_binary(operator.sub, "fsub", "sub")
_binary(operator.mul, "fmul", "mul")
_binary(operator.truediv, "fdiv", "udiv")
_binary(operator.xor, "", "xor")
_binary(operator.and_, "", "and_")


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """The vector that starts at element `index` of a one-dimensional contiguous array."""
    vector = OF_DTYPE[array.dtype]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, llvm_type(vector).as_pointer())
        return builder.load(pointer, align=4)

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to elements `index ..` of a one-dimensional contiguous array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, args[2].type.as_pointer())
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, value), codegen


@intrinsic
def splat_like(typingctx: Any, like: Any, scalar: Any) -> Any:
    """A scalar in every lane of the vector type that `like` (an array) holds."""
    vector = OF_DTYPE[like.dtype]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return splat(builder, args[1], vector)

    return vector(like, SCALAR_TYPES[vector.kind]), codegen


@intrinsic
def load_splat(typingctx: Any, like: Any, array: Any, index: Any) -> Any:
    """Element `index` of an array in every lane of the vector type that `like` holds."""
    vector = OF_DTYPE[like.dtype]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, signature.args[1], args[1], args[2])
        return splat(builder, builder.load(pointer), vector)

    return vector(like, array, types.intp), codegen


def _fused(builder: Any, vector: Vector, args: Any) -> Any:
    kind = llvm_type(vector)
    name = f"llvm.fma.v{vector.lanes}{vector.kind}"
    declared = builder.module.globals.get(name)
    if declared is None:
        declared = ir.Function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(declared, args)


@intrinsic
def madd(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`: fused in the 16 lanes of screening, in two roundings in the law's 8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if a.lanes == LANES_F32:
            return _fused(builder, a, args)
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return a(a, a, a), codegen


def _wide(vector: Vector) -> Vector:
    return f64x16 if vector.lanes == LANES_F32 else f64x8


@intrinsic
def widen(typingctx: Any, a: Any) -> Any:
    """f32x16 to f64x16, exactly; the law's f64x8 stays as it is."""
    wide = _wide(a)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(args[0], llvm_type(wide)) if wide != a else args[0]

    return wide(a), codegen


@intrinsic
def narrow(typingctx: Any, a: Any) -> Any:
    """f64x16 to f32x16, rounded; the law's f64x8 stays as it is."""
    result = f32x16 if a == f64x16 else a

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fptrunc(args[0], llvm_type(result)) if result != a else args[0]

    return result(a), codegen


@intrinsic
def load_splat_wide(typingctx: Any, like: Any, array: Any, index: Any) -> Any:
    """Element `index` of a float64 array in every lane of what `like` holds, widened."""
    wide = _wide(OF_DTYPE[like.dtype])

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, signature.args[1], args[1], args[2])
        return splat(builder, builder.load(pointer), wide)

    return wide(like, array, types.intp), codegen


@intrinsic
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """The larger of two, lane by lane; not a number if either is not."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y = args
        larger = builder.select(builder.fcmp_ordered(">", x, y), x, y)
        if a.kind == "f32":  # screening watches magnitudes instead (see engine.py)
            return larger
        return builder.select(builder.fcmp_unordered("uno", x, x), x, larger)

    return a(a, a), codegen


@intrinsic
def relu(typingctx: Any, a: Any) -> Any:
    """`max(0, a)`; what is not a number stays so."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = constant(a, 0.0)
        if a.kind == "f32":  # the order that one max instruction computes
            return builder.select(builder.fcmp_ordered(">", args[0], zero), args[0], zero)
        return builder.select(builder.fcmp_ordered("<", args[0], zero), zero, args[0])

    return a(a), codegen


@intrinsic
def absolute(typingctx: Any, a: Any) -> Any:
    """`|a|`, lane by lane."""
    bits, width = (0x7FFFFFFF, 32) if a.kind == "f32" else (0x7FFFFFFFFFFFFFFF, 64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integers = ir.VectorType(ir.IntType(width), a.lanes)
        mask = ir.Constant(integers, [bits] * a.lanes)
        return builder.bitcast(builder.and_(builder.bitcast(args[0], integers), mask), llvm_type(a))

    return a(a), codegen


@intrinsic
def negative(typingctx: Any, a: Any) -> Any:
    """`-a`, lane by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fneg(args[0])

    return a(a), codegen


@intrinsic
def zero_where_below(typingctx: Any, value: Any, a: Any, b: Any) -> Any:
    """`value`, but 0 in the lanes in which a < b."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        below = builder.fcmp_ordered("<", args[1], args[2])
        return builder.select(below, constant(a, 0.0), args[0])

    return a(a, a, a), codegen


@intrinsic
def add_to_wide(typingctx: Any, array: Any, index: Any, a: Any) -> Any:
    """Add the lanes of an f64x16 or f64x8 to as many elements of a float64 array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = llvm_type(a)
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, wide.as_pointer())
        total = builder.fadd(builder.load(pointer, align=8), args[2])
        builder.store(total, pointer, align=8)
        return context.get_dummy_value()

    return types.none(array, types.intp, a), codegen


@intrinsic
def lanes_negative(typingctx: Any, a: Any) -> Any:
    """Bit l of the uint64 result is the sign bit of lane l of an i32x16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        below = builder.icmp_signed("<", args[0], constant(a, 0))
        return builder.zext(builder.bitcast(below, ir.IntType(a.lanes)), ir.IntType(64))

    return types.uint64(a), codegen


@intrinsic
def lanes_above(typingctx: Any, a: Any, b: Any) -> Any:
    """Bit l of the uint64 result says whether a > b in lane l; false for what is not a number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        above = builder.fcmp_ordered(">", args[0], args[1])
        bits = builder.bitcast(above, ir.IntType(a.lanes))
        return builder.zext(bits, ir.IntType(64))

    return types.uint64(a, a), codegen
