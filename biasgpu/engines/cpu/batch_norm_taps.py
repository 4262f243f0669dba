"""Instructions for passes in eight lanes of float64: a kernel's row at some positions of two units.

Everything is at addresses, in bytes, so that nothing is counted or looked at twice. A weight is a
vector, one draw a lane, or a single number for all lanes (`shared`), where the lanes are samples.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from biasgpu.engines.cpu.vectors import constant, f64x8, intrinsic, llvm_type, splat

VECTOR = 64  # bytes
NUMBER = 8
_INT, _KIND = ir.IntType(64), llvm_type(f64x8)


def _address(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    offset = _INT(offset) if isinstance(offset, int) else offset
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _load(builder: Any, address: Any, offset: Any = 0) -> Any:
    return builder.load(_address(builder, address, offset, _KIND), align=8)


def _store(builder: Any, value: Any, address: Any, offset: Any = 0) -> None:
    builder.store(value, _address(builder, address, offset, _KIND), align=8)


def _load_shared(builder: Any, address: Any, offset: Any = 0) -> Any:
    number = builder.load(_address(builder, address, offset, ir.DoubleType()), align=8)
    return splat(builder, number, f64x8)


@intrinsic
def vector(typingctx: Any, address: Any) -> Any:
    """The vector at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, args[0])

    return f64x8(types.intp), codegen


@intrinsic
def shared_number(typingctx: Any, address: Any) -> Any:
    """The number at an address, in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load_shared(builder, args[0])

    return f64x8(types.intp), codegen


@intrinsic
def put(typingctx: Any, address: Any, value: Any) -> Any:
    """Write a vector to an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.none(types.intp, f64x8), codegen


@intrinsic
def everywhere(typingctx: Any, number: Any) -> Any:
    """A number in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return splat(builder, args[0], f64x8)

    return f64x8(types.float64), codegen


@intrinsic
def square_root(typingctx: Any, a: Any) -> Any:
    """The square root, lane by lane, correctly rounded."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = "llvm.sqrt.v8f64"
        declared = builder.module.globals.get(name)
        if declared is None:
            declared = ir.Function(builder.module, ir.FunctionType(_KIND, [_KIND]), name)
        return builder.call(declared, args)

    return f64x8(f64x8), codegen


def _larger(builder: Any, a: Any, b: Any) -> Any:
    """The larger of two; not a number if either is not."""
    value = builder.select(builder.fcmp_ordered(">", a, b), a, b)
    return builder.select(builder.fcmp_unordered("uno", a, a), a, value)


class Tile:
    """Instructions for two units at `width` positions, side by side.

    A tile's sums are a tuple: the first unit's, left to right, then the second unit's.

    Attributes:
        zeros: of sums, +0.0.
        tap: (x, w0, w1, sums) -> sums, with one more tap.
        three: (x, w0, w1, totals) -> totals, with a row of three taps, itself added up first.
        add: (totals, sums) -> totals.
        add_bias: (totals, w0, w1) -> totals.
        note: (totals, running) -> running, which are sum and sum of squares of either unit.
        keep: (totals, y0, y1), written.
        pool: (totals, y0, y1), the maxima of neighbours written.
        pool_more: the same, of these and what is there.
    """

    def __init__(self, width: int, *, shared: bool) -> None:
        self._width = width
        self._sums = types.UniTuple(f64x8, 2 * width)
        self._weight = (_load_shared, NUMBER) if shared else (_load, VECTOR)
        self.zeros = self._make_zeros()
        self.tap = self._make_taps(1)
        self.three = self._make_taps(3)
        self.add = self._make_add()
        self.add_bias = self._make_add_bias()
        self.note = self._make_note()
        self.keep = self._make_keep()
        self.pool, self.pool_more = self._make_pool(more=False), self._make_pool(more=True)

    def _make_zeros(self) -> Any:
        sums = self._sums

        @intrinsic
        def zeros(typingctx: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return context.make_tuple(builder, sums, [constant(f64x8, 0.0)] * len(sums))

            return sums(), codegen

        return zeros

    def _make_taps(self, taps: int) -> Any:
        sums, width, (load_weight, size) = self._sums, self._width, self._weight

        @intrinsic
        def add_taps(typingctx: Any, x: Any, w0: Any, w1: Any, given: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                inputs = [_load(builder, args[0], VECTOR * i) for i in range(width + taps - 1)]
                result = []
                for unit in range(2):
                    row = [load_weight(builder, args[1 + unit], size * k) for k in range(taps)]
                    for position in range(width):
                        # From its first product on: a row's sum is -0.0 at worst where the law has
                        # +0.0, and what it is added to begins with +0.0.
                        run = builder.fmul(inputs[position], row[0])
                        for k in range(1, taps):
                            run = builder.fadd(run, builder.fmul(inputs[position + k], row[k]))
                        total = builder.extract_value(args[3], unit * width + position)
                        result.append(builder.fadd(total, run))
                return context.make_tuple(builder, sums, result)

            return sums(types.intp, types.intp, types.intp, sums), codegen

        return add_taps

    def _make_add(self) -> Any:
        sums = self._sums

        @intrinsic
        def add(typingctx: Any, a: Any, b: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                result = [
                    builder.fadd(
                        builder.extract_value(args[0], i), builder.extract_value(args[1], i)
                    )
                    for i in range(len(sums))
                ]
                return context.make_tuple(builder, sums, result)

            return sums(sums, sums), codegen

        return add

    def _make_add_bias(self) -> Any:
        sums, width, (load_weight, _) = self._sums, self._width, self._weight

        @intrinsic
        def add_bias(typingctx: Any, totals: Any, w0: Any, w1: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                bias = [load_weight(builder, args[1 + unit]) for unit in range(2)]
                result = [
                    builder.fadd(builder.extract_value(args[0], i), bias[i // width])
                    for i in range(len(sums))
                ]
                return context.make_tuple(builder, sums, result)

            return sums(sums, types.intp, types.intp), codegen

        return add_bias

    def _make_note(self) -> Any:
        sums, width, four = self._sums, self._width, types.UniTuple(f64x8, 4)

        @intrinsic
        def note(typingctx: Any, totals: Any, running: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                result = [builder.extract_value(args[1], i) for i in range(4)]
                for i in range(len(sums)):
                    value, at = builder.extract_value(args[0], i), i // width * 2
                    result[at] = builder.fadd(result[at], value)
                    square = builder.fmul(value, value)
                    result[at + 1] = builder.fadd(result[at + 1], square)
                return context.make_tuple(builder, four, result)

            return four(sums, four), codegen

        return note

    def _make_keep(self) -> Any:
        sums, width = self._sums, self._width

        @intrinsic
        def keep(typingctx: Any, totals: Any, y0: Any, y1: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                for i in range(len(sums)):
                    value = builder.extract_value(args[0], i)
                    _store(builder, value, args[1 + i // width], VECTOR * (i % width))
                return context.get_dummy_value()

            return types.none(sums, types.intp, types.intp), codegen

        return keep

    def _make_pool(self, *, more: bool) -> Any:
        sums, width = self._sums, self._width

        @intrinsic
        def pool(typingctx: Any, totals: Any, y0: Any, y1: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                for unit in range(2):
                    for pair in range(width // 2):
                        at = unit * width + 2 * pair
                        values = (builder.extract_value(args[0], at + i) for i in range(2))
                        value, place = _larger(builder, *values), VECTOR * pair
                        if more:
                            before = _load(builder, args[1 + unit], place)
                            value = _larger(builder, value, before)
                        _store(builder, value, args[1 + unit], place)
                return context.get_dummy_value()

            return types.none(sums, types.intp, types.intp), codegen

        return pool
