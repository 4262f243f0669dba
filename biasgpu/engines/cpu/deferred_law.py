"""The arithmetic of method "deferred", compiled: what `biasgpu.deferred.exact` computes with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.deferred.orthogonal import SUMS, blocks_of
from biasgpu.deferred.plan import GROUP, LANES, Layer, Plan
from biasgpu.deferred.reference import Arithmetic
from biasgpu.deferred.words import blocks_for
from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.gram_schmidt import make_orthonormalize
from biasgpu.engines.cpu.rows import combine, dots
from biasgpu.engines.cpu.units import make_normals
from biasgpu.rng import STREAM_DIRECTIONS, STREAM_OUTPUTS, STREAM_REST

Floats = npt.NDArray[np.float64]


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
                make_normals(out, row * stride + GROUP * group, stream, draw, block, k0, k1)

    return normals


def _make_products() -> Any:
    digest = source_digest()

    @compiled
    def products(a: Any, n: int, b: Any, m: int, length: int, out: Any) -> None:
        """`dots` of all rows, so many of `a` at a time that they stay in the cache."""
        _ = digest
        zero: Any = np.int64(0)  # not a literal: see gram_schmidt.py
        size = 32
        sums = np.empty(min(n, size) * m * SUMS)
        for i in range(0, n, size):
            rows = min(size, n - i)
            dots(a, i * length, length, rows, b, zero, length, m, length, sums, out, i * m, m)

    return products


def _make_sums() -> Any:
    digest = source_digest()

    @compiled
    def sums(
        x: Any, n: int, factors: Any, b: Any, at: int, stride: int, m: int, length: int,
        lower: bool,
    ) -> None:  # fmt: skip
        """`combine` of all rows; those of `b` begin at `at`, `stride` apart."""
        _ = digest
        zero: Any = np.int64(0)
        combine(x, zero, length, n, factors, zero, m, 1.0, b, at, stride, m, length, lower)

    return sums


_orthonormalize, _normals, _products, _sums = (
    make_orthonormalize(),
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
        length = x.shape[1]
        _sums(
            x.reshape(-1), len(x), factors.reshape(-1), rows.reshape(-1), 0, length, len(rows),
            length, False,
        )  # fmt: skip
    return x[:, : start.shape[1]]


def _images(factors: Floats, rows: Floats) -> Floats:
    n, units = rows.shape
    x = np.zeros((n, units + -units % SUMS))
    base = rows.base
    if base is None or base.ndim != 2 or not base.flags.c_contiguous:
        base = rows = _padded(rows)
    if x.size:
        # Rows of directions as they were made, part of a longer one each: not copied.
        at = (rows.ctypes.data - base.ctypes.data) // 8
        _sums(
            x.reshape(-1), n, np.ascontiguousarray(factors).reshape(-1), base.reshape(-1), at,
            rows.strides[0] // 8, n, x.shape[1], True,
        )  # fmt: skip
    return x[:, :units]


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


COMPILED = Arithmetic(_dots, _combine, _images, orthonormalize_rows, _directions, _rest)
