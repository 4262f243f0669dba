"""Convolution, ReLU and 2x2 max-pool for many draws at once, a draw a lane.

A convolution uses each weight at every position, so its few weights are drawn to memory first, by
`_draw_kernel`. A position's error bound is that of its channel: the sum of |weight| times the slack
(`direct_dense.py`) of the input channel, the largest over its positions.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.direct_dense import load_constants, of_grid, settle, unit_bound
from biasgpu.kernels.direct_weights import weight
from biasgpu.kernels.philox import halves, philox


@triton.jit(do_not_specialize=["n", "first_block", "blocks_per_unit", "columns", "n_units"])
def _draw_kernel(
    name_ptr,
    places_ptr,
    lanes_ptr,
    weight_ptr,
    constants_ptr,
    n,
    first_block,
    blocks_per_unit,
    columns,
    n_units,
    BITS: tl.constexpr,
    NORMAL: tl.constexpr,
    WIDE: tl.constexpr,
    UNITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Weights and drawn biases of a layer, written to memory.

    Args:
        name_ptr, places_ptr, lanes_ptr, constants_ptr, first_block, blocks_per_unit: as those of
            `direct_dense._dense_kernel`.
        weight_ptr: float32 (WIDE: float64) `(n / BLOCK, n_units, columns, BLOCK)`: gets them.
        columns: parameters of a unit, its bias included.

    Grid: `cdiv(n, BLOCK) * cdiv(n_units, UNITS)`.
    Bytes: 4 a weight. Operations: about 85 a Philox block, 3 (normal: 50) a weight.
    Random words: one a weight (half or a quarter with 16 or 8 BITS), rounded up to whole blocks.
    """
    per_block: tl.constexpr = 128 // BITS
    program, tile = of_grid(n_units, UNITS)
    slot = program * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(places_ptr + slot, mask=slot < n, other=0)
    lane = tl.load(lanes_ptr + tl.arange(0, BLOCK))[None, :]
    key_low, key_high = halves(tl.load(name_ptr))
    draw_low, draw_high = halves((tl.load(name_ptr + 1) + place)[None, :])
    factor = tl.load(constants_ptr)
    unit = tile * UNITS + tl.arange(0, UNITS)[:, None]
    block = (unit.to(tl.int64) * blocks_per_unit + first_block).to(tl.uint32)
    block += tl.zeros([UNITS, BLOCK], tl.uint32)
    stream = tl.full((), 0, tl.uint32)
    to = weight_ptr + program * n_units * columns * BLOCK + unit * columns * BLOCK + lane
    for b in range(blocks_per_unit):
        w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
        block += 1
        for j in tl.static_range(per_block):  # pyright: ignore
            k = b * per_block + j
            w = weight(w0, w1, w2, w3, factor, j, BITS, NORMAL, WIDE)
            tl.store(to + k * BLOCK, w, mask=(unit < n_units) & (unit * 0 + k < columns))


@triton.jit(
    do_not_specialize=[
        "n_channels", "n_units", "height", "width", "rows_out", "columns_out", "n_rows",
    ]
)  # fmt: skip
def _convolution_kernel(
    lanes_ptr,
    weight_ptr,
    input_ptr,
    group_ptr,
    output_ptr,
    next_slack_ptr,
    next_group_ptr,
    constants_ptr,
    n_channels,
    n_units,
    height,
    width,
    rows_out,
    columns_out,
    n_rows,
    SHARED: tl.constexpr,
    BIASED: tl.constexpr,
    RECTIFIED: tl.constexpr,
    POOLED: tl.constexpr,
    KERNEL: tl.constexpr,
    WIDE: tl.constexpr,
    SAMPLES: tl.constexpr,
    UNITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Activations of UNITS channels of BLOCK draws on SAMPLES samples, with their slack.

    Args:
        lanes_ptr, constants_ptr: as those of `direct_dense._dense_kernel`.
        weight_ptr: as `_draw_kernel` leaves them.
        input_ptr: float32 (WIDE: float64) `(programs, SAMPLES, n_channels, height, width, BLOCK)`,
            with SHARED `(SAMPLES, n_channels, height, width)`.
        group_ptr: likewise `(programs, SAMPLES, n_channels, BLOCK)` or `(SAMPLES, n_channels)`: the
            largest slack of a channel.
        output_ptr, next_slack_ptr: `(programs, SAMPLES, n_units, rows_out, columns_out, BLOCK)`.
        next_group_ptr: `(programs, SAMPLES, n_units, BLOCK)`.
        rows_out, columns_out: with POOLED, of windows of 2 by 2 positions.
        n_rows: KERNEL, as a number the compiler does not know: it keeps the loop over rows.

    Grid: `programs * cdiv(n_units, UNITS)`.
    Bytes: a weight is read at each window, an input (KERNEL + 1) times; of the cache mostly.
    Operations: SAMPLES KERNEL**2 n_channels a position and unit. Random words: none.
    """
    kind = tl.float64 if WIDE else tl.float32
    taps: tl.constexpr = KERNEL * KERNEL
    stride: tl.constexpr = 1 if SHARED else BLOCK  # pyright: ignore
    step: tl.constexpr = 2 if POOLED else 1  # pyright: ignore
    program, tile = of_grid(n_units, UNITS)
    lane = tl.load(lanes_ptr + tl.arange(0, BLOCK))[None, None, :]
    tiny, bias_slack, gain, inject, floor = load_constants(constants_ptr, WIDE)
    unit = tile * UNITS + tl.arange(0, UNITS)
    inside = (unit < n_units)[None, :, None]
    unit = tl.minimum(unit, n_units - 1)[None, :, None]
    sample = tl.arange(0, SAMPLES)[:, None, None]
    plane = height * width
    columns = n_channels * taps
    if BIASED:
        columns += 1
    w_at = weight_ptr + program * n_units * columns * BLOCK + unit * columns * BLOCK + lane
    x_at = sample * n_channels * plane * stride
    c_at = sample * n_channels * stride
    if SHARED:
        x_at = x_at + tl.zeros([SAMPLES, 1, BLOCK], tl.int32)
        c_at = c_at + tl.zeros([SAMPLES, 1, BLOCK], tl.int32)
    else:
        x_at = x_at + lane
        c_at = c_at + lane
        input_ptr += program * SAMPLES * n_channels * plane * BLOCK
        group_ptr += program * SAMPLES * n_channels * BLOCK
    error = tl.zeros([SAMPLES, UNITS, BLOCK], kind)
    live = tl.zeros([SAMPLES, 1, BLOCK], kind)
    for channel in range(n_channels):
        total = tl.zeros([1, UNITS, BLOCK], kind)
        for tap in range(taps):
            total += tl.abs(tl.load(w_at + (channel * taps + tap) * BLOCK))
        slack = tl.load(group_ptr + channel * stride + c_at)
        error += total * slack
        live += slack
    bias = tl.zeros([1, UNITS, BLOCK], kind)
    if BIASED:
        bias = tl.load(w_at + (columns - 1) * BLOCK)
        error += tl.abs(bias) * bias_slack
        live += bias_slack
    bound = unit_bound(error, live, tiny, WIDE)
    top = tl.full([SAMPLES, UNITS, BLOCK], float("-inf"), kind)
    n_windows = rows_out * columns_out
    to = program * SAMPLES * n_units * n_windows * BLOCK + lane
    to += (sample * n_units + unit) * n_windows * BLOCK
    for window in range(n_windows):
        origin = window // columns_out * step * width + window % columns_out * step
        y0 = tl.zeros([SAMPLES, UNITS, BLOCK], kind)
        y1, y2, y3 = y0, y0, y0
        for channel in range(n_channels):
            for row in range(n_rows):
                here = input_ptr + (channel * plane + origin + row * width) * stride + x_at
                w_here = w_at + (channel * taps + row * KERNEL) * BLOCK
                below = here + width * stride
                upper = tl.load(here)
                lower = upper
                if POOLED:
                    lower = tl.load(below)
                for column in tl.static_range(KERNEL):  # pyright: ignore
                    w = tl.load(w_here + column * BLOCK)
                    y0 += w * upper
                    if POOLED:
                        y2 += w * lower
                        upper = tl.load(here + (column + 1) * stride)
                        lower = tl.load(below + (column + 1) * stride)
                        y1 += w * upper
                        y3 += w * lower
                    elif column + 1 < KERNEL:
                        upper = tl.load(here + (column + 1) * stride)
        y = y0
        if POOLED:
            y = tl.maximum(tl.maximum(y0, y1), tl.maximum(y2, y3))
        y += bias
        # What bounds the channel: its largest activation, or without a ReLU the largest magnitude.
        top = tl.maximum(top, y if RECTIFIED else tl.abs(y))
        h, slack = settle(y, bound, gain, inject, floor, RECTIFIED)
        tl.store(output_ptr + to + window * BLOCK, h, mask=inside)
        tl.store(next_slack_ptr + to + window * BLOCK, slack, mask=inside)
    _, slack = settle(top, bound, gain, inject, floor, RECTIFIED)
    to_group = program * SAMPLES * n_units * BLOCK + (sample * n_units + unit) * BLOCK + lane
    tl.store(next_group_ptr + to_group, slack, mask=inside)


@triton.jit(do_not_specialize=["n_planes", "height", "width", "size"])
def _pool_kernel(
    lanes_ptr,
    input_ptr,
    slack_ptr,
    output_ptr,
    next_slack_ptr,
    n_planes,
    height,
    width,
    size,
    BLOCK: tl.constexpr,
):
    """The maximum over windows, with a slack that covers any of them.

    The pooled error is at most the largest of the window's, the pooled activation its largest:
    twice the largest slack is more than both parts of it.

    Args:
        lanes_ptr: as that of `direct_dense._dense_kernel`.
        input_ptr, slack_ptr: float32 or float64 `(programs, n_planes, height, width, BLOCK)`.
        output_ptr, next_slack_ptr: `(programs, n_planes, height // size, width // size, BLOCK)`.

    Grid: `programs * n_planes`.
    Bytes: 8 (float64: 16) a number read or written. Operations: 2 a number. Random words: none.
    """
    program, plane = of_grid(n_planes, 1)  # pyright: ignore
    plane += program * n_planes
    lane = tl.load(lanes_ptr + tl.arange(0, BLOCK))
    columns = width // size
    n_windows = height // size * columns
    from_ = plane * height * width * BLOCK + lane
    for window in range(n_windows):
        corner = window // columns * size * width + window % columns * size
        best = tl.load(input_ptr + from_ + corner * BLOCK)
        worst = tl.load(slack_ptr + from_ + corner * BLOCK)
        for row in range(size):
            for column in range(size):
                at = from_ + (corner + row * width + column) * BLOCK
                best = tl.maximum(best, tl.load(input_ptr + at))
                slack = tl.load(slack_ptr + at)
                worst = tl.where(worst >= slack, worst, slack)
        to = (plane * n_windows + window) * BLOCK + lane
        tl.store(output_ptr + to, best)
        tl.store(next_slack_ptr + to, worst * 2.0)
