"""Sums over rows of float64, compiled: those of method "deferred", bit for bit as in NumPy.

`biasgpu.deferred.orthogonal` defines the order of every sum; here four rows by four go at once, the
eight partial sums of an inner product being the lanes of a vector. Rows are padded with zeros to
whole vectors.

Cost: a 4 x 4 tile takes 8 loads for 16 vector products and 16 additions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types

from biasgpu.deferred.orthogonal import SUMS
from biasgpu.engines.cpu.simd import load, load_splat, splat_like, store
from biasgpu.engines.cpu.vectors import f64x8, intrinsic

CHUNK = 512  # elements of a row that stay in the first cache while tiles go over them
TILE = 4


@intrinsic
def add_lanes(typingctx: Any, a: Any) -> Any:
    """The sum of the lanes of an f64x8: the two halves, then theirs, then the last two."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], SUMS
        while width > 1:
            width //= 2
            low, high = (
                builder.shuffle_vector(
                    value,
                    value,
                    ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(at, at + width))),
                )
                for at in (0, width)
            )
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.IntType(32)(0))

    return types.float64(f64x8), codegen


@njit(forceinline=True)
def _madd4(a: Any, b: Any, c: Any) -> Any:
    return (c[0] + a * b[0], c[1] + a * b[1], c[2] + a * b[2], c[3] + a * b[3])


@njit(forceinline=True)
def _load4(x: Any, at: Any, offset: int) -> Any:
    return (
        load(x, at[0] + offset),
        load(x, at[1] + offset),
        load(x, at[2] + offset),
        load(x, at[3] + offset),
    )


@njit(forceinline=True)
def _store4(x: Any, at: Any, offset: int, values: Any) -> None:
    store(x, at[0] + offset, values[0])
    store(x, at[1] + offset, values[1])
    store(x, at[2] + offset, values[2])
    store(x, at[3] + offset, values[3])


@njit(forceinline=True)
def _four(i: int, n: int, stride: int, start: int) -> Any:
    """Where rows `i .. i + 3` begin; behind the last one it is repeated, which changes nothing."""
    last = n - 1
    return (
        start + i * stride,
        start + min(i + 1, last) * stride,
        start + min(i + 2, last) * stride,
        start + min(i + 3, last) * stride,
    )


@njit
def dots(
    a: Any, a_at: int, a_stride: int, n: int, b: Any, b_at: int, b_stride: int, m: int,
    length: int, sums: Any, out: Any, out_at: int, out_stride: int,
) -> None:  # fmt: skip
    """`out[i, j]` = the inner product of row i of `a` and row j of `b`.

    Args (in numba):
        a, b: flat; rows of `length` elements, a whole number of vectors.
        sums: scratch, `n * m * SUMS`.
    """
    if m == 0:
        return
    first: Any = np.int64(0)  # no literal, for which numba would compile `_four` again
    size: Any = np.int64(SUMS)
    zero = splat_like(a, 0.0)
    for i in range(n * m):
        store(sums, i * SUMS, zero)
    for begin in range(0, length, CHUNK):
        end = min(length, begin + CHUNK)
        for j in range(0, m, TILE):
            columns = _four(j, m, b_stride, b_at)
            for i in range(0, n, TILE):
                rows = _four(i, n, a_stride, a_at)
                places = _four(i, n, m * SUMS, first)
                across = _four(j, m, size, first)
                s0 = _load4(sums, across, places[0])
                s1 = _load4(sums, across, places[1])
                s2 = _load4(sums, across, places[2])
                s3 = _load4(sums, across, places[3])
                for k in range(begin, end, SUMS):
                    values = _load4(b, columns, k)
                    s0 = _madd4(load(a, rows[0] + k), values, s0)
                    s1 = _madd4(load(a, rows[1] + k), values, s1)
                    s2 = _madd4(load(a, rows[2] + k), values, s2)
                    s3 = _madd4(load(a, rows[3] + k), values, s3)
                _store4(sums, across, places[0], s0)
                _store4(sums, across, places[1], s1)
                _store4(sums, across, places[2], s2)
                _store4(sums, across, places[3], s3)
    for i in range(n):
        for j in range(m):
            out[out_at + i * out_stride + j] = add_lanes(load(sums, (i * m + j) * SUMS))


@njit
def combine(
    x: Any, x_at: int, x_stride: int, n: int, factors: Any, f_at: int, f_stride: int, sign: float,
    b: Any, b_at: int, b_stride: int, m: int, length: int, lower: bool,
) -> None:  # fmt: skip
    """Row i of `x` += sum over j of `sign * factors[i, j]` times row j of `b`, in this order.

    With `lower`, factors behind i are zero and left out.
    """
    width = TILE * SUMS
    last = length - SUMS
    for k in range(0, length, width):
        at = (k, min(k + SUMS, last), min(k + 2 * SUMS, last), min(k + 3 * SUMS, last))
        for i in range(0, n, TILE):
            rows = _four(i, n, x_stride, x_at)
            places = _four(i, n, f_stride, f_at)
            s0, s1 = _load4(x, at, rows[0]), _load4(x, at, rows[1])
            s2, s3 = _load4(x, at, rows[2]), _load4(x, at, rows[3])
            turn = splat_like(x, sign)
            for j in range(min(m, i + TILE) if lower else m):
                values = _load4(b, at, b_at + j * b_stride)
                s0 = _madd4(turn * load_splat(x, factors, places[0] + j), values, s0)
                s1 = _madd4(turn * load_splat(x, factors, places[1] + j), values, s1)
                s2 = _madd4(turn * load_splat(x, factors, places[2] + j), values, s2)
                s3 = _madd4(turn * load_splat(x, factors, places[3] + j), values, s3)
            _store4(x, at, rows[0], s0)
            _store4(x, at, rows[1], s1)
            _store4(x, at, rows[2], s2)
            _store4(x, at, rows[3], s3)


@njit
def length_of(x: Any, row: int, length: int) -> float:
    """The length of the row that begins at `row`, as by `dots`."""
    total = splat_like(x, 0.0)
    for k in range(row, row + length, SUMS):
        value = load(x, k)
        total = total + value * value
    return np.sqrt(add_lanes(total))
