"""Philox4x32-10 in SIMD lanes: blocks of four words, for all lanes at once.

A word lives in the low half of a 64-bit lane. The upper half may hold anything: the 32 x 32 -> 64
bit multiplication reads low halves only, and the three-way exclusive-or mixes the halves
separately. A round is then two multiplications, two shifts and two exclusive-ors of three, for
eight draws.

A round waits for the one before it, some six cycles. So several blocks go through the rounds side
by side: two of sixteen lanes or four of eight, which makes four states and keeps the multipliers
busy meanwhile.

With the block number in counter word 0 and the draw in words 2 and 3, everything of round one that
depends on the draw, and half of round two, is the same for all blocks. LLVM moves it out of a loop
that is given names as vectors (`named`); it cannot where they are read inside a loop that also
writes to memory.

Cost: 6 vector instructions a round; with 10 rounds, 60 for 32 words, less what is moved out.
Of sixteen lanes, the last round puts products into place before it mixes them: 8 for 32 words.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from biasgpu.engines.cpu.vectors import (
    constant,
    element_pointer,
    f32x8,
    f32x16,
    i32x8,
    i32x16,
    in_step,
    intrinsic,
    llvm_type,
    splat,
    u64x8,
)
from biasgpu.rng import MULTIPLIER_0, MULTIPLIER_1, ROUNDS, WEYL_0, WEYL_1

_LOW = 0xFFFFFFFF


@intrinsic
def named(typingctx: Any, buffer: Any, names: Any) -> Any:
    """The draws in the lanes, as vectors for `several_blocks`.

    Args (in numba):
        buffer: an array whose dtype says how many lanes: float32 for 16, float64 for 8.
        names: uint64 array: the low halves of 8 draw numbers, then their high halves; 16 lanes have
            two such groups.

    Returns:
        u64x8, as many as there are halves.
    """
    count = 4 if buffer.dtype == types.float32 else 2
    signature = types.UniTuple(u64x8, count)(buffer, names)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors = []
        for half in range(count):
            offset = ir.IntType(64)(8 * half)
            pointer = element_pointer(context, builder, signature.args[1], args[1], offset)
            pointer = builder.bitcast(pointer, llvm_type(u64x8).as_pointer())
            vectors.append(builder.load(pointer, align=8))
        return context.make_tuple(builder, signature.return_type, vectors)

    return signature, codegen


@intrinsic
def several_blocks(
    typingctx: Any, buffer: Any, names: Any, stream: Any, blocks: Any, k0: Any, k1: Any
) -> Any:
    """The words of some blocks, with a draw in every lane.

    Args (in numba):
        buffer: an array whose dtype says how many lanes: float32 for 16, float64 for 8.
        names: the draws, from `named`.
        stream: uint64, what the words are for.
        blocks: a tuple of uint64 block numbers below 2**32.
        k0, k1: uint64, the halves of the seed.

    Returns:
        i32x16 or i32x8: the four words of the first block, then of the next.
    """
    words = i32x16 if buffer.dtype == types.float32 else i32x8
    number = types.uint64
    signature = types.UniTuple(words, 4 * len(blocks))(
        buffer, names, number, types.UniTuple(number, len(blocks)), number, number
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        stream = splat(builder, args[2], u64x8)
        draws = cgutils.unpack_tuple(builder, args[1])
        states = [
            [splat(builder, block, u64x8), stream, draws[2 * group], draws[2 * group + 1]]
            for block in cgutils.unpack_tuple(builder, args[3])
            for group in range(words.lanes // 8)
        ]
        result = _ten_rounds(builder, states, args[4:], words)
        return context.make_tuple(builder, signature.return_type, result)

    return signature, codegen


@intrinsic
def blocks_of_one(
    typingctx: Any, buffer: Any, stream: Any, draw: Any, first: Any, second: Any, k0: Any, k1: Any
) -> Any:
    """The words of blocks of one draw: a block in every lane, twice.

    Args (in numba):
        buffer: an array whose dtype says how many lanes: float32 for 16, float64 for 8.
        stream: uint64, what the words are for.
        draw: uint64, the draw number.
        first, second: uint64 block numbers; lane l has block `first + l`, or `second + l`.
        k0, k1: uint64, the halves of the seed.

    Returns:
        Eight i32x16 or i32x8: the four words of the first blocks, then of the second.
    """
    words = i32x16 if buffer.dtype == types.float32 else i32x8
    number = types.uint64
    signature = types.UniTuple(words, 8)(buffer, *[number] * 6)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low = ir.Constant(ir.IntType(64), _LOW)
        stream, draw_low, draw_high = (
            splat(builder, value, u64x8)
            for value in (
                args[1],
                builder.and_(args[2], low),
                builder.lshr(args[2], ir.Constant(ir.IntType(64), 32)),
            )
        )
        states = []
        for block in args[3:5]:
            for group in range(words.lanes // 8):
                steps = ir.Constant(llvm_type(u64x8), list(range(8 * group, 8 * group + 8)))
                blocks = builder.add(splat(builder, block, u64x8), steps)
                states.append([blocks, stream, draw_low, draw_high])
        result = _ten_rounds(builder, states, args[5:], words)
        return context.make_tuple(builder, signature.return_type, result)

    return signature, codegen


def _ten_rounds(builder: Any, states: list[list[Any]], keys: Any, words: Any) -> list[Any]:
    """All rounds for several states in step; the words of the first block, then of the next.

    Args:
        states: counters `[c0, c1, c2, c3]`, each u64x8; changed.
        keys: the halves of the seed.
        words: the vector type of the result.
    """
    mask, shift = constant(u64x8, _LOW), constant(u64x8, 32)

    def product(value: Any, multiplier: int) -> Any:
        return builder.mul(builder.and_(value, mask), constant(u64x8, multiplier))

    def round_keys(round_number: int, vector: Any) -> list[Any]:
        number = llvm_type(vector).element
        values = (
            builder.add(key, ir.IntType(64)(round_number * step))
            for key, step in zip(keys, (WEYL_0, WEYL_1), strict=True)
        )
        return [
            splat(builder, builder.trunc(value, number) if number.width < 64 else value, vector)
            for value in values
        ]

    def round_products(state: list[Any]) -> tuple[Any, Any]:
        return product(state[0], MULTIPLIER_0), product(state[2], MULTIPLIER_1)

    for round_number in range(ROUNDS - 1):
        k0, k1 = round_keys(round_number, u64x8)
        products = [round_products(state) for state in states]
        for state, (p0, p1) in zip(states, products, strict=True):
            c1, c3 = state[1], state[3]
            state[0] = builder.xor(builder.xor(builder.lshr(p1, shift), c1), k0)
            state[2] = builder.xor(builder.xor(builder.lshr(p0, shift), c3), k1)
            state[1], state[3] = p1, p0
        if round_number == 0:
            continue  # half of it is the same for all blocks, which LLVM would no longer see
        heads = in_step(builder, [state[word] for state in states for word in (0, 2)])
        for state, c0, c2 in zip(states, heads[0::2], heads[1::2], strict=True):
            state[0], state[2] = c0, c2
    k0, k1 = round_keys(ROUNDS - 1, words)
    groups = words.lanes // 8
    result = []
    for first in range(0, len(states), groups):
        mine = states[first : first + groups]
        p0, p1 = zip(*(round_products(state) for state in mine), strict=True)
        c1, c3 = (_join(builder, [state[word] for state in mine]) for word in (1, 3))
        result += [
            builder.xor(builder.xor(_join(builder, p1, 1), c1), k0),
            _join(builder, p1),
            builder.xor(builder.xor(_join(builder, p0, 1), c3), k1),
            _join(builder, p0),
        ]
    return result


def _join(builder: Any, groups: Any, half: int = 0) -> Any:
    """The low halves (or the high ones: 1) of one u64x8 as an i32x8, of two as an i32x16."""
    if len(groups) == 1:
        value = builder.lshr(groups[0], constant(u64x8, 32)) if half else groups[0]
        return builder.trunc(value, llvm_type(i32x8))
    first, second = (builder.bitcast(value, llvm_type(i32x16)) for value in groups)
    places = ir.Constant(ir.VectorType(ir.IntType(32), 16), list(range(half, 32, 2)))
    return builder.shuffle_vector(first, second, places)


@intrinsic
def low_words(typingctx: Any, a: Any) -> Any:
    """The low halves of one u64x8, as an i32x8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _join(builder, [args[0]])

    return i32x8(u64x8), codegen


def odd_shift(bits: int) -> int:
    """The lowest bit of an odd integer of a grid, where it lies in the top of a word."""
    return 7 if bits == 32 else 31 - bits


@intrinsic
def odd_integer(typingctx: Any, words: Any, bits: Any, place: Any) -> Any:
    """The odd integers of the uniform grids, as floats, `2**odd_shift(bits)` times too large.

    They are `priors.odd_integers` in lanes, left where they lie in the word: a mask and a bit are
    one instruction, shifting down would be another. `bits` (32, 16, 8) and `place` (which field of
    the word, from the low end) are literal. i32x16 gives f32x16, i32x8 gives f32x8, exactly.
    """
    if not (isinstance(bits, types.IntegerLiteral) and isinstance(place, types.IntegerLiteral)):
        return None
    floats = f32x16 if words == i32x16 else f32x8
    width, field = bits.literal_value, place.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        up = 32 - width * (field + 1)  # shifts the field to the top, its sign bit first
        if up:
            value = builder.shl(value, constant(words, up))
        # Twice the signed field and 1, from the lowest bit that counts on.
        low = 1 << odd_shift(width)
        value = builder.and_(value, constant(words, -2 * low))
        value = builder.or_(value, constant(words, low))
        return builder.sitofp(value, llvm_type(floats))

    return floats(words, bits, place), codegen
