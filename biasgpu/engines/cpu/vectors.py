"""Vector types for numba, and what helps to generate code for them.

A value of such a type is 16 or 8 lanes that stay in a register; simd.py has the operations.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic as _intrinsic
from numba.core.extending import models, register_model

# Untyped, since what they decorate is called from compiled code with other arguments than Python's.
intrinsic: Any = _intrinsic
LANES_F32 = 16
LANES_F64 = 8


class Vector(types.Type):
    """Numba type of a SIMD vector: `kind` is f32, f64, i32 or u64."""

    def __init__(self, kind: str, lanes: int) -> None:
        self.kind = kind
        self.lanes = lanes
        super().__init__(name=f"{kind}x{lanes}")


_SCALARS = {
    "f32": ir.FloatType(),
    "f64": ir.DoubleType(),
    "i32": ir.IntType(32),
    "u64": ir.IntType(64),
}
SCALAR_TYPES = {
    "f32": types.float32,
    "f64": types.float64,
    "i32": types.int32,
    "u64": types.uint64,
}
f32x16 = Vector("f32", 16)
f32x8 = Vector("f32", 8)
f64x8 = Vector("f64", 8)
f64x16 = Vector("f64", 16)  # two registers: what float32 lanes widen to
i32x16 = Vector("i32", 16)
i32x8 = Vector("i32", 8)
u64x8 = Vector("u64", 8)
# The vector that `load` takes from an array of a dtype.
OF_DTYPE = {types.float32: f32x16, types.float64: f64x8, types.uint64: u64x8, types.int32: i32x16}


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, llvm_type(fe_type))


def llvm_type(vector: Vector) -> ir.VectorType:
    """The LLVM type of a vector."""
    return ir.VectorType(_SCALARS[vector.kind], vector.lanes)


def constant(vector: Vector, value: float | int) -> ir.Constant:
    """The vector with `value` in every lane, as an LLVM constant."""
    return ir.Constant(llvm_type(vector), [value] * vector.lanes)


def splat(builder: Any, scalar: Any, vector: Vector) -> Any:
    """While generating code: an LLVM scalar in every lane."""
    kind = llvm_type(vector)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)


def element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """While generating code: the address of an element of a one-dimensional array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def in_step(builder: Any, values: list[Any]) -> list[Any]:
    """While generating code: keep LLVM from running one of several chains ahead of the others.

    An empty instruction that needs all the values at once. LLVM's scheduler, to save registers,
    otherwise puts one chain of dependent operations behind another, and the processor's window
    does not reach from one to the next: each then waits for itself.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return values
    kind = values[0].type
    result = ir.LiteralStructType([kind] * len(values))
    constraints = ",".join(["=v"] * len(values) + [str(i) for i in range(len(values))])
    signature = ir.FunctionType(result, [kind] * len(values))
    together = builder.asm(signature, "", constraints, values, side_effect=False)
    return [builder.extract_value(together, i) for i in range(len(values))]
