"""The law of method "deferred", compiled: sums over rows of float64, bit for bit as in NumPy.

`biasgpu.deferred.orthogonal` defines the order of every sum; here four rows by four go at once, the
eight partial sums of an inner product being the lanes of a vector. Rows are padded with zeros to
whole vectors.

Cost: a 4 x 4 tile takes 8 loads for 16 vector products and 16 additions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types

from biasgpu.deferred.orthogonal import DEPENDENT, RELAPSED, SUMS, blocks_of
from biasgpu.deferred.plan import GROUP, LANES, Layer, Plan
from biasgpu.deferred.reference import Arithmetic
from biasgpu.deferred.words import blocks_for
from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.gaussian import normal_f64
from biasgpu.engines.cpu.philox import blocks_of_one
from biasgpu.engines.cpu.simd import load, load_splat, splat_like, store
from biasgpu.engines.cpu.vectors import f64x8, intrinsic
from biasgpu.rng import STREAM_DIRECTIONS, STREAM_OUTPUTS, STREAM_REST

Floats = npt.NDArray[np.float64]
CHUNK = 512  # elements of a row that stay in the first cache while tiles go over them
TILE = 4
HALF = LANES // 2


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
    zero = splat_like(a, 0.0)
    for i in range(n * m):
        store(sums, i * SUMS, zero)
    for begin in range(0, length, CHUNK):
        end = min(length, begin + CHUNK)
        for j in range(0, m, TILE):
            columns = _four(j, m, b_stride, b_at)
            for i in range(0, n, TILE):
                rows = _four(i, n, a_stride, a_at)
                places = _four(i, n, m * SUMS, 0)
                across = _four(j, m, SUMS, 0)
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
    b: Any, b_at: int, b_stride: int, m: int, length: int,
) -> None:  # fmt: skip
    """Row i of `x` += sum over j of `sign * factors[i, j]` times row j of `b`, in this order."""
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
            for j in range(m):
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
def _length(x: Any, row: int, length: int) -> float:
    """The length of the row that begins at `row`, as by `dots`."""
    total = splat_like(x, 0.0)
    for k in range(row, row + length, SUMS):
        value = load(x, k)
        total = total + value * value
    return np.sqrt(add_lanes(total))


@njit
def _append(
    x: Any, begin: int, i: int, length: int, size: float, limit: float, r: Any, width: int,
    factors: Any, sums: Any,
) -> None:  # fmt: skip
    """`orthogonal._append` in place: row i of `x`."""
    row, r_at, n = i * length, i * width, i - begin
    # One call in a loop, not three: what is compiled is laid into every call.
    for turn in range(3):
        at, count = begin * length, n
        if turn == 1:
            if n == 0 or _length(x, row, length) >= RELAPSED:
                continue
            at, count = 0, begin
        dots(x, row, length, 1, x, at, length, count, length, sums, factors, 0, count)
        combine(x, row, length, 1, factors, 0, count, -1.0, x, at, length, count, length)
        for j in range(count):
            if turn == 0:
                r[r_at + begin + j] = factors[j]
            elif turn == 1:
                r[r_at + j] += size * factors[j]
            else:
                r[r_at + begin + j] = size * (r[r_at + begin + j] + factors[j])
    left = _length(x, row, length)
    new = size * left > 0.5 * limit
    r[r_at + i] = size * left if new else 0.0
    for k in range(length):
        x[row + k] = x[row + k] / left if new else 0.0


def _make_orthonormalize() -> Any:
    digest = source_digest()

    @compiled
    def orthonormalize(x: Any, length: int, ends: Any, r: Any, width: int) -> None:
        """Rows of `x` become directions; `r`, `(n, width)` and zero before, the coefficients."""
        _ = digest
        begin = 0
        for end in ends:
            n = end - begin
            at, r_at = begin * length, begin * width
            sums = np.empty(n * max(begin, n) * SUMS)
            factors = np.empty(max(n * begin, n))
            limits, sizes = np.empty(n), np.empty(n)
            for i in range(n):
                limits[i] = DEPENDENT * _length(x, at + i * length, length)
            for turn in range(2):
                dots(x, at, length, n, x, 0, length, begin, length, sums, factors, 0, begin)
                combine(x, at, length, n, factors, 0, begin, -1.0, x, 0, length, begin, length)
                for i in range(n):
                    row, place = at + i * length, r_at + i * width
                    if turn == 1:
                        for j in range(begin):
                            r[place + j] += sizes[i] * factors[i * begin + j]
                        continue
                    for j in range(begin):
                        r[place + j] = factors[i * begin + j]
                    sizes[i] = _length(x, row, length)
                    new = sizes[i] > limits[i]
                    for k in range(length):
                        x[row + k] = x[row + k] / sizes[i] if new else 0.0
                    sizes[i] = sizes[i] if new else 0.0
            for i in range(n):
                size, limit = sizes[i], limits[i]
                _append(x, begin, begin + i, length, size, limit, r, width, factors, sums)
            begin = end

    return orthonormalize


def _make_normals() -> Any:
    digest = source_digest()

    @compiled
    def normals(
        out: Any, stride: int, n: int, seed: Any, draw: Any, stream: Any, first: Any, step: Any,
        groups: int,
    ) -> None:  # fmt: skip
        """`groups` groups of normals for `n` runs of blocks from `first` on, `step` apart."""
        _ = digest
        k0, k1 = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
        for row in range(n):
            for group in range(groups):
                block = first + np.uint64(row) * step + np.uint64(LANES * group)
                words = blocks_of_one(out, stream, draw, block, block + np.uint64(HALF), k0, k1)
                at = row * stride + GROUP * group
                store(out, at, normal_f64(words[0]))
                store(out, at + HALF, normal_f64(words[4]))
                store(out, at + LANES, normal_f64(words[1]))
                store(out, at + LANES + HALF, normal_f64(words[5]))
                store(out, at + 2 * LANES, normal_f64(words[2]))
                store(out, at + 2 * LANES + HALF, normal_f64(words[6]))
                store(out, at + 3 * LANES, normal_f64(words[3]))
                store(out, at + 3 * LANES + HALF, normal_f64(words[7]))

    return normals


def _make_products() -> Any:
    digest = source_digest()

    @compiled
    def products(a: Any, n: int, b: Any, m: int, length: int, out: Any) -> None:
        """`dots` of all rows, so many of `a` at a time that they stay in the cache."""
        _ = digest
        size = 32
        sums = np.empty(min(n, size) * m * SUMS)
        for i in range(0, n, size):
            rows = min(size, n - i)
            dots(a, i * length, length, rows, b, 0, length, m, length, sums, out, i * m, m)

    return products


def _make_sums() -> Any:
    digest = source_digest()

    @compiled
    def sums(x: Any, n: int, factors: Any, b: Any, m: int, length: int) -> None:
        """`combine` of all rows."""
        _ = digest
        combine(x, 0, length, n, factors, 0, m, 1.0, b, 0, length, m, length)

    return sums


_orthonormalize, _normals, _products, _sums = (
    _make_orthonormalize(),
    _make_normals(),
    _make_products(),
    _make_sums(),
)


def _padded(rows: Floats) -> Floats:
    """Rows of whole vectors, contiguous."""
    short = -rows.shape[1] % SUMS
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, short))) if short else rows)


def _dots(a: Floats, b: Floats) -> Floats:
    a, b = _padded(a), _padded(b)
    out = np.empty((len(a), len(b)))
    if out.size:
        _products(a.reshape(-1), len(a), b.reshape(-1), len(b), a.shape[1], out.reshape(-1))
    return out


def _combine(start: Floats, factors: Floats, rows: Floats) -> Floats:
    x = _padded(start)
    x = x.copy() if x is start or x.base is not None else x
    if x.size and len(rows):
        rows, factors = _padded(rows), np.ascontiguousarray(factors)
        _sums(x.reshape(-1), len(x), factors.reshape(-1), rows.reshape(-1), len(rows), x.shape[1])
    return x[:, : start.shape[1]]


def orthonormalize_rows(x: Floats, singles: int) -> tuple[Floats, Floats]:
    """`orthogonal.orthonormalize`, compiled."""
    q = _padded(x)
    q = q.copy() if q is x or q.base is not None else q
    r = np.zeros((len(q), len(q)))
    ends = np.array([end for _, end in blocks_of(len(q), singles)], dtype=np.int64)
    if q.size:
        _orthonormalize(q.reshape(-1), q.shape[1], ends, r.reshape(-1), len(q))
    return q[:, : x.shape[1]], r


def _directions(seed: int, draw: int, plan: Plan, layer: int, n: int) -> Floats:
    units = plan.layers[layer].units
    if layer == len(plan.layers) - 1:
        # The words lie in natural order here: a group's blocks, each with its four.
        groups = -(-n * units // GROUP)
        flat = _run(seed, draw, STREAM_OUTPUTS, 0, 0, 1, groups)
        return flat.reshape(groups, 4, LANES).swapaxes(1, 2).reshape(-1)[: n * units].reshape(n, -1)
    offset = plan.layers[layer].offset
    first = offset // GROUP
    groups = -(-(offset + units) // GROUP) - first
    values = _run(seed, draw, STREAM_DIRECTIONS, LANES * first, plan.blocks, n, groups)
    begin = offset - GROUP * first
    return values[:, begin : begin + units]


def _rest(seed: int, draw: int, layer: Layer, number: int, first: int, n: int) -> Floats:
    step = blocks_for(layer.columns)
    values = _run(seed, draw, STREAM_REST + number, first * step, step, n, step // LANES)
    return values[:, : layer.columns]


def _run(seed: int, draw: int, stream: int, first: int, step: int, n: int, groups: int) -> Floats:
    out = np.empty((n, GROUP * groups))
    _normals(
        out.reshape(-1), GROUP * groups, n, np.uint64(seed), np.uint64(draw), np.uint64(stream),
        np.uint64(first), np.uint64(step), groups,
    )  # fmt: skip
    return out


COMPILED = Arithmetic(_dots, _combine, orthonormalize_rows, _directions, _rest)
