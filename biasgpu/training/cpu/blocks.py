"""Blocks of sums that stay in registers: the one inner loop of all layers, forward and backward.

A block is `rows` by `columns` sums; one step of its loop loads a vector for each row and each
column and adds all their products. So a loaded number is used several times, and as many products
are under way as hide a fused multiply-add's latency.

Rows and columns have an address each, `base + min(k, last) * stride`: at a ragged edge the last one
is simply there twice, computed and stored alike.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from biasgpu.engines.cpu.vectors import constant, f32x16, intrinsic, llvm_type, splat
from biasgpu.training.cpu.lanes import (
    BYTES,
    I16,
    I64,
    at,
    chosen,
    fused,
    put_vector,
    rectified,
    vector_at,
)


def _clamped(builder: Any, k: int, last: Any) -> Any:
    number = I64(k)
    return builder.select(builder.icmp_signed("<", number, last), number, last)


def _grid(builder: Any, rows: int, columns: int, args: Any) -> list[tuple[int, Any, Any]]:
    """While generating code: number, address and row of each sum; args as in `store_block`."""
    base, row_stride, row_last, column_stride, column_last = args
    places = []
    for row in range(rows):
        down = builder.mul(_clamped(builder, row, row_last), row_stride)
        for column in range(columns):
            across = builder.mul(_clamped(builder, column, column_last), column_stride)
            place = builder.mul(builder.add(down, across), I64(BYTES))
            places.append((row * columns + column, builder.add(base, place), row))
    return places


def make_addresses(n: int, size: int = BYTES) -> Any:
    """`addresses(base, stride, last)`: n addresses, `stride` elements of `size` bytes apart."""
    kind = types.UniTuple(types.intp, n)

    @intrinsic
    def addresses(typingctx: Any, base: Any, stride: Any, last: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            step = builder.mul(args[1], I64(size))
            found = [
                builder.add(args[0], builder.mul(_clamped(builder, k, args[2]), step))
                for k in range(n)
            ]
            return context.make_tuple(builder, kind, found)

        return kind(types.intp, types.intp, types.intp), codegen

    return addresses


def make_zeros(n: int) -> Any:
    """`zeros()`: a block of n sums that are 0."""
    kind = types.UniTuple(f32x16, n)

    @intrinsic
    def zeros(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return context.make_tuple(builder, kind, [constant(f32x16, 0.0)] * n)

        return kind(), codegen

    return zeros


def make_accumulate(rows: int, columns: int, shared: bool) -> Any:
    """`accumulate(sums, row_addresses, column_addresses, row_offset, column_offset)`.

    Offsets count vectors; those of columns that all lanes share, float32 numbers.
    """
    kind = types.UniTuple(f32x16, rows * columns)
    addresses = (types.UniTuple(types.intp, rows), types.UniTuple(types.intp, columns))

    @intrinsic
    def accumulate(
        typingctx: Any, sums: Any, row_at: Any, column_at: Any, row_offset: Any, column_offset: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            sums, row_at, column_at, row_offset, column_offset = args

            def column(k: int) -> Any:
                address = builder.extract_value(column_at, k)
                if not shared:
                    return vector_at(builder, address, column_offset)
                number = builder.load(at(builder, address, column_offset, 4, ir.FloatType()))
                return splat(builder, number, f32x16)

            across = [column(k) for k in range(columns)]
            found = []
            for row in range(rows):
                down = vector_at(builder, builder.extract_value(row_at, row), row_offset)
                for k in range(columns):
                    old = builder.extract_value(sums, row * columns + k)
                    found.append(fused(builder, down, across[k], old))
            return context.make_tuple(builder, kind, found)

        return kind(kind, *addresses, types.intp, types.intp), codegen

    return accumulate


def make_store(rows: int, columns: int) -> Any:
    """`store(sums, base, row_stride, row_last, column_stride, column_last)`."""
    kind = types.UniTuple(f32x16, rows * columns)

    @intrinsic
    def store(
        typingctx: Any, sums: Any, base: Any, row_stride: Any, row_last: Any, column_stride: Any,
        column_last: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            for k, address, _ in _grid(builder, rows, columns, args[1:]):
                put_vector(builder, address, I64(0), builder.extract_value(args[0], k))
            return context.get_dummy_value()

        return types.none(kind, *[types.intp] * 5), codegen

    return store


def make_add_stored(rows: int, columns: int) -> Any:
    """`add_stored(sums, base, row_stride, row_last, column_stride, column_last)`: sums + stored."""
    kind = types.UniTuple(f32x16, rows * columns)

    @intrinsic
    def add_stored(
        typingctx: Any, sums: Any, base: Any, row_stride: Any, row_last: Any, column_stride: Any,
        column_last: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found = [
                builder.fadd(builder.extract_value(args[0], k), vector_at(builder, address, I64(0)))
                for k, address, _ in _grid(builder, rows, columns, args[1:])
            ]
            return context.make_tuple(builder, kind, found)

        return kind(kind, *[types.intp] * 5), codegen

    return add_stored


def make_descend(rows: int, columns: int) -> Any:
    """`descend(sums, rate, active, base, row_stride, row_last, column_stride, column_last)`.

    Takes `rate` (negative) times the sums, which are gradients, to stored weights, in the lanes of
    the mask `active`.
    """
    kind = types.UniTuple(f32x16, rows * columns)

    @intrinsic
    def descend(
        typingctx: Any, sums: Any, rate: Any, active: Any, base: Any, row_stride: Any,
        row_last: Any, column_stride: Any, column_last: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            places = _grid(builder, rows, columns, args[3:])
            found = []
            for k, address, _ in places:  # all are read before any is written: some are there twice
                old = vector_at(builder, address, I64(0))
                new = fused(builder, builder.extract_value(args[0], k), args[1], old)
                found.append(chosen(builder, args[2], new, old))
            for (_, address, _), value in zip(places, found, strict=True):
                put_vector(builder, address, I64(0), value)
            return context.get_dummy_value()

        return types.none(kind, f32x16, types.int64, *[types.intp] * 5), codegen

    return descend


def make_finish(rows: int, columns: int) -> Any:
    """`finish(sums, biases, row_last, relu)`: each row's bias added, and rectified if `relu`."""
    kind = types.UniTuple(f32x16, rows * columns)

    @intrinsic
    def finish(typingctx: Any, sums: Any, biases: Any, row_last: Any, relu: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            sums, biases, row_last, relu = args
            found = []
            for row in range(rows):
                bias = vector_at(builder, biases, _clamped(builder, row, row_last))
                for column in range(columns):
                    value = builder.extract_value(sums, row * columns + column)
                    value = builder.fadd(value, bias)
                    found.append(builder.select(relu, rectified(builder, value), value))
            return context.make_tuple(builder, kind, found)

        return kind(kind, types.intp, types.intp, types.boolean), codegen

    return finish


def make_pool(rows: int) -> Any:
    """`pool(sums, biases, relu, y, y_stride, masks)` for blocks whose four columns are a window.

    Writes each row's maximum, with its bias, rectified if `relu`, to `y + row * y_stride`, and four
    masks to `masks + row * y_stride` (in fours): which lanes' gradient goes to which column. That
    is the first largest, and none where a rectifier is silent.
    """
    kind = types.UniTuple(f32x16, 4 * rows)

    @intrinsic
    def pool(
        typingctx: Any, sums: Any, biases: Any, relu: Any, y: Any, y_stride: Any, masks: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            sums, biases, relu, y, y_stride, masks = args
            everywhere = ir.Constant(llvm_type(f32x16), [0.0] * 16)
            for row in range(rows):
                four = [builder.extract_value(sums, 4 * row + k) for k in range(4)]
                best = four[0]
                for value in four[1:]:
                    best = builder.select(builder.fcmp_ordered(">", best, value), best, value)
                out = builder.fadd(best, vector_at(builder, biases, I64(row)))
                silent = builder.fcmp_ordered("<=", out, everywhere)
                silent = builder.select(relu, silent, ir.Constant(silent.type, [0] * 16))
                out = builder.select(relu, rectified(builder, out), out)
                place = builder.mul(y_stride, I64(row))
                put_vector(builder, y, place, out)
                free = builder.not_(silent)
                for k, value in enumerate(four):
                    mine = builder.and_(builder.fcmp_ordered("==", value, best), free)
                    free = builder.and_(free, builder.not_(mine))
                    where = at(
                        builder, masks, builder.add(builder.mul(place, I64(4)), I64(k)), 2, I16
                    )
                    builder.store(builder.bitcast(mine, I16), where)
            return context.get_dummy_value()

        return types.none(kind, types.intp, types.boolean, *[types.intp] * 3), codegen

    return pool
