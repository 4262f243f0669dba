"""One input's pass over the units of a layer, under method "deferred".

Units lie in the lanes of a vector. A pass makes random normals, puts pre-activations together,
rectifies them, keeps them, and multiplies them with those of the inputs before. Normals and
activations of a draw stay in the thread's buffers (for a width of 512 in the first cache), so that
nothing is made twice. Inner products are added eight vectors at a time in float32, these sums in
float64: see factor.py.

Cost of input i for 16 units in float32: one vector of normals (52 operations), 2 i + 3 fused
products, a maximum, 2 i + 1 loads and 2 stores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.extending import overload

from biasgpu.deferred.plan import GROUP, LANES
from biasgpu.engines.cpu.gaussian import normal_f64
from biasgpu.engines.cpu.octaves import ABSOLUTE_ERROR, RELATIVE_ERROR, quick_normals
from biasgpu.engines.cpu.philox import blocks_of_one
from biasgpu.engines.cpu.simd import add_to_wide, load, madd, relu, splat_like, store, widen
from biasgpu.engines.cpu.vectors import element_pointer, f64x16, intrinsic, llvm_type
from biasgpu.engines.cpu.weights import lanes
from biasgpu.rng import STREAM_DIRECTIONS

# Columns of a layer's row of integers.
UNITS, BIAS, RECTIFIED, OFFSET, N_COLUMNS = range(5)
VECTORS = 8  # of units that are taken at once
CHUNK = LANES * VECTORS


def _constant(screening: float, exact: float) -> Any:
    """A function of a buffer: one number for float32, another for float64."""

    def choose(buffer: Any) -> Any:
        raise NotImplementedError

    @overload(choose, inline="always", strict=False)
    def _choose(buffer: Any) -> Any:
        value = screening if buffer.dtype == types.float32 else exact
        return lambda buffer: value

    return choose


unit = _constant(2.0**-31, 1.0)  # what the normals in a buffer are to be multiplied with
roundoff = _constant(2.0**-24, 2.0**-53)
# How far a normal in a buffer may be from the law's: so much of it, and so much.
relative_error = _constant(RELATIVE_ERROR * (1.0 + 2.0**-10), 0.0)
absolute_error = _constant(ABSOLUTE_ERROR, 0.0)
# What an inner product rounds before it is added up in float64: six roundings at most.
product_error = _constant(6 * 2.0**-24, 0.0)


def make_normals(g: Any, at: int, stream: Any, draw: Any, block: Any, k0: Any, k1: Any) -> None:
    """A group of normals in the order of words.py, `1 / unit` times too large, to `g` from `at`."""
    raise NotImplementedError


@overload(make_normals, inline="always", strict=False)
def _make_normals(g: Any, at: int, stream: Any, draw: Any, block: Any, k0: Any, k1: Any) -> Any:
    if g.dtype == types.float32:

        def quick(g: Any, at: int, stream: Any, draw: Any, block: Any, k0: Any, k1: Any) -> None:
            words = blocks_of_one(g, stream, draw, block, block, k0, k1)
            _store4(g, at, quick_normals(words[:4]))

        return quick

    def exact(g: Any, at: int, stream: Any, draw: Any, block: Any, k0: Any, k1: Any) -> None:
        half = LANES // 2
        words = blocks_of_one(g, stream, draw, block, block + np.uint64(half), k0, k1)
        store(g, at, normal_f64(words[0]))
        store(g, at + half, normal_f64(words[4]))
        store(g, at + LANES, normal_f64(words[1]))
        store(g, at + LANES + half, normal_f64(words[5]))
        store(g, at + 2 * LANES, normal_f64(words[2]))
        store(g, at + 2 * LANES + half, normal_f64(words[6]))
        store(g, at + 3 * LANES, normal_f64(words[3]))
        store(g, at + 3 * LANES + half, normal_f64(words[7]))

    return exact


def _make_chunk(g: Any, at: int, draw: Any, block: Any, k0: Any, k1: Any) -> None:
    """Two groups of a direction's normals to `g` from `at` on."""
    raise NotImplementedError


@overload(_make_chunk, inline="always", strict=False)
def _make_chunk_of(g: Any, at: int, draw: Any, block: Any, k0: Any, k1: Any) -> Any:
    if g.dtype == types.float32:

        def quick(g: Any, at: int, draw: Any, block: Any, k0: Any, k1: Any) -> None:
            stream = np.uint64(STREAM_DIRECTIONS)
            words = blocks_of_one(g, stream, draw, block, block + np.uint64(LANES), k0, k1)
            _store4(g, at, quick_normals(words[:4]))
            _store4(g, at + GROUP, quick_normals(words[4:]))

        return quick

    def exact(g: Any, at: int, draw: Any, block: Any, k0: Any, k1: Any) -> None:
        stream = np.uint64(STREAM_DIRECTIONS)
        make_normals(g, at, stream, draw, block, k0, k1)
        make_normals(g, at + GROUP, stream, draw, block + np.uint64(LANES), k0, k1)

    return exact


@njit(forceinline=True)
def _load4(x: Any, at: int) -> Any:
    return (load(x, at), load(x, at + 16), load(x, at + 32), load(x, at + 48))


@njit(forceinline=True)
def _times4(a: Any, x: Any) -> Any:
    return (a * x[0], a * x[1], a * x[2], a * x[3])


@njit(forceinline=True)
def _madd4(a: Any, x: Any, y: Any) -> Any:
    return (madd(a, x[0], y[0]), madd(a, x[1], y[1]), madd(a, x[2], y[2]), madd(a, x[3], y[3]))


@njit(forceinline=True)
def _relu4(x: Any) -> Any:
    return (relu(x[0]), relu(x[1]), relu(x[2]), relu(x[3]))


@njit(forceinline=True)
def _store4(x: Any, at: int, y: Any) -> None:
    store(x, at, y[0])
    store(x, at + 16, y[1])
    store(x, at + 32, y[2])
    store(x, at + 48, y[3])


@intrinsic
def _add_up(typingctx: Any, array: Any, index: Any) -> Any:
    """The sum of sixteen elements of a float64 array, in whatever order is quick."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = llvm_type(f64x16)
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1])
        value = builder.load(builder.bitcast(pointer, wide.as_pointer()), align=8)
        width = f64x16.lanes
        while width > 1:
            width //= 2
            masks = [
                ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(at, at + width)))
                for at in (0, width)
            ]
            value = builder.fadd(*(builder.shuffle_vector(value, value, mask) for mask in masks))
        return builder.extract_element(value, ir.IntType(32)(0))

    return types.float64(array, types.intp), codegen


@njit(forceinline=True)
def _dot8(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The products of eight vectors with eight, added in two chains of four, then in float64."""
    one, two = a[0] * b[0], c[0] * d[0]
    one, two = madd(a[1], b[1], one), madd(c[1], d[1], two)
    one, two = madd(a[2], b[2], one), madd(c[2], d[2], two)
    return widen(madd(a[3], b[3], one) + madd(c[3], d[3], two))


def _full_chunks(
    g: Any, h: Any, base: int, stride: int, begin: int, end: int, rectified: bool, i: int, a: Any,
    a_at: int, sums: Any, made: int, draw: Any, block: Any, k0: Any, k1: Any,
) -> Any:  # fmt: skip
    """Eight vectors at a time while there are as many; returns where it stopped, normals made."""
    raise NotImplementedError


@njit(forceinline=True)
def _chunks_f32(
    g: Any, h: Any, base: int, stride: int, begin: int, end: int, rectified: bool, i: int, a: Any,
    a_at: int, sums: Any, made: int, draw: Any, block: Any, k0: Any, k1: Any,
) -> Any:  # fmt: skip
    row = base + i * stride
    while begin + CHUNK <= end:
        while made < begin + CHUNK:
            _make_chunk(g, row + made, draw, block + np.uint64(made // 4), k0, k1)
            made += CHUNK
        factor = splat_like(g, a[a_at + i])
        low, high = _load4(g, row + begin), _load4(g, row + begin + 64)
        add_to_wide(sums, 16 * (i + 1), _dot8(low, low, high, high))
        low, high = _times4(factor, low), _times4(factor, high)
        for j in range(i):
            factor, at = splat_like(g, a[a_at + j]), base + j * stride + begin
            low = _madd4(factor, _load4(g, at), low)
            high = _madd4(factor, _load4(g, at + 64), high)
        if rectified:
            low, high = _relu4(low), _relu4(high)
        _store4(h, row + begin, low)
        _store4(h, row + begin + 64, high)
        add_to_wide(sums, 16 * i, _dot8(low, low, high, high))
        for j in range(i):
            at = base + j * stride + begin
            add_to_wide(sums, 16 * j, _dot8(low, _load4(h, at), high, _load4(h, at + 64)))
        begin += CHUNK
    return begin, made


@overload(_full_chunks, inline="always", strict=False)
def _full_chunks_of(
    g: Any, h: Any, base: int, stride: int, begin: int, end: int, rectified: bool, i: int, a: Any,
    a_at: int, sums: Any, made: int, draw: Any, block: Any, k0: Any, k1: Any,
) -> Any:  # fmt: skip
    if g.dtype == types.float32:
        return _chunks_f32.py_func

    def none(
        g: Any, h: Any, base: int, stride: int, begin: int, end: int, rectified: bool, i: int,
        a: Any, a_at: int, sums: Any, made: int, draw: Any, block: Any, k0: Any, k1: Any,
    ) -> Any:  # fmt: skip
        return begin, made

    return none


# Inlined, for numba counts references to arrays at every call: a tenth of a microsecond.
@njit(inline="always")
def layer_pass(
    g: Any, h: Any, base: int, stride: int, offset: int, units: int, rectified: bool, masks: Any,
    mask: int, i: int, a: Any, a_at: int, sums: Any, made: int, draw: Any, block: Any, k0: Any,
    k1: Any, dots: Any, dots_at: int,
) -> None:  # fmt: skip
    """Input i through a layer.

    Args (in numba):
        g, h: `(inputs, stride)` from `base` on: normals, activations.
        masks: 1 for the lanes of the last sixteen that are units, else 0, from `mask` on.
        a: from `a_at` on, coefficients of input i.
        sums: float64 `(i + 2, 16)`, scratch.
        made: normals of direction i that are made already.
        block: the direction's first block.
        dots: float64, from `dots_at` on: receives inner products of the activations of input i with
            those of inputs 0 to i, then the square of its normals' length, as they are in `g`.
    """
    row, width = base + i * stride, lanes(g)
    zero = splat_like(sums, 0.0)
    for j in range(2 * (i + 2)):
        store(sums, 8 * j, zero)
    end = offset + units
    begin, made = _full_chunks(
        g, h, base, stride, offset, end, rectified, i, a, a_at, sums, made, draw, block, k0, k1
    )
    # The last sixteen units may not be all there: what lies behind them is another layer's.
    padded = offset + (units + LANES - 1) // LANES * LANES
    for place in range(begin, padded, width):
        while made < place + width:
            _make_chunk(g, row + made, draw, block + np.uint64(made // 4), k0, k1)
            made += CHUNK
        value = load(g, row + place)
        there = load(masks, mask + (place - offset) % LANES)
        whole = place + width <= end
        if not whole:
            value = value * there
        wide = widen(value)
        add_to_wide(sums, 16 * (i + 1), wide * wide)
        value = splat_like(g, a[a_at + i]) * value
        for j in range(i):
            factor = splat_like(g, a[a_at + j])
            value = madd(factor, load(g, base + j * stride + place), value)
        if not whole:
            value = value * there
        if rectified:
            value = relu(value)
        store(h, row + place, value)
        wide = widen(value)
        add_to_wide(sums, 16 * i, wide * wide)
        for j in range(i):
            add_to_wide(sums, 16 * j, wide * widen(load(h, base + j * stride + place)))
    for j in range(i + 2):
        dots[dots_at + j] = _add_up(sums, 16 * j)
