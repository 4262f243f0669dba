"""Numbers at addresses, for compiled code that is called often.

Functions that take addresses in place of arrays cost nothing to call (numba counts references to
arrays at every call, a tenth of a microsecond for six of them), nor does an access look whether its
index is negative. Nothing here keeps an array alive: the caller does.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from biasgpu.engines.cpu.vectors import OF_DTYPE, intrinsic, llvm_type, splat


@intrinsic
def address_of(typingctx: Any, array: Any) -> Any:
    """The address of an array's first element, for `peek` and `poke`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.intp(array), codegen


def _float64_at(builder: Any, address: Any, index: Any) -> Any:
    pointer = builder.inttoptr(address, ir.DoubleType().as_pointer())
    return builder.gep(pointer, [index], inbounds=True)


@intrinsic
def peek(typingctx: Any, address: Any, index: Any) -> Any:
    """The float64 number `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_float64_at(builder, args[0], args[1]))

    return types.float64(types.intp, types.intp), codegen


@intrinsic
def peek_int(typingctx: Any, address: Any, index: Any) -> Any:
    """The int64 number `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(pointer, [args[1]], inbounds=True))

    return types.int64(types.intp, types.intp), codegen


@intrinsic
def peek_splat(typingctx: Any, like: Any, address: Any, index: Any) -> Any:
    """The number `index` places behind an address in every lane of what the array `like` holds.

    It is of the array's dtype.
    """
    vector = OF_DTYPE[like.dtype]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[1], llvm_type(vector).element.as_pointer())
        return splat(builder, builder.load(builder.gep(pointer, [args[2]], inbounds=True)), vector)

    return vector(like, types.intp, types.intp), codegen


@intrinsic
def poke(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a float64 number `index` places behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _float64_at(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.none(types.intp, types.intp, types.float64), codegen


@intrinsic
def vector_at(typingctx: Any, like: Any, address: Any, index: Any) -> Any:
    """The vector `index` vectors behind an address, of the type that `like` (an array) holds."""
    vector = OF_DTYPE[like.dtype]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[1], llvm_type(vector).as_pointer())
        return builder.load(builder.gep(pointer, [args[2]], inbounds=True), align=4)

    return vector(like, types.intp, types.intp), codegen
