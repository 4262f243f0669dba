"""What a batch norm multiplies with and adds, and what it and a linear layer make of errors.

An error is the Euclidean norm, over samples, positions and channels, of the difference from the
law's numbers, a draw's *total*: bounds and their proofs are those at the head of
`biasgpu/engines/torch_batch_norm.py`, but of all channels together alone. In place of a channel's
norm stands its *reach*: it is at most that and the total, here and in the law. Behind a batch norm
of n numbers the reach is sqrt(n) (|weight| + |bias|), else what bounds the sums.

With D the diagonal of |weight| / s of the batch norms (s the least root that there may be), W the
matrix of a convolution of k by k and t the total before it, the total behind both is at most
k |D W|_2 t and the norm of what the units' roundings add. |D W|_2 is at most the eighth root of the
sum of the squares of the elements of (D W W^T D)^2: see `batch_norm_total.py`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.direct_weights import weight
from biasgpu.kernels.philox import halves, philox
from biasgpu.margins import LIMIT as LIMITS
from biasgpu.margins import UNIT_ROUNDOFF
from biasgpu.reference import EPSILON as LAW_EPSILON

EPSILON = tl.constexpr(LAW_EPSILON)
LIMIT = tl.constexpr(LIMITS["float64"])
ROUNDOFF = tl.constexpr(UNIT_ROUNDOFF["float64"])
SLACK = tl.constexpr(2.0**-20)  # pays for the bounds' own roundings


@triton.jit
def _linear(
    turned_ptr, reach_ptr, constants_ptr, at, from_, n_units, n_channels, taps, total,
    BIASED: tl.constexpr, DENSE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Of units of a linear layer: the norm of their weights, and a bound of their own norms.

    Args:
        at: int64, the places of their first weights; from_: that of their draw's first reach.
        total: of the inputs.
    """
    squares = tl.zeros([LANES], tl.float64)
    sizes = tl.zeros([LANES], tl.float64)
    for channel in range(n_channels):
        gain = tl.zeros([LANES], tl.float64)
        for _ in range(taps):
            w = tl.load(turned_ptr + at)
            at += n_units
            gain += w * w if DENSE else tl.abs(w)
            squares += w * w
        if DENSE:
            gain = tl.sqrt(gain)
        sizes += gain * (tl.load(reach_ptr + from_ + channel) + total)
    if BIASED:
        sizes += tl.load(constants_ptr + 1) * tl.abs(tl.load(turned_ptr + at))
    return tl.sqrt(squares), sizes


@triton.jit
def _channel_weights(
    name_ptr, places_ptr, constants_ptr, slot, block, RANDOM: tl.constexpr, BITS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """Weight and bias of a batch norm's channels: 1 and 0, or drawn about them."""
    scale = tl.full([LANES], 1.0, tl.float64)
    bias = tl.zeros([LANES], tl.float64)
    if RANDOM:
        key_low, key_high = halves(tl.load(name_ptr))
        draw_low, draw_high = halves(tl.load(name_ptr + 1) + tl.load(places_ptr + slot))
        stream = tl.full((), 0, tl.uint32)
        w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
        factor = tl.load(constants_ptr + 5)
        drawn = weight(w0, w1, w2, w3, factor, 0, BITS, False, True)  # pyright: ignore
        factor = tl.load(constants_ptr + 6)
        bias = weight(w0, w1, w2, w3, factor, 1, BITS, False, True)  # pyright: ignore
        # A sum of 1 and a float32 of a grid: exact in float64, so it is rounded once, as by law.
        # (The kernel is compiled without fused products, or this would be one.)
        scale = (scale + drawn).to(tl.float32).to(tl.float64)
    return scale, bias


@triton.jit(
    do_not_specialize=[
        "n", "n_units", "n_channels", "reach_stride", "total_stride", "taps", "n_tiles",
        "first_block", "each",
    ]
)  # fmt: skip
def _settle_kernel(
    name_ptr,
    places_ptr,
    lanes_ptr,
    turned_ptr,
    reach_ptr,
    total_ptr,
    sums_ptr,
    affine_ptr,
    next_reach_ptr,
    units_ptr,
    constants_ptr,
    n,
    n_units,
    n_channels,
    reach_stride,
    total_stride,
    taps,
    n_tiles,
    first_block,
    each,
    LINEAR: tl.constexpr,
    DENSE: tl.constexpr,
    BIASED: tl.constexpr,
    NORMED: tl.constexpr,
    RANDOM: tl.constexpr,
    BITS: tl.constexpr,
    LANES: tl.constexpr,
):
    """What follows for each unit of a linear layer (LINEAR), a batch norm (NORMED), or both.

    Args:
        name_ptr, places_ptr, lanes_ptr: as those of `batch_norm_weights._parameters_kernel`.
        turned_ptr: of the linear layer, as that kernel leaves them turned.
        reach_ptr: float64 `(draws, n_channels)`, the inputs'; `reach_stride` from draw to draw.
        total_ptr: float64 `(draws,)`, their totals; `total_stride` from draw to draw.
        sums_ptr: float64 `(draws, n_tiles, n_units, 2)`: what the batch norm's inputs and their
            squares add up to, in parts.
        affine_ptr: float64 `(draws, n_units, 2)`: gets what the batch norm multiplies with and
            adds.
        next_reach_ptr: float64 `(draws, n_units)`: gets the reach.
        units_ptr: float64 `(draws, n_units, 4)`: gets what a unit multiplies errors with, that
            times the norm of its weights, what roundings add, and a bound of its error.
        constants_ptr: float64 `(8,)`: 2 gamma of the sum, the root of the numbers of a unit; how
            many the batch norm's statistics are of, the root of that, gamma of their sums; factors
            of the batch norm's weights and biases; rows of a convolution's kernel, else 1.
        n: draws. taps: weights of a unit in an input channel.
        first_block, each: where channel 0 of the batch norm starts, and blocks of a channel.

    Grid: `cdiv(n * n_units, LANES)`, a unit a lane.
    Bytes: 8 a weight and 16 a tile. Operations: 3 a weight, about 100 a unit of a batch norm.
    Random words: 4 a channel with RANDOM.
    """
    number = tl.program_id(0) * LANES + tl.load(lanes_ptr + tl.arange(0, LANES))
    mask = number < n * n_units
    number = tl.minimum(number, n * n_units - 1)
    place = number // n_units
    unit = number - place * n_units
    slot = place.to(tl.int64)
    row = slot * n_units + unit
    total = tl.load(total_ptr + slot * total_stride)
    if LINEAR:
        columns = n_channels * taps
        if BIASED:
            columns += 1
        length, reach = _linear(
            turned_ptr, reach_ptr, constants_ptr, slot * columns * n_units + unit,
            slot * reach_stride, n_units, n_channels, taps, total, BIASED, DENSE, LANES,
        )  # fmt: skip
        rounding = tl.where(reach < LIMIT, tl.load(constants_ptr) * reach, float("inf"))
        error = (length * tl.load(constants_ptr + 7) * total + rounding) * (1.0 + SLACK)
    else:
        length = tl.full([LANES], 1.0, tl.float64)
        reach = tl.load(reach_ptr + slot * reach_stride + unit)
        rounding = tl.zeros([LANES], tl.float64)
        error = total
    gain = tl.full([LANES], 1.0, tl.float64)
    if NORMED:
        added = tl.zeros([LANES], tl.float64)
        square = tl.zeros([LANES], tl.float64)
        for tile in range(n_tiles):
            at = sums_ptr + ((slot * n_tiles + tile) * n_units + unit) * 2
            added += tl.load(at)
            square += tl.load(at + 1)
        count = tl.load(constants_ptr + 2)
        root = tl.load(constants_ptr + 3)
        gamma = tl.load(constants_ptr + 4)
        block = (unit.to(tl.int64) * each + first_block).to(tl.uint32)
        scale, bias = _channel_weights(
            name_ptr, places_ptr, constants_ptr, slot, block, RANDOM, BITS, LANES
        )
        mean = added / count
        square = square / count
        variance = tl.maximum(square - mean * mean, 0.0)
        factor = scale / tl.sqrt(variance + EPSILON)
        tl.store(affine_ptr + row * 2, factor, mask=mask)
        tl.store(affine_ptr + row * 2 + 1, bias - mean * factor, mask=mask)
        off = error * (1.0 + SLACK) / root
        high = tl.sqrt(square) * (1.0 + SLACK) + off
        spread = tl.sqrt(tl.maximum(variance - 4.0 * gamma * (1.0 + SLACK) * square, 0.0))
        spread = tl.maximum(spread * (1.0 - SLACK) - off, 0.0)
        least = tl.sqrt(spread * spread + EPSILON) * (1.0 - SLACK)
        ratio = 4.0 * gamma * (1.0 + SLACK) * (high / least) * (high / least)
        gain = scale / least  # a drawn weight is above zero
        own = 4.0 * gamma * (gain * high + tl.abs(bias)) + scale * (ratio + 10.0 * ROUNDOFF)
        sure = (ratio <= 0.5) & (count * high * high * (1.0 + gain) < LIMIT)
        rounding = tl.where(sure, gain * rounding + 2.0 * root * own, float("inf"))
        error = gain * error + 2.0 * root * own
        reach = root * (scale + tl.abs(bias))
    tl.store(next_reach_ptr + row, reach * (1.0 + SLACK), mask=mask)
    tl.store(units_ptr + row * 4, gain, mask=mask)
    tl.store(units_ptr + row * 4 + 1, gain * length, mask=mask)
    tl.store(units_ptr + row * 4 + 2, rounding, mask=mask)
    tl.store(units_ptr + row * 4 + 3, error * (1.0 + SLACK), mask=mask)
