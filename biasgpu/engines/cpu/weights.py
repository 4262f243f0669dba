"""One output unit's weights in SIMD lanes, from the names of its draws to a buffer.

Weights that are given rather than drawn lie in memory in the order in which they are asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.extending import overload

from biasgpu.engines.cpu.distinct import distinct
from biasgpu.engines.cpu.gaussian import normal_f64, normals_f32
from biasgpu.engines.cpu.memory import vector_at
from biasgpu.engines.cpu.philox import named, odd_integer, odd_shift, several_blocks
from biasgpu.engines.cpu.program import GIVEN, UNIFORM_8, UNIFORM_16, UNIFORM_32
from biasgpu.engines.cpu.simd import splat_like, store
from biasgpu.engines.cpu.vectors import (
    LANES_F32,
    LANES_F64,
    f32x8,
    f32x16,
    f64x8,
    intrinsic,
    llvm_type,
)
from biasgpu.rng import STREAM_WEIGHTS


@intrinsic
def to_float32_and_back(typingctx: Any, a: Any) -> Any:
    """f64x8 rounded to float32, as the canonical weights are."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = ir.VectorType(ir.FloatType(), f64x8.lanes)
        return builder.fpext(builder.fptrunc(args[0], narrow), llvm_type(f64x8))

    return f64x8(f64x8), codegen


@intrinsic
def float32_product(typingctx: Any, a: Any, b: Any) -> Any:
    """f32x8 times an f64x8 that holds float32 numbers: rounded to float32, as f64x8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.fmul(args[0], builder.fptrunc(args[1], llvm_type(f32x8)))
        return builder.fpext(product, llvm_type(f64x8))

    return f64x8(f32x8, f64x8), codegen


def scaled_normals(buffer: Any, words: Any, scale: Any) -> Any:
    """Normal weights from four vectors of words: quick in float32, canonical in float64."""
    raise NotImplementedError


@overload(scaled_normals, inline="always", strict=False)
def _scaled_normals(buffer: Any, words: Any, scale: Any) -> Any:
    if buffer.dtype == types.float32:

        def quick(buffer: Any, words: Any, scale: Any) -> Any:
            n = normals_f32(words)  # times 2^31
            s = scale * splat_like(buffer, np.float32(2.0**-31))
            return (n[0] * s, n[1] * s, n[2] * s, n[3] * s)

        return quick

    def canonical(buffer: Any, words: Any, scale: Any) -> Any:
        return (
            to_float32_and_back(normal_f64(words[0]) * scale),
            to_float32_and_back(normal_f64(words[1]) * scale),
            to_float32_and_back(normal_f64(words[2]) * scale),
            to_float32_and_back(normal_f64(words[3]) * scale),
        )

    return canonical


def scaled_odd(odd: Any, scale: Any) -> Any:
    """Uniform weights: an odd integer times the step, rounded once to float32.

    That `odd` is a power of two too large and `scale` as much too small changes no bit, as long as
    `scale` is a normal number (see `program.unsupported`).
    """
    raise NotImplementedError


@overload(scaled_odd, inline="always", strict=False)
def _scaled_odd(odd: Any, scale: Any) -> Any:
    if odd == f32x16:
        return lambda odd, scale: odd * scale
    return lambda odd, scale: float32_product(odd, scale)


def lanes(buffer: Any) -> Any:
    """How many lanes the vectors of a buffer have."""
    raise NotImplementedError


@overload(lanes, inline="always", strict=False)
def _lanes(buffer: Any) -> Any:
    count = LANES_F32 if buffer.dtype == types.float32 else LANES_F64
    return lambda buffer: count


def screening(buffer: Any) -> Any:
    """Whether a buffer's lanes screen (float32), and so need error bounds, or decide (float64)."""
    raise NotImplementedError


@overload(screening, inline="always", strict=False)
def _screening(buffer: Any) -> Any:
    answer = buffer.dtype == types.float32
    return lambda buffer: answer


@njit(forceinline=True)
def _uniform_32(buffer: Any, place: int, words: Any, factor: Any) -> None:
    width = lanes(buffer)
    for w in words:
        store(buffer, place, scaled_odd(odd_integer(w, 32, 0), factor))
        place += width


@njit(forceinline=True)
def _uniform_16(buffer: Any, place: int, words: Any, factor: Any) -> None:
    width = lanes(buffer)
    for w in words:
        store(buffer, place, scaled_odd(odd_integer(w, 16, 0), factor))
        store(buffer, place + width, scaled_odd(odd_integer(w, 16, 1), factor))
        place += 2 * width


@njit(forceinline=True)
def _uniform_8(buffer: Any, place: int, words: Any, factor: Any) -> None:
    width = lanes(buffer)
    for w in words:
        store(buffer, place, scaled_odd(odd_integer(w, 8, 0), factor))
        store(buffer, place + width, scaled_odd(odd_integer(w, 8, 1), factor))
        store(buffer, place + 2 * width, scaled_odd(odd_integer(w, 8, 2), factor))
        store(buffer, place + 3 * width, scaled_odd(odd_integer(w, 8, 3), factor))
        place += 4 * width


@njit(forceinline=True)
def _normal(buffer: Any, place: int, words: Any, factor: Any) -> None:
    width = lanes(buffer)
    for weight in scaled_normals(buffer, words, factor):
        store(buffer, place, weight)
        place += width


@njit(forceinline=True)
def _next(b: int, inside: int, at: int, total: int, n_blocks: int, per_block: int, gap: int) -> Any:
    """The block behind block b, its number within its unit, its place; the last stays itself."""
    if b + 1 == total:
        return b, inside, at
    if inside + 1 == n_blocks:
        return b + 1, 0, at + gap
    return b + 1, inside + 1, at + per_block


def _make_drawer(
    write: Any, weights_per_word: int, shrunk: float = 1.0, *, four: bool = False
) -> Any:
    """A loop over blocks that leaves what to do with their words to `write`.

    It takes two blocks at a time, or four: of eight lanes, that makes four states. What is too many
    at the end is the last block again. `write` is given the scale to multiply with, times `shrunk`.
    """

    @njit
    @distinct(write, "four" if four else "two")
    def draw(
        buffer: Any, stride: int, names: Any, block: int, n_blocks: int, count: int, scale: float,
        seed: Any,
    ) -> None:  # fmt: skip
        width = lanes(buffer)
        k0, k1 = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
        factor = splat_like(buffer, buffer.dtype.type(scale * shrunk))
        per_block = 4 * weights_per_word * width
        start, stream, draws = np.uint64(block), np.uint64(STREAM_WEIGHTS), named(buffer, names)
        # Between the places of a unit's last block and of the next one's first.
        gap = stride * width - (n_blocks - 1) * per_block
        total, b0, in0, at0 = count * n_blocks, 0, 0, 0
        for _ in range(0, total, 4 if four else 2):
            b1, in1, at1 = _next(b0, in0, at0, total, n_blocks, per_block, gap)
            c0, c1 = start + np.uint64(b0), start + np.uint64(b1)
            if four:
                b2, in2, at2 = _next(b1, in1, at1, total, n_blocks, per_block, gap)
                b3, in3, at3 = _next(b2, in2, at2, total, n_blocks, per_block, gap)
                blocks = (c0, c1, start + np.uint64(b2), start + np.uint64(b3))
                words = several_blocks(buffer, draws, stream, blocks, k0, k1)
                write(buffer, at0, words[:4], factor)
                write(buffer, at1, words[4:8], factor)
                write(buffer, at2, words[8:12], factor)
                write(buffer, at3, words[12:], factor)
                b0, in0, at0 = _next(b3, in3, at3, total, n_blocks, per_block, gap)
            else:
                words = several_blocks(buffer, draws, stream, (c0, c1), k0, k1)
                write(buffer, at0, words[:4], factor)
                write(buffer, at1, words[4:], factor)
                b0, in0, at0 = _next(b1, in1, at1, total, n_blocks, per_block, gap)

    return draw


def _make_drawers(*, four: bool) -> tuple[Any, ...]:
    """For each family, in the order of program.py; four blocks only where words are what costs."""
    return (
        _make_drawer(_uniform_32, 1, 2.0 ** -odd_shift(32), four=four),
        _make_drawer(_uniform_16, 2, 2.0 ** -odd_shift(16)),
        _make_drawer(_uniform_8, 4, 2.0 ** -odd_shift(8)),
        _make_drawer(_normal, 1),
    )


_SIXTEEN_LANES, _EIGHT_LANES = _make_drawers(four=False), _make_drawers(four=True)


@njit
def _copy(buffer: Any, stride: int, start: int, columns: int, count: int, address: Any) -> None:
    width = lanes(buffer)
    for unit in range(count):
        for k in range(columns):
            weight = vector_at(buffer, address, start + unit * columns + k)
            store(buffer, (unit * stride + k) * width, weight)


def draw_units(
    buffer: Any,
    stride: int,
    names: Any,
    block: int,
    n_blocks: int,
    count: int,
    family: int,
    scale: float,
    seed: Any,
) -> None:
    """Write the weights of `count` units to `buffer`, unit u from vector `u * stride` on.

    Whole blocks are written: up to 15 vectors behind a unit's last weight hold what nobody reads.

    Args (in numba):
        block, n_blocks: where unit 0 starts, and the blocks each unit owns; of given weights the
            vectors.
        seed: of given weights their address.
    """
    raise NotImplementedError


@overload(draw_units, strict=False)
def _draw_units(
    buffer: Any, stride: int, names: Any, block: int, n_blocks: int, count: int, family: int,
    scale: float, seed: Any,
) -> Any:  # fmt: skip
    drawers = _SIXTEEN_LANES if buffer.dtype == types.float32 else _EIGHT_LANES
    uniform_32, uniform_16, uniform_8, normal = drawers

    def draw(
        buffer: Any, stride: int, names: Any, block: int, n_blocks: int, count: int, family: int,
        scale: float, seed: Any,
    ) -> None:  # fmt: skip
        if family == UNIFORM_32:
            uniform_32(buffer, stride, names, block, n_blocks, count, scale, seed)
        elif family == UNIFORM_16:
            uniform_16(buffer, stride, names, block, n_blocks, count, scale, seed)
        elif family == UNIFORM_8:
            uniform_8(buffer, stride, names, block, n_blocks, count, scale, seed)
        elif family == GIVEN:
            _copy(buffer, stride, block, n_blocks, count, np.int64(seed))
        else:
            normal(buffer, stride, names, block, n_blocks, count, scale, seed)

    return draw
