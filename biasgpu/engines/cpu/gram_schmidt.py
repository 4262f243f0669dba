"""Gram-Schmidt of method "deferred", compiled: `biasgpu.deferred.orthogonal`, bit for bit.

What is compiled is laid into every place that calls it, and takes its time to compile there: hence
loops over turns where the plain form has calls one after the other. Numba also compiles a function
again for every literal that it is given: hence `zero`, which is none, and the 1 for a single row,
whose code is worth it (a third less time for rows of 100,000).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.deferred.orthogonal import DEPENDENT, RELAPSED, SUMS
from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.rows import combine, dots, length_of


@njit(inline="always")
def _append(
    x: Any, begin: int, i: int, length: int, size: float, limit: float, r: Any, width: int,
    factors: Any, sums: Any,
) -> None:  # fmt: skip
    """`orthogonal._append` in place: row i of `x`."""
    row, r_at, n = i * length, i * width, i - begin
    zero: Any = np.int64(0)
    whole: Any = np.bool_(False)
    # One call in a loop, not three: what is compiled is laid into every call.
    for turn in range(3):
        at, count = begin * length, n
        if turn == 1:
            if n == 0 or length_of(x, row, length) >= RELAPSED:
                continue
            at, count = 0, begin
        dots(x, row, length, 1, x, at, length, count, length, sums, factors, zero, count)
        combine(x, row, length, 1, factors, zero, count, -1.0, x, at, length, count, length, whole)
        for j in range(count):
            if turn == 0:
                r[r_at + begin + j] = factors[j]
            elif turn == 1:
                r[r_at + j] += size * factors[j]
            else:
                r[r_at + begin + j] = size * (r[r_at + begin + j] + factors[j])
    left = length_of(x, row, length)
    new = size * left > 0.5 * limit
    r[r_at + i] = size * left if new else 0.0
    for k in range(length):
        x[row + k] = x[row + k] / left if new else 0.0


def make_orthonormalize() -> Any:
    """The compiled function; its machine code is kept until one of its sources changes."""
    digest = source_digest()

    @compiled
    def orthonormalize(x: Any, length: int, ends: Any, r: Any, width: int) -> None:
        """Rows of `x` become directions; `r`, `(n, width)` and zero before, the coefficients."""
        _ = digest
        zero: Any = np.int64(0)
        whole: Any = np.bool_(False)
        begin: Any = np.int64(0)
        for end in ends:
            n = end - begin
            at, r_at = begin * length, begin * width
            sums = np.empty(n * max(begin, n) * SUMS)
            factors = np.empty(max(n * begin, n))
            limits, sizes = np.empty(n), np.empty(n)
            for i in range(n):
                limits[i] = DEPENDENT * length_of(x, at + i * length, length)
            for turn in range(2):
                dots(x, at, length, n, x, zero, length, begin, length, sums, factors, zero, begin)
                combine(
                    x, at, length, n, factors, zero, begin, -1.0, x, zero, length, begin, length,
                    whole,
                )  # fmt: skip
                for i in range(n):
                    row, place = at + i * length, r_at + i * width
                    if turn == 1:
                        for j in range(begin):
                            r[place + j] += sizes[i] * factors[i * begin + j]
                        continue
                    for j in range(begin):
                        r[place + j] = factors[i * begin + j]
                    sizes[i] = length_of(x, row, length)
                    new = sizes[i] > limits[i]
                    for k in range(length):
                        x[row + k] = x[row + k] / sizes[i] if new else 0.0
                    sizes[i] = sizes[i] if new else 0.0
            for i in range(n):
                size, limit = sizes[i], limits[i]
                _append(x, begin, begin + i, length, size, limit, r, width, factors, sums)
            begin = end

    return orthonormalize
