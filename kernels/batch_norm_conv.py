"""Convolutions of whole training sets, in float64: a program is a draw, its lanes are windows.

Where there are batch norms a draw sees all samples at once, thousands of positions. So a weight is
one number for a whole warp, read once, and activations lie as images do; were lanes draws, weights
and windows would be other numbers in every lane, and come from the L2 cache.

The convolution before may have left its outputs as they were before its batch norm: what to
multiply them with and to add, and the ReLU, are applied as they are read.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rectify(x):
    """max(0, x) by its sign bit, which costs no float64 operation; what is not a number may pass
    or become 0."""
    bits = x.to(tl.int64, bitcast=True)
    return (bits & ~(bits >> 63)).to(tl.float64, bitcast=True)


@triton.jit
def _larger(x, y):
    """The larger of numbers: fewer instructions than a maximum that cares for what are none."""
    return tl.where(x > y, x, y)


@triton.jit
def _read(
    at_ptr, row, column, height, width, factor, shift, NORMED: tl.constexpr,
    RECTIFIED: tl.constexpr,
):  # fmt: skip
    """Inputs at a row and column, which addresses point to; 0 where that is padding."""
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    x = tl.load(at_ptr, mask=inside, other=0.0)
    if NORMED:
        x = x * factor + tl.where(inside, shift, 0.0)
    if RECTIFIED:
        x = rectify(x)
    return x


@triton.jit
def _row(
    at_ptr, row, left, height, width, factor, shift, NORMED: tl.constexpr,
    RECTIFIED: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    """The inputs of a row that kernels of 3 by 3 take for SIDE outputs side by side."""
    x0 = _read(at_ptr, row, left, height, width, factor, shift, NORMED, RECTIFIED)
    x1 = _read(at_ptr + 1, row, left + 1, height, width, factor, shift, NORMED, RECTIFIED)
    x2 = _read(at_ptr + 2, row, left + 2, height, width, factor, shift, NORMED, RECTIFIED)
    x3 = x2
    if SIDE == 2:
        x3 = _read(at_ptr + 3, row, left + 3, height, width, factor, shift, NORMED, RECTIFIED)
    return x0, x1, x2, x3


# One compiled kernel for all values: none of them is worth another.
@triton.jit(
    do_not_specialize=[
        "n_samples", "n_channels", "n_units", "n_tiles", "height", "width", "padding", "rows",
        "columns", "kept_rows", "kept_columns", "window_columns", "n_windows", "n_rows",
    ]
)  # fmt: skip
def _images_kernel(
    lanes_ptr,
    weight_ptr,
    input_ptr,
    affine_ptr,
    output_ptr,
    sums_ptr,
    n_samples,
    n_channels,
    n_units,
    n_tiles,
    height,
    width,
    padding,
    rows,
    columns,
    kept_rows,
    kept_columns,
    window_columns,
    n_windows,
    n_rows,
    SHARED: tl.constexpr,
    BIASED: tl.constexpr,
    NORMED: tl.constexpr,
    RECTIFIED: tl.constexpr,
    POOLED: tl.constexpr,
    SUMMED: tl.constexpr,
    KERNEL: tl.constexpr,
    SIDE: tl.constexpr,
    WINDOWS: tl.constexpr,
    UNITS: tl.constexpr,
    LANES: tl.constexpr,
):
    """A convolution's outputs, or their maxima in windows of 2 by 2; and sums for a batch norm.

    Args:
        lanes_ptr: int32 `(LANES,)`: 0, 1, 2, ... (see `direct_dense._dense_kernel`).
        weight_ptr: float64 `(draws, n_units, columns)`, a unit's bias last (BIASED).
        input_ptr: float64 `(draws, n_samples, n_channels, height, width)`; with SHARED one draw's.
        affine_ptr: with NORMED, float64 `(draws, n_channels, 2)`: what inputs are multiplied with,
            and what is added. With RECTIFIED a ReLU follows that.
        output_ptr: float64 `(draws, n_samples, n_units, kept_rows, kept_columns)`.
        sums_ptr: with SUMMED, float64 `(draws, n_tiles, n_units, 2)`: gets the sums of outputs and
            of their squares, before they are pooled.
        n_tiles: programs that share a draw's windows; each takes WINDOWS LANES of them.
        padding: rows and columns of zeros around an input.
        rows, columns: of outputs; kept_rows, kept_columns: of what is written.
        window_columns, n_windows: windows of SIDE by SIDE outputs in a row, and in all.
        n_rows: KERNEL, as a number the compiler does not know: it keeps the loop over rows.

    Grid: `draws * n_tiles * cdiv(n_units, UNITS)`.
    Bytes: 8 a weight, 8 an input for each tile of units (again for each window it is in, of the L1
    cache mostly), 8 an output that is written. Random words: none.
    Operations in float64: KERNEL**2 n_channels an output; with NORMED also 16 a window of 2 by 2
    outputs (of KERNEL 3) and channel, which UNITS units share.
    """
    taps: tl.constexpr = KERNEL * KERNEL
    unit_tiles = (n_units + UNITS - 1) // UNITS
    program = tl.program_id(0)
    draw = (program // (unit_tiles * n_tiles)).to(tl.int64)
    tile = program // unit_tiles % n_tiles
    lane = tl.load(lanes_ptr + tl.arange(0, LANES))[None, None, :]
    number = (tile * WINDOWS + tl.arange(0, WINDOWS)[:, None, None]) * LANES + lane
    exists = number < n_samples * n_windows
    number = tl.minimum(number, n_samples * n_windows - 1)
    sample = number // n_windows
    window = number - sample * n_windows
    row_out = window // window_columns * SIDE
    column_out = window % window_columns * SIDE
    top = row_out - padding
    left = column_out - padding
    unit = program % unit_tiles * UNITS + tl.arange(0, UNITS)
    known = unit < n_units
    unit_3 = tl.minimum(unit, n_units - 1)[None, :, None]
    plane = height * width
    n_weights = n_channels * taps
    if BIASED:
        n_weights += 1
    w_at = weight_ptr + draw * n_units * n_weights + unit_3 * n_weights + lane * 0
    if not SHARED:
        input_ptr += draw * n_samples * n_channels * plane
    x_at = input_ptr + sample * n_channels * plane + top * width + left
    y0 = tl.zeros([WINDOWS, UNITS, LANES], tl.float64)
    y1, y2, y3 = y0, y0, y0
    for channel in range(n_channels):
        factor, shift = 1.0, 0.0
        if NORMED:
            factor = tl.load(affine_ptr + (draw * n_channels + channel) * 2)
            shift = tl.load(affine_ptr + (draw * n_channels + channel) * 2 + 1)
        here = x_at + channel * plane
        w_here = w_at + channel * taps
        if KERNEL == 3:
            u0, u1, u2, u3 = _row(
                here, top, left, height, width, factor, shift, NORMED, RECTIFIED, SIDE
            )
            for row in range(1, n_rows + 1):
                # The lower of two rows of inputs is the upper one for the kernel's next row. (With
                # SIDE 1 it is that, too; the one behind the last is not needed.)
                here += width
                l0, l1, l2, l3 = _row(
                    here, top + row, left, height, width, factor, shift, NORMED, RECTIFIED, SIDE
                )
                w = tl.load(w_here)
                y0 += w * u0
                if SIDE == 2:
                    y1 += w * u1
                    y2 += w * l0
                    y3 += w * l1
                w = tl.load(w_here + 1)
                y0 += w * u1
                if SIDE == 2:
                    y1 += w * u2
                    y2 += w * l1
                    y3 += w * l2
                w = tl.load(w_here + 2)
                y0 += w * u2
                if SIDE == 2:
                    y1 += w * u3
                    y2 += w * l2
                    y3 += w * l3
                w_here += 3
                u0, u1, u2, u3 = l0, l1, l2, l3
        else:
            for tap in range(n_rows * KERNEL):
                down = tap // KERNEL
                along = tap - down * KERNEL
                row, column = top + down, left + along
                at = here + down * width + along
                w = tl.load(w_here + tap)
                y0 += w * _read(at, row, column, height, width, factor, shift, NORMED, RECTIFIED)
                if SIDE == 2:
                    y1 += w * _read(
                        at + 1, row, column + 1, height, width, factor, shift, NORMED, RECTIFIED
                    )
                    y2 += w * _read(
                        at + width, row + 1, column, height, width, factor, shift, NORMED, RECTIFIED
                    )
                    y3 += w * _read(
                        at + width + 1, row + 1, column + 1, height, width, factor, shift, NORMED,
                        RECTIFIED,
                    )  # fmt: skip
    if BIASED:
        bias = tl.load(w_at + n_weights - 1)
        y0, y1, y2, y3 = y0 + bias, y1 + bias, y2 + bias, y3 + bias
    right = exists & (column_out + 1 < columns)
    below = exists & (row_out + 1 < rows)
    if SUMMED:
        to = sums_ptr + ((draw * n_tiles + tile) * n_units + unit) * 2
        total = tl.where(exists, y0, 0.0)
        squares = total * total
        if SIDE == 2:
            z1 = tl.where(right, y1, 0.0)
            z2 = tl.where(below, y2, 0.0)
            z3 = tl.where(right & below, y3, 0.0)
            total = (total + z1) + (z2 + z3)
            squares = (squares + z1 * z1) + (z2 * z2 + z3 * z3)
        tl.store(to, tl.sum(tl.sum(total, 2), 0), mask=known)
        tl.store(to + 1, tl.sum(tl.sum(squares, 2), 0), mask=known)
    kept = (sample * n_units + unit_3) * (kept_rows * kept_columns)
    to = output_ptr + draw * n_samples * n_units * (kept_rows * kept_columns) + kept
    mine = exists & known[None, :, None]
    if POOLED:
        window_row, window_column = row_out // SIDE, column_out // SIDE
        inside = mine & (window_row < kept_rows) & (window_column < kept_columns)
        y = _larger(_larger(y0, y1), _larger(y2, y3))
        tl.store(to + window_row * kept_columns + window_column, y, mask=inside)
    else:
        to += row_out * columns + column_out
        tl.store(to, y0, mask=mine)
        if SIDE == 2:
            tl.store(to + 1, y1, mask=mine & right)
            tl.store(to + columns, y2, mask=mine & below)
            tl.store(to + columns + 1, y3, mask=mine & right & below)
