"""Tiles of sums that stay in registers: the inner loops of convolutions.

Forward, and back to the inputs, a tile is some output planes at some vectors of positions. One tap
loads the inputs of these positions and a weight for each plane, and adds all their products. Back
to the weights, a tile is sixteen weights, some planes by some taps, whose products run over the
positions; in the end the lanes of all sixteen sums are added up side by side.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from biasgpu.engines.cpu.vectors import constant, f32x16, intrinsic, llvm_type, splat
from biasgpu.training.cpu.lanes import BYTES, I16, I64, at, chosen, fused, vector_at
from biasgpu.training.planes.numbers import NUMBER, shuffled

_I32, _FLOAT = ir.IntType(32), ir.FloatType()


def _everywhere(builder: Any, address: Any) -> Any:
    return splat(builder, builder.load(at(builder, address, I64(0), NUMBER, _FLOAT)), f32x16)


def _row(builder: Any, base: Any, stride: Any, row: int) -> Any:
    return builder.add(base, builder.mul(stride, I64(row)))


class Tile:
    """Instructions for `rows` planes at `width` vectors of positions.

    Strides are in bytes.

    Attributes:
        zeros: () -> sums.
        start: (biases) -> sums that are the planes' biases.
        tap: (sums, x, w, stride) -> sums: inputs at `x`, weights `stride` apart from `w` on.
        write: (sums, y, plane, masks): set to zero outside of the masks.
        add: the same, added to what is there.
    """

    def __init__(self, rows: int, width: int) -> None:
        self._rows, self._width = rows, width
        self._sums = types.UniTuple(f32x16, rows * width)
        self.zeros, self.start = self._make_zeros(), self._make_start()
        self.tap = self._make_tap()
        self.write, self.add = self._make_write(False), self._make_write(True)

    def _make_zeros(self) -> Any:
        sums = self._sums

        @intrinsic
        def zeros(typingctx: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return context.make_tuple(builder, sums, [constant(f32x16, 0.0)] * len(sums))

            return sums(), codegen

        return zeros

    def _make_start(self) -> Any:
        sums, rows, width = self._sums, self._rows, self._width

        @intrinsic
        def start(typingctx: Any, biases: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                found = []
                for row in range(rows):
                    bias = _everywhere(builder, builder.add(args[0], I64(NUMBER * row)))
                    found += [bias] * width
                return context.make_tuple(builder, sums, found)

            return sums(types.intp), codegen

        return start

    def _make_tap(self) -> Any:
        sums, rows, width = self._sums, self._rows, self._width

        @intrinsic
        def tap(typingctx: Any, given: Any, x: Any, w: Any, stride: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                inputs = [vector_at(builder, args[1], I64(v)) for v in range(width)]
                found = []
                for row in range(rows):
                    weight = _everywhere(builder, _row(builder, args[2], args[3], row))
                    for v in range(width):
                        old = builder.extract_value(args[0], row * width + v)
                        found.append(fused(builder, inputs[v], weight, old))
                return context.make_tuple(builder, sums, found)

            return sums(sums, types.intp, types.intp, types.intp), codegen

        return tap

    def _make_write(self, more: bool) -> Any:
        sums, rows, width = self._sums, self._rows, self._width

        @intrinsic
        def write(typingctx: Any, given: Any, y: Any, plane: Any, masks: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                zero = constant(f32x16, 0.0)
                for v in range(width):
                    mask = builder.load(at(builder, args[3], I64(v), 2, I16))
                    mask = builder.zext(mask, I64)
                    for row in range(rows):
                        value = builder.extract_value(args[0], row * width + v)
                        value = chosen(builder, mask, value, zero)
                        place = _row(builder, args[1], args[2], row)
                        pointer = at(builder, place, I64(v), BYTES, llvm_type(f32x16))
                        if more:
                            value = builder.fadd(value, builder.load(pointer, align=4))
                        builder.store(value, pointer, align=4)
                return context.get_dummy_value()

            return types.none(sums, types.intp, types.intp, types.intp), codegen

        return write


class WeightTile:
    """Instructions for sixteen gradients by weights: `rows` planes by `16 / rows` taps.

    Attributes:
        inputs: (taps, x) -> addresses of the taps' inputs.
        zeros: () -> sums.
        products: (sums, up, plane, inputs, place) -> sums: those of one vector of positions,
            `place` bytes from the start.
        write: (sums, g, stride): the lanes of each summed up.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._taps = rows, 16 // rows
        self._sums = types.UniTuple(f32x16, 16)
        self._inputs = types.UniTuple(types.intp, self._taps)
        self.inputs = self._make_inputs()
        self.zeros = self._make_zeros()
        self.products = self._make_products()
        self.write = self._make_write()

    def _make_inputs(self) -> Any:
        kind, taps = self._inputs, self._taps

        @intrinsic
        def inputs(typingctx: Any, table: Any, x: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                found = []
                for k in range(taps):  # pairs, of which an input's offset is the first
                    offset = builder.load(at(builder, args[0], I64(2 * k), 8, I64))
                    found.append(builder.add(args[1], offset))
                return context.make_tuple(builder, kind, found)

            return kind(types.intp, types.intp), codegen

        return inputs

    def _make_zeros(self) -> Any:
        sums = self._sums

        @intrinsic
        def zeros(typingctx: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return context.make_tuple(builder, sums, [constant(f32x16, 0.0)] * 16)

            return sums(), codegen

        return zeros

    def _make_products(self) -> Any:
        sums, inputs, rows, taps = self._sums, self._inputs, self._rows, self._taps

        @intrinsic
        def products(typingctx: Any, given: Any, up: Any, plane: Any, x: Any, place: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                given, up, plane, x, place = args
                across = [
                    vector_at(builder, builder.add(builder.extract_value(x, k), place), I64(0))
                    for k in range(taps)
                ]
                found = []
                for row in range(rows):
                    start = builder.add(_row(builder, up, plane, row), place)
                    down = vector_at(builder, start, I64(0))
                    for k in range(taps):
                        old = builder.extract_value(given, row * taps + k)
                        found.append(fused(builder, down, across[k], old))
                return context.make_tuple(builder, sums, found)

            return sums(sums, types.intp, types.intp, inputs, types.intp), codegen

        return products

    def _make_write(self) -> Any:
        sums, rows, taps = self._sums, self._rows, self._taps

        @intrinsic
        def write(typingctx: Any, given: Any, g: Any, stride: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                values = [builder.extract_value(args[0], k) for k in range(16)]
                lanes = all_totals(builder, values)
                for row in range(rows):
                    part = list(range(row * taps, (row + 1) * taps))
                    kind = ir.VectorType(_FLOAT, taps)
                    place = _row(builder, args[1], args[2], row)
                    pointer = at(builder, place, I64(0), NUMBER, kind)
                    builder.store(shuffled(builder, lanes, lanes, part), pointer, align=4)
                return context.get_dummy_value()

            return types.none(sums, types.intp, types.intp), codegen

        return write


def all_totals(builder: Any, values: list[Any]) -> Any:
    """While generating code: the sum of each of sixteen vectors' lanes, as one vector."""
    size = 8
    while size:
        # Of either vector, groups of `size` lanes that have not met yet: the first and the second.
        first = [k for k in range(32) if k // size % 2 == 0]
        second = [k for k in range(32) if k // size % 2 == 1]
        values = [
            builder.fadd(shuffled(builder, a, b, first), shuffled(builder, a, b, second))
            for a, b in zip(values[::2], values[1::2], strict=True)
        ]
        size //= 2
    return values[0]
