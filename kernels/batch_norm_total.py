"""Totals of errors behind linear layers and batch norms: norms of matrices, a draw a program."""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels.batch_norm_settle import SLACK

TINY = tl.constexpr(1e-290)
SMALLEST = tl.constexpr(1e-200)  # below it a sum of powers may have lost terms
ROWS = tl.constexpr(plan.ROWS)


@triton.jit(do_not_specialize=["n_units", "n_terms", "n_tiles"])
def _products_kernel(
    lanes_ptr,
    matrix_ptr,
    units_ptr,
    output_ptr,
    n_units,
    n_terms,
    n_tiles,
    SQUARED: tl.constexpr,
    LANES: tl.constexpr,
):
    """G = W W^T; or, SQUARED, the sum of the squares of the elements of (D G D)^2.

    Args:
        lanes_ptr: int32 `(LANES,)`: 0, 1, 2, ...
        matrix_ptr: float64 `(draws, n_terms, n_units)`: W^T, biases included (which can but add to
            the norm), or G.
        units_ptr: float64 `(draws, n_units, 4)`: the diagonal of D comes first.
        output_ptr: float64 `(draws, n_units, n_units)`: gets G; SQUARED `(draws, n_tiles)`: parts
            of the sum.
        n_tiles: programs that share a draw's elements, ROWS LANES each.

    Grid: `draws * n_tiles`; a lane has ROWS elements of a column.
    Bytes: 10 a product, of the L1 cache. Operations: n_terms an element. Random words: none.
    """
    program = tl.program_id(0)
    draw = (program // n_tiles).to(tl.int64)
    tile = program % n_tiles
    number = tile * LANES + tl.load(lanes_ptr + tl.arange(0, LANES))
    first = number // n_units * ROWS
    column = number % n_units
    row = first[None, :] + tl.arange(0, ROWS)[:, None]
    exists = row < n_units
    row = tl.minimum(row, n_units - 1)
    here = matrix_ptr + draw * n_terms * n_units
    product = tl.zeros([ROWS, LANES], tl.float64)
    for k in range(n_terms):
        x = tl.load(here + k * n_units + column)
        if SQUARED:
            d = tl.load(units_ptr + (draw * n_units + k) * 4)
            x = x * d * d
        product += tl.load(here + k * n_units + row) * x[None, :]
    if SQUARED:
        product *= tl.load(units_ptr + (draw * n_units + row) * 4)
        product *= tl.load(units_ptr + (draw * n_units + column) * 4)[None, :]
        product = tl.where(exists, product, 0.0)
        tl.store(output_ptr + program, tl.sum(tl.sum(product * product, 1), 0))
    else:
        to = output_ptr + (draw * n_units + row) * n_units + column[None, :]
        tl.store(to, product, mask=exists)


@triton.jit(do_not_specialize=["n_units", "total_stride", "n_tiles"])
def _total_kernel(
    lanes_ptr,
    units_ptr,
    powers_ptr,
    total_ptr,
    next_total_ptr,
    constants_ptr,
    n_units,
    total_stride,
    n_tiles,
    LINEAR: tl.constexpr,
    LANES: tl.constexpr,
):
    """The total behind a linear layer and its batch norm, or behind a batch norm.

    Args:
        lanes_ptr: int32 `(LANES,)`: 0, 1, 2, ...
        units_ptr: float64 `(draws, n_units, 4)`, as `_settle_kernel` leaves it.
        powers_ptr: float64 `(draws, n_tiles)`: what `_products_kernel` makes of it, SQUARED.
        total_ptr, total_stride: of the inputs, as that kernel's.
        next_total_ptr: float64 `(draws,)`: gets the totals.
        constants_ptr: float64 `(8,)`, as that kernel's.
        n_tiles: 0 where there are none: then the matrix's Frobenius norm counts.

    Grid: `draws`. Bytes: 24 a unit. Operations: 4 a unit. Random words: none.
    """
    draw = tl.program_id(0).to(tl.int64)
    lane = tl.load(lanes_ptr + tl.arange(0, LANES))
    squares = tl.zeros([LANES], tl.float64)
    added = tl.zeros([LANES], tl.float64)
    gains = tl.zeros([LANES], tl.float64)
    plain = tl.zeros([LANES], tl.float64)
    for start in range(0, n_units, LANES):
        at = units_ptr + (draw * n_units + start + lane) * 4
        mask = start + lane < n_units
        gain = tl.load(at, mask=mask, other=0.0)
        row = tl.load(at + 1, mask=mask, other=0.0)
        rounding = tl.load(at + 2, mask=mask, other=0.0)
        gains = tl.maximum(gains, gain)
        squares += row * row
        added += rounding * rounding
        plain += rounding
    norm = tl.sqrt(tl.sum(squares, 0))
    if LINEAR:
        powers = tl.zeros([LANES], tl.float64)
        for start in range(0, n_tiles, LANES):
            mask = start + lane < n_tiles
            powers += tl.load(powers_ptr + draw * n_tiles + start + lane, mask=mask, other=0.0)
        power = tl.sum(powers, 0)
        eighth = tl.sqrt(tl.sqrt(tl.sqrt(power)))
        # (Where a weight is no number, so is what roundings add.)
        norm = tl.where((power > SMALLEST) & (eighth < norm), eighth, norm)
    else:
        norm = tl.max(gains, 0)
    norm *= tl.load(constants_ptr + 7) * (1.0 + SLACK)
    rounded = tl.sum(added, 0)
    rounded = tl.where(rounded > SMALLEST, tl.sqrt(rounded), tl.sum(plain, 0))
    total = norm * tl.load(total_ptr + draw * total_stride) + rounded
    tl.store(next_total_ptr + draw, total * (1.0 + SLACK) + TINY)
