"""A convolution of inputs that all draws share, on tensor cores: one product of matrices.

The first layer's inputs are the training images, the same for every draw. So the patch that each
window sees is laid out once, on the host, a row of a matrix; a unit's weights are a column, one for
each draw. An entry of their product is a sum. The four positions of a 2x2 pool are four products of
the same windows, so a pool is a maximum of sums that a thread has at hand.

Tensor cores round, in ways that are not documented; so they are given whole numbers that leave
nothing to round. Pixels are whole numbers already, but for how images are normalised. A weight is
rounded to two digits in a base of 2^12 at most. Every sum of digits times pixels stays below 2^24.
See `biasgpu/engines/triton_patches.py` for what is left to bound.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.direct_dense import load_constants, of_grid, settle, unit_bound

# Rows of a tile that a thread or its neighbours hold, whatever the GPU: 8, and 8 more below.
HEIGHT = tl.constexpr(8)
ROUND = tl.constexpr(1.5 * 2.0**23)  # added and taken off again, it leaves a whole number


@triton.jit
def digits(value, base, inverse):
    """A number's two digits, rounded to a whole number.

    Args:
        value: float32, at most base**2 / 2 in magnitude, any shape.
        base, inverse: float32, a power of two of 2^12 at most, and 1 / base.

    Returns:
        two float16 tensors of whole numbers, at most base / 2 in magnitude: base times the first
        and the second are within 1/2 of the value.
    """
    upper = (value * inverse + ROUND) - ROUND
    lower = ((value - upper * base) + ROUND) - ROUND
    return upper.to(tl.float16), lower.to(tl.float16)


# One compiled kernel for all values: none of them is worth another.
@triton.jit(do_not_specialize=["n_taps", "n_units", "columns", "n_windows", "n_tiles"])
def _patches_kernel(
    weight_ptr,
    patch_ptr,
    taps_ptr,
    scale_ptr,
    output_ptr,
    next_group_ptr,
    constants_ptr,
    n_taps,
    n_units,
    columns,
    n_windows,
    n_tiles,
    BIASED: tl.constexpr,
    RECTIFIED: tl.constexpr,
    POOLED: tl.constexpr,
    DEPTH: tl.constexpr,
    SAMPLES: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Activations of a channel of BLOCK draws on SAMPLES samples, with the channel's slack.

    Args:
        weight_ptr: float32, as `direct_conv._draw_kernel` leaves them.
        patch_ptr: float16 `(n_tiles, 4 with POOLED else 1, ROWS, DEPTH)`: patches, of each position
            of a pool. A row's number is window * SAMPLES + sample; rows beyond the last window
            repeat it.
        taps_ptr: float32 `(2 + SAMPLES, DEPTH)`: what a tap's weight is multiplied by to be made
            whole; what the whole number zero of its channel stands for; for each sample the slack
            of its channel.
        scale_ptr: float32 `(3,)`: base, 1 / base, and what a unit of a sum is worth.
        output_ptr: float32 `(programs, SAMPLES, n_units, n_windows, BLOCK)`.
        next_group_ptr: float32 `(programs, SAMPLES, n_units, BLOCK)`: a channel's largest slack,
            all that another convolution asks for.
        constants_ptr: as that of `direct_dense._dense_kernel`.
        n_taps: weights of a unit without its bias, at most DEPTH.
        columns: the same with its bias.

    Grid: `programs * n_units`.
    Bytes: 2 DEPTH a position and 64 draws, of the cache; 4 an activation.
    Operations: about 6 a position, and a tile's 200; on tensor cores 4 DEPTH a position.
    Random words: none.
    """
    offsets: tl.constexpr = 4 if POOLED else 1  # pyright: ignore
    program, unit = of_grid(n_units, 1)  # pyright: ignore
    tiny, bias_slack, gain, inject, floor = load_constants(constants_ptr, False)  # pyright: ignore
    lane = tl.arange(0, BLOCK)
    tap = tl.arange(0, DEPTH)
    row = tl.arange(0, ROWS)
    sample = tl.arange(0, SAMPLES)
    from_ = weight_ptr + (program * n_units + unit) * columns * BLOCK
    w_at = from_ + tap[:, None] * BLOCK + lane[None, :]
    w = tl.load(w_at, mask=(tap < n_taps)[:, None], other=0.0)
    error = tl.zeros([SAMPLES, BLOCK], tl.float32)
    live = tl.zeros([SAMPLES, 1], tl.float32)
    for s in tl.static_range(SAMPLES):  # pyright: ignore
        reach = tl.load(taps_ptr + (2 + s) * DEPTH + tap)
        each = tl.sum(tl.abs(w) * reach[:, None], axis=0)
        error = tl.where(sample[:, None] == s, each[None, :], error)  # pyright: ignore
        live = tl.where(sample[:, None] == s, tl.sum(reach), live)
    joins = tl.sum(w * tl.load(taps_ptr + DEPTH + tap)[:, None], axis=0)
    if BIASED:
        bias = tl.load(from_ + (columns - 1) * BLOCK + lane)
        joins += bias
        error += tl.abs(bias)[None, :] * bias_slack
        live += bias_slack
    bound = unit_bound(error, live, tiny, False)  # pyright: ignore
    base = tl.load(scale_ptr)
    worth = tl.load(scale_ptr + 2)
    upper, lower = digits(w * tl.load(taps_ptr + tap)[:, None], base, tl.load(scale_ptr + 1))
    # The largest of a channel's sums so far, of rows that differ by a multiple of HEIGHT: such rows
    # are of one sample, and half of them in one thread.
    top = tl.full([ROWS // (2 * HEIGHT), HEIGHT, BLOCK], float("-inf"), tl.float32)
    bases = tl.zeros([ROWS, BLOCK], tl.float32) + base
    patch = patch_ptr + row[:, None] * DEPTH + tap[None, :]
    to = program * SAMPLES * n_units * n_windows * BLOCK
    for tile in range(n_tiles):
        y = tl.zeros([ROWS, BLOCK], tl.float32)
        for offset in tl.static_range(offsets):  # pyright: ignore
            x = tl.load(patch)
            patch += ROWS * DEPTH
            # Not a sum: compilers would let the second product start from it, and round.
            part = tl.fma(tl.dot(x, upper), bases, tl.dot(x, lower))
            y = part if offset == 0 else tl.maximum(y, part)
        y = y * worth + joins[None, :]  # pyright: ignore
        height = y if RECTIFIED else tl.abs(y)
        pairs = tl.reshape(height, [ROWS // (2 * HEIGHT), 2, HEIGHT, BLOCK])
        top = tl.maximum(top, tl.max(pairs, axis=1))
        number = tile * ROWS + row
        window = number // SAMPLES
        place = ((number % SAMPLES * n_units + unit) * n_windows + window) * BLOCK
        at = to + place[:, None] + lane[None, :]
        inside = (window < n_windows)[:, None]
        h = tl.maximum(y, 0.0) if RECTIFIED else y
        tl.store(output_ptr + at, h, mask=inside)
    rows = tl.reshape(tl.max(top, axis=0), [HEIGHT // SAMPLES, SAMPLES, BLOCK])
    _, slack = settle(tl.max(rows, axis=0), bound, gain, inject, floor, RECTIFIED)
    to_group = program * SAMPLES * n_units * BLOCK + (sample * n_units + unit)[:, None] * BLOCK
    tl.store(next_group_ptr + to_group + lane[None, :], slack)
