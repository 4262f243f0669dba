"""Gram-Schmidt by the law: sums in a fixed order, everything projected out twice.

Two operations do all the work, here in NumPy, in `biasgpu.engines.cpu.rows` compiled to the bit.
`dots` adds the products of two rows in eight interleaved partial sums, then these in pairs.
`combine` adds multiples of rows one after the other. Nothing is fused.

Inputs are taken in blocks (one training input at a time, `BLOCK` test inputs at a time). A block is
projected onto the complement of all earlier directions twice: once leaves what rounding makes of
nearly dependent inputs, twice is enough (Giraud, Langou and Rozloznik 2005). Then its rows follow
each other, projected twice onto the complement of those before them; where less than `RELAPSED` is
left of a row, so that what rounding left of the earlier directions has grown beside it, these are
projected out of it a third time in between. An input whose new part is not above `DEPENDENT` of its
length brings no new direction: dividing by what may be nothing but rounding is never tried.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SUMS = 8  # partial sums of a product of rows
BLOCK = 32  # test inputs that are projected together
DEPENDENT = 2.0**-36
RELAPSED = 0.5


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


def images(factors: Floats, rows: Floats) -> Floats:
    """`combine` from zero, where row i of `factors` is zero behind its element i.

    Args:
        factors: float64 `(n, n)`, lower triangular.
        rows: float64 `(n, length)`.

    Returns:
        float64 `(n, length)`.
    """
    return combine(np.zeros_like(rows), factors, rows)


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
        limits = DEPENDENT * _lengths(block)
        first, rows = _project(before, block)
        sizes = _lengths(rows)
        new = sizes > limits
        sizes = np.where(new, sizes, 0.0)
        rows = np.where(new[:, None], rows / np.where(new, sizes, 1.0)[:, None], 0.0)
        second, rows = _project(before, rows)
        r[begin:end, :begin] = first + sizes[:, None] * second
        for i in range(begin, end):
            _append(q, r, begin, i, rows[i - begin, None], sizes[i - begin], limits[i - begin])
    return q, r


def _lengths(x: Floats) -> Floats:
    return np.sqrt([dots(row[None], row[None])[0, 0] for row in x])


def _project(q: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Coefficients of `x` on `q`, and what is left of it."""
    factors = dots(x, q) if len(q) else np.zeros((len(x), 0))
    return factors, combine(x, -factors, q)


def _append(
    q: Floats, r: Floats, begin: int, i: int, row: Floats, size: float, limit: float
) -> None:
    """Input i behind those of its block from `begin` on.

    Args:
        q, r: as `orthonormalize` returns them, complete before i; `r` also has the coefficients of
            input i before the block.
        row: what is left of it there, `size` times `row`, float64 `(1, length)`.
        limit: its new part must be larger than half of that.
    """
    first, left = _project(q[begin:i], row)
    if i > begin and _lengths(left)[0] < RELAPSED:
        third, left = _project(q[:begin], left)
        r[i, :begin] += size * third[0]
    second, left = _project(q[begin:i], left)
    r[i, begin:i] = size * (first[0] + second[0])
    length = _lengths(left)[0]
    if size * length > 0.5 * limit:
        r[i, i] = size * length
        q[i] = left[0] / length
