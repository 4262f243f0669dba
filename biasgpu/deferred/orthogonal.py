"""Gram-Schmidt by the law: sums in a fixed order, everything projected out twice.

Two operations do all the work, here in NumPy, in `biasgpu.engines.cpu.rows` compiled to the bit.
`dots` adds the products of two rows in eight interleaved partial sums, then these in pairs.
`combine` adds multiples of rows one after the other. Nothing is fused.

Inputs are taken in blocks (one training input at a time, `BLOCK` test inputs at a time). A block is
projected onto the complement of all earlier directions and orthonormalised, and both once more:
once leaves what rounding makes of nearly dependent inputs, twice is enough (Giraud, Langou and
Rozloznik 2005; for blocks Barlow and Smoktunowicz 2013). Within a block, too, every row is
projected twice before the next one is looked at. An input whose new part is not above `DEPENDENT`
of its length brings no new direction: dividing by what may be nothing but rounding is never tried.
What passes this at first may turn out to be the rounding of the block's other rows; then it shrinks
when all is done once more, below half of that limit, and is dropped.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SUMS = 8  # partial sums of a product of rows
BLOCK = 32  # test inputs that are projected together
DEPENDENT = 2.0**-36


def dots(a: Floats, b: Floats) -> Floats:
    """All inner products of two sets of rows.

    Args:
        a: float64 `(n, length)`.
        b: float64 `(m, length)`.

    Returns:
        float64 `(n, m)`.
    """
    short = -a.shape[1] % SUMS
    a, b = (np.pad(rows, ((0, 0), (0, short))) for rows in (a, b))
    sums = np.zeros((len(a), len(b), SUMS))
    for k in range(0, a.shape[1], SUMS):
        sums += a[:, None, k : k + SUMS] * b[None, :, k : k + SUMS]
    sums = sums[..., :4] + sums[..., 4:]
    sums = sums[..., :2] + sums[..., 2:]
    return sums[..., 0] + sums[..., 1]


def combine(start: Floats, factors: Floats, rows: Floats) -> Floats:
    """`start + factors @ rows`, one row after the other.

    Args:
        start: float64 `(n, length)`.
        factors: float64 `(n, m)`.
        rows: float64 `(m, length)`.

    Returns:
        float64 `(n, length)`.
    """
    result = start.copy()
    for j in range(len(rows)):
        result += factors[:, j, None] * rows[None, j]
    return result


def blocks_of(n: int, singles: int) -> list[tuple[int, int]]:
    """The blocks that `n` inputs are taken in: the first `singles` one by one."""
    ends = [*range(1, min(n, singles) + 1), *range(singles + BLOCK, n + BLOCK, BLOCK)]
    ends = [min(end, n) for end in ends]
    return list(zip([0, *ends], ends, strict=False)) if n else []


def orthonormalize(x: Floats, singles: int) -> tuple[Floats, Floats]:
    """Orthonormal directions, one for each input, and the inputs in terms of them.

    Args:
        x: float64 `(n, length)`.
        singles: inputs that are taken one by one.

    Returns:
        `q`, float64 `(n, length)`: a direction for each input, zero where it brings none; and `r`,
        float64 `(n, n)`: row i has the coefficients of input i, which are zero behind i. The
        inputs are `r @ q` but for rounding.
    """
    q, r = np.zeros_like(x), np.zeros((len(x), len(x)))
    for begin, end in blocks_of(len(x), singles):
        before, block = q[:begin], x[begin:end]
        lengths = np.sqrt([dots(row[None], row[None])[0, 0] for row in block])
        first, rows = _project(before, block)
        inner, rows = _within(rows, DEPENDENT * lengths)
        second, rows = _project(before, rows)
        size = np.diag(inner)
        limits = 0.5 * (DEPENDENT * lengths) / np.where(size > 0, size, 1.0)
        outer, rows = _within(rows, np.where(size > 0, limits, 0.0))
        q[begin:end] = rows
        r[begin:end, :begin] = combine(first, inner, second)
        r[begin:end, begin:end] = combine(np.zeros_like(inner), inner, outer)
    return q, r


def _project(q: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Coefficients of `x` on `q`, and what is left of it."""
    factors = dots(x, q) if len(q) else np.zeros((len(x), 0))
    return factors, combine(x, -factors, q)


def _within(x: Floats, limits: Floats) -> tuple[Floats, Floats]:
    """Orthonormalise a block by itself: coefficients (lower triangular) and directions.

    Rows whose new part is not longer than their limit become zero.
    """
    q, r = np.zeros_like(x), np.zeros((len(x), len(x)))
    for i, row in enumerate(x):
        first, left = _project(q[:i], row[None])
        second, left = _project(q[:i], left)
        length = np.sqrt(dots(left, left)[0, 0])
        r[i, :i] = first[0] + second[0]
        if length > limits[i]:
            r[i, i] = length
            q[i] = left[0] / length
    return r, q
