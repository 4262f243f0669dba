"""What is done to every number: batch norm, ReLU, what joins, pooling, a factor."""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.batch_norm_conv import rectify
from biasgpu.kernels.batch_norm_settle import LIMIT, ROUNDOFF, SLACK


@triton.jit
def _affine(affine_ptr, channel):
    return tl.load(affine_ptr + channel * 2), tl.load(affine_ptr + channel * 2 + 1)


@triton.jit
def _one(
    at_ptr, fork_at_ptr, factor, shift, fork_factor, fork_shift, NORMED: tl.constexpr,
    RECTIFIED: tl.constexpr, JOINED: tl.constexpr, FORK_NORMED: tl.constexpr,
    FORK_RECTIFIED: tl.constexpr, AFTER: tl.constexpr,
):  # fmt: skip
    """Numbers that addresses point to, with what joins."""
    x = tl.load(at_ptr)
    if NORMED:
        x = x * factor + shift
    if RECTIFIED:
        x = rectify(x)
    if JOINED:
        other = tl.load(fork_at_ptr)
        if FORK_NORMED:
            other = other * fork_factor + fork_shift
        if FORK_RECTIFIED:
            other = rectify(other)
        x += other
    if AFTER:
        x = rectify(x)
    return x


@triton.jit(
    do_not_specialize=[
        "n_samples", "n_channels", "n_tiles", "height", "width", "kept_rows", "kept_columns",
        "size",
    ]
)  # fmt: skip
def _element_kernel(
    lanes_ptr,
    input_ptr,
    affine_ptr,
    reach_ptr,
    total_ptr,
    fork_ptr,
    fork_affine_ptr,
    fork_reach_ptr,
    fork_total_ptr,
    output_ptr,
    next_reach_ptr,
    next_total_ptr,
    sums_ptr,
    constants_ptr,
    n_samples,
    n_channels,
    n_tiles,
    height,
    width,
    kept_rows,
    kept_columns,
    size,
    SHARED: tl.constexpr,
    NORMED: tl.constexpr,
    RECTIFIED: tl.constexpr,
    JOINED: tl.constexpr,
    FORK_NORMED: tl.constexpr,
    FORK_RECTIFIED: tl.constexpr,
    AFTER: tl.constexpr,
    POOLED: tl.constexpr,
    SUMMED: tl.constexpr,
    NUMBERS: tl.constexpr,
    LANES: tl.constexpr,
):
    """Numbers of a channel, and their bounds: those NORMED and RECTIFIED; plus others (JOINED),
    which may be so as well; a ReLU AFTER that; the maximum of windows (POOLED); a factor.

    Args:
        lanes_ptr: int32 `(LANES,)`: 0, 1, 2, ...
        input_ptr, affine_ptr, SHARED: as those of `batch_norm_conv._images_kernel`.
        reach_ptr, total_ptr: float64 `(draws, n_channels)` and `(draws,)`: reach and totals (see
            `batch_norm_settle.py`) behind what NORMED and RECTIFIED say; with SHARED one draw's.
        fork_ptr, fork_affine_ptr, fork_reach_ptr, fork_total_ptr: the same of what joins, never
            shared.
        output_ptr: float64 `(draws, n_samples, n_channels, kept_rows, kept_columns)`.
        next_reach_ptr, next_total_ptr: float64, the draws' own: get reach and totals.
        sums_ptr: with SUMMED, float64 `(draws, n_tiles, n_channels, 2)`: gets the sums of what is
            written and of its squares.
        constants_ptr: float64 `(1,)`: the factor, 1 for none.
        n_tiles: programs that share a draw's channel, NUMBERS LANES of the output each.
        size: of the windows, 1 for none.

    Grid: `draws * n_channels * n_tiles`.
    Bytes: 8 a number read or written. Operations in float64: 1 to 6 a number. Random words: none.
    """
    program = tl.program_id(0)
    channel = program // n_tiles % n_channels
    draw = (program // (n_tiles * n_channels)).to(tl.int64)
    tile = program % n_tiles
    lane = tl.load(lanes_ptr + tl.arange(0, LANES))[None, :]
    number = (tile * NUMBERS + tl.arange(0, NUMBERS)[:, None]) * LANES + lane
    kept = kept_rows * kept_columns
    exists = number < n_samples * kept
    number = tl.minimum(number, n_samples * kept - 1)
    sample = number // kept
    place = number - sample * kept
    corner = place
    if POOLED:
        corner = place // kept_columns * size * width + place % kept_columns * size
    plane = height * width
    row = draw * n_channels + channel
    first = sample * n_channels * plane + channel * plane + corner
    at = draw * n_samples * n_channels * plane + first
    factor, shift = 1.0, 0.0
    fork_factor, fork_shift = 1.0, 0.0
    if NORMED:
        factor, shift = _affine(affine_ptr, row)
    if FORK_NORMED:
        fork_factor, fork_shift = _affine(fork_affine_ptr, row)
    source = input_ptr + (first if SHARED else at)
    other = fork_ptr + at
    best = _one(
        source, other, factor, shift, fork_factor, fork_shift, NORMED, RECTIFIED, JOINED,
        FORK_NORMED, FORK_RECTIFIED, AFTER,
    )  # fmt: skip
    if POOLED:
        for turn in range(1, size * size):
            step = turn // size * width + turn % size
            x = _one(
                source + step, other + step, factor, shift, fork_factor, fork_shift, NORMED,
                RECTIFIED, JOINED, FORK_NORMED, FORK_RECTIFIED, AFTER,
            )  # fmt: skip
            best = tl.maximum(best, x)
    times = tl.load(constants_ptr)
    best *= times
    to = draw * n_samples * n_channels * kept + (sample * n_channels + channel) * kept + place
    tl.store(output_ptr + to, best, mask=exists)
    if SUMMED:
        best = tl.where(exists, best, 0.0)
        to = sums_ptr + ((draw * n_tiles + tile) * n_channels + channel) * 2
        tl.store(to, tl.sum(tl.sum(best, 1), 0))
        tl.store(to + 1, tl.sum(tl.sum(best * best, 1), 0))
    if program % (n_tiles * n_channels) == 0:
        first_own = row * 0 if SHARED else row
        total = tl.load(total_ptr + (draw * 0 if SHARED else draw))
        if JOINED:
            total += tl.load(fork_total_ptr + draw)
        sizes = total * 0.0
        for c in range(n_channels):
            reach = tl.load(reach_ptr + first_own + c)
            if JOINED:
                reach += tl.load(fork_reach_ptr + row + c)
            tl.store(next_reach_ptr + row + c, tl.abs(times) * reach * (1.0 + SLACK))
            sizes += reach + total
        # Of the sum and the product, here and in the law, and what one makes of the other's.
        total = tl.abs(times) * (total + 5.0 * ROUNDOFF * sizes) * (1.0 + SLACK)
        total = tl.where(sizes * (1.0 + tl.abs(times)) < LIMIT, total, float("inf"))
        tl.store(next_total_ptr + draw, total)
