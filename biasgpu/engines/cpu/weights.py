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
from biasgpu.engines.cpu.philox import odd_integer, two_blocks
from biasgpu.engines.cpu.program import GIVEN, UNIFORM_8, UNIFORM_16, UNIFORM_32
from biasgpu.engines.cpu.simd import splat_like, store
from biasgpu.engines.cpu.vectors import LANES_F32, LANES_F64, f32x16, f64x8, intrinsic, llvm_type
from biasgpu.rng import STREAM_WEIGHTS


@intrinsic
def to_float32_and_back(typingctx: Any, a: Any) -> Any:
    """f64x8 rounded to float32, as the canonical weights are."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = ir.VectorType(ir.FloatType(), f64x8.lanes)
        return builder.fpext(builder.fptrunc(args[0], narrow), llvm_type(f64x8))

    return f64x8(f64x8), codegen


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
    """Uniform weights: an odd integer times the step, rounded once to float32."""
    raise NotImplementedError


@overload(scaled_odd, inline="always", strict=False)
def _scaled_odd(odd: Any, scale: Any) -> Any:
    if odd == f32x16:
        return lambda odd, scale: odd * scale
    # 24 bits times 24 bits is exact in float64, so this is the float32 product.
    return lambda odd, scale: to_float32_and_back(odd * scale)


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


def _make_drawer(write: Any, weights_per_word: int) -> Any:
    """A loop over blocks, two at a time, that leaves what to do with their words to `write`."""

    @njit
    @distinct(write)
    def draw(
        buffer: Any, stride: int, names: Any, block: int, n_blocks: int, count: int, scale: float,
        seed: Any,
    ) -> None:  # fmt: skip
        width = lanes(buffer)
        k0, k1 = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
        factor = splat_like(buffer, buffer.dtype.type(scale))
        per_block = 4 * weights_per_word * width
        total = count * n_blocks
        unit, inside = 0, 0  # of the block at hand: its unit, and its number within that
        for b in range(0, total, 2):
            here = unit * stride * width + inside * per_block
            inside += 1
            if inside == n_blocks:
                unit, inside = unit + 1, 0
            there, other = unit * stride * width + inside * per_block, b + 1
            if other == total:  # an odd one out is made twice
                there, other = here, b
            inside += 1
            if inside == n_blocks:
                unit, inside = unit + 1, 0
            words = two_blocks(
                buffer,
                names,
                np.uint64(STREAM_WEIGHTS),
                np.uint64(block + b),
                np.uint64(block + other),
                k0,
                k1,
            )
            write(buffer, here, words[:4], factor)
            write(buffer, there, words[4:], factor)

    return draw


_draw_uniform_32 = _make_drawer(_uniform_32, 1)
_draw_uniform_16 = _make_drawer(_uniform_16, 2)
_draw_uniform_8 = _make_drawer(_uniform_8, 4)
_draw_normal = _make_drawer(_normal, 1)


@njit
def _copy(buffer: Any, stride: int, start: int, columns: int, count: int, address: int) -> None:
    width = lanes(buffer)
    for unit in range(count):
        for k in range(columns):
            weight = vector_at(buffer, address, start + unit * columns + k)
            store(buffer, (unit * stride + k) * width, weight)


@njit
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
    if family == UNIFORM_32:
        _draw_uniform_32(buffer, stride, names, block, n_blocks, count, scale, seed)
    elif family == UNIFORM_16:
        _draw_uniform_16(buffer, stride, names, block, n_blocks, count, scale, seed)
    elif family == UNIFORM_8:
        _draw_uniform_8(buffer, stride, names, block, n_blocks, count, scale, seed)
    elif family == GIVEN:
        _copy(buffer, stride, block, n_blocks, count, np.int64(seed))
    else:
        _draw_normal(buffer, stride, names, block, n_blocks, count, scale, seed)
