"""Dense layers behind convolutions: the output layer, mostly, of few weights."""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.batch_norm_conv import rectify


@triton.jit(
    do_not_specialize=["n_samples", "n_channels", "taps", "n_units", "n_tiles", "padded", "block"]
)
def _features_kernel(
    lanes_ptr,
    weight_ptr,
    input_ptr,
    affine_ptr,
    units_ptr,
    output_ptr,
    error_ptr,
    n_samples,
    n_channels,
    taps,
    n_units,
    n_tiles,
    padded,
    block,
    SHARED: tl.constexpr,
    BIASED: tl.constexpr,
    NORMED: tl.constexpr,
    RECTIFIED: tl.constexpr,
    LAST: tl.constexpr,
    LANES: tl.constexpr,
):
    """Sums of all features of a sample, weighted.

    Args:
        lanes_ptr, weight_ptr, affine_ptr, SHARED, NORMED, RECTIFIED: as those of
            `batch_norm_conv._images_kernel`.
        input_ptr: float64 `(draws, n_samples, n_channels, taps)`.
        units_ptr: with LAST, float64 `(draws, n_units, 4)`, as `batch_norm_settle._settle_kernel`
            leaves it: a bound of the unit's error comes last.
        output_ptr: float64 `(draws, n_samples, n_units)`; with LAST `(draws / block, padded,
            n_units, block)`, and `error_ptr` likewise, as `direct_check` reads them.
        n_tiles: programs that share a draw's outputs, LANES each.

    Grid: `draws * n_tiles`, an output a lane.
    Bytes: 16 a product, of the cache. Operations in float64: a product a weight and sample.
    Random words: none.
    """
    program = tl.program_id(0)
    draw = (program // n_tiles).to(tl.int64)
    number = program % n_tiles * LANES + tl.load(lanes_ptr + tl.arange(0, LANES))
    exists = number < n_samples * n_units
    number = tl.minimum(number, n_samples * n_units - 1)
    sample = number // n_units
    unit = number - sample * n_units
    columns = n_channels * taps
    x_at = input_ptr + sample * columns
    if not SHARED:
        x_at += draw * n_samples * columns
    if BIASED:
        columns += 1
    w_at = weight_ptr + draw * n_units * columns + unit * columns
    y = tl.zeros([LANES], tl.float64)
    for channel in range(n_channels):
        factor, shift = 1.0, 0.0
        if NORMED:
            factor = tl.load(affine_ptr + (draw * n_channels + channel) * 2)
            shift = tl.load(affine_ptr + (draw * n_channels + channel) * 2 + 1)
        for tap in range(taps):
            x = tl.load(x_at + channel * taps + tap)
            if NORMED:
                x = x * factor + shift
            if RECTIFIED:
                x = rectify(x)
            y += x * tl.load(w_at + channel * taps + tap)
    if BIASED:
        y += tl.load(w_at + columns - 1)
    if LAST:
        at = ((draw // block) * padded * n_units + number) * block + draw % block
        tl.store(output_ptr + at, y, mask=exists)
        error = tl.load(units_ptr + (draw * n_units + unit) * 4 + 3)
        tl.store(error_ptr + at, error, mask=exists)
    else:
        tl.store(output_ptr + draw * n_samples * n_units + number, y, mask=exists)
