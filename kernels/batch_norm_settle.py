"""What a batch norm multiplies with and adds, and how far a channel may lie from the law's.

The bound is a Euclidean norm a channel, over all samples and positions, as derived at the head of
`biasgpu/engines/torch_batch_norm.py`; what is left out here is the bound of all channels together:
spectral norms would cost as much as small layers do, and without them the bounds of the published
widths leave one draw in thousands open. In place of a channel's norm stands its *reach*, a bound of
it here and in the law: behind a batch norm of n numbers sqrt(n) (|weight| + |bias|), else what the
bound of the sums says.
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
TINY = tl.constexpr(1e-290)


@triton.jit
def sure(error, sizes):
    """A bound that pays for its roundings; infinite where a sum might overflow, or is no number."""
    return tl.where(sizes < LIMIT, error * (1.0 + SLACK) + TINY, float("inf"))


@triton.jit
def _linear_bound(
    weight_ptr, bound_ptr, constants_ptr, row, from_, n_channels, taps, BIASED: tl.constexpr,
    DENSE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The bound of a linear layer's units, and their reach but for it.

    Args:
        row: int64, where a unit's weights begin; from_: where its draw's bounds begin.
    """
    error = tl.zeros([LANES], tl.float64)
    sizes = tl.zeros([LANES], tl.float64)
    for channel in range(n_channels):
        gain = tl.zeros([LANES], tl.float64)
        for tap in range(taps):
            w = tl.load(weight_ptr + row + channel * taps + tap)
            gain += w * w if DENSE else tl.abs(w)
        if DENSE:
            gain = tl.sqrt(gain)
        error += gain * tl.load(bound_ptr + from_ + 2 * channel)
        sizes += gain * tl.load(bound_ptr + from_ + 2 * channel + 1)
    if BIASED:
        sizes += tl.load(constants_ptr + 1) * tl.abs(tl.load(weight_ptr + row + n_channels * taps))
    return sure(error + tl.load(constants_ptr) * sizes, sizes), sizes


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
        one = tl.load(constants_ptr + 5)
        drawn = weight(w0, w1, w2, w3, one, 0, BITS, False, True)  # pyright: ignore
        bias = weight(w0, w1, w2, w3, tl.load(constants_ptr + 6), 1, BITS, False, True)  # pyright: ignore
        # 1 plus a float32 below 2^24 in steps: exact in float64, so it is rounded once, as by law.
        scale = (scale + drawn).to(tl.float32).to(tl.float64)
    return scale, bias


@triton.jit(
    do_not_specialize=["n", "n_units", "n_channels", "stride", "taps", "n_tiles", "first_block", "each"]
)
def _settle_kernel(
    name_ptr,
    places_ptr,
    lanes_ptr,
    weight_ptr,
    bound_ptr,
    sums_ptr,
    affine_ptr,
    next_bound_ptr,
    constants_ptr,
    n,
    n_units,
    n_channels,
    stride,
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
    """Bounds behind a linear layer (LINEAR), a batch norm (NORMED), or one and then the other.

    Args:
        name_ptr, places_ptr, lanes_ptr: as those of `batch_norm_weights._parameters_kernel`.
        weight_ptr: of the linear layer, as that kernel leaves them.
        bound_ptr: float64 `(draws, n_channels, 2)`: of the inputs of all, error and reach of each
            channel; `stride` numbers from draw to draw, 0 where they share inputs.
        sums_ptr: float64 `(draws, n_tiles, n_units, 2)`: what the batch norm's inputs and their
            squares add up to, in parts.
        affine_ptr: float64 `(draws, n_units, 2)`: gets what the batch norm multiplies with and adds.
        next_bound_ptr: float64 `(draws, n_units, 2)`: gets the bounds.
        constants_ptr: float64 `(7,)`: 2 gamma of the sum, the root of the numbers in a channel that
            it makes; how many the batch norm's statistics are of, the root of that, gamma of their
            sums; factors of the batch norm's weights and biases.
        n: draws. taps: weights of a unit in an input channel.
        first_block, each: where channel 0 of the batch norm starts, and blocks of a channel.

    Grid: `cdiv(n * n_units, LANES)`, a unit a lane.
    Bytes: 8 a weight and 16 a tile. Operations: 2 a weight, about 100 a unit of a batch norm.
    Random words: 4 a channel with RANDOM.
    """
    number = tl.program_id(0) * LANES + tl.load(lanes_ptr + tl.arange(0, LANES))
    mask = number < n * n_units
    number = tl.minimum(number, n * n_units - 1)
    place = number // n_units
    unit = number - place * n_units
    slot = place.to(tl.int64)
    if LINEAR:
        columns = n_channels * taps
        if BIASED:
            columns += 1
        from_ = slot * stride
        row = (slot * n_units + unit) * columns
        error, reach = _linear_bound(
            weight_ptr, bound_ptr, constants_ptr, row, from_, n_channels, taps, BIASED, DENSE, LANES
        )
    else:
        error = tl.load(bound_ptr + slot * stride + 2 * unit)
        reach = tl.load(bound_ptr + slot * stride + 2 * unit + 1)
    if NORMED:
        total = tl.zeros([LANES], tl.float64)
        square = tl.zeros([LANES], tl.float64)
        for tile in range(n_tiles):
            at = sums_ptr + ((slot * n_tiles + tile) * n_units + unit) * 2
            total += tl.load(at)
            square += tl.load(at + 1)
        count = tl.load(constants_ptr + 2)
        root = tl.load(constants_ptr + 3)
        gamma = tl.load(constants_ptr + 4)
        block = (unit.to(tl.int64) * each + first_block).to(tl.uint32)
        scale, bias = _channel_weights(
            name_ptr, places_ptr, constants_ptr, slot, block, RANDOM, BITS, LANES
        )
        mean = total / count
        square = square / count
        variance = tl.maximum(square - mean * mean, 0.0)
        factor = scale / tl.sqrt(variance + EPSILON)
        to = affine_ptr + (slot * n_units + unit) * 2
        tl.store(to, factor, mask=mask)
        tl.store(to + 1, bias - mean * factor, mask=mask)
        off = error * (1.0 + SLACK) / root
        high = tl.sqrt(square) * (1.0 + SLACK) + off
        spread = tl.sqrt(tl.maximum(variance - 4.0 * gamma * (1.0 + SLACK) * square, 0.0))
        spread = tl.maximum(spread * (1.0 - SLACK) - off, 0.0)
        least = tl.sqrt(spread * spread + EPSILON) * (1.0 - SLACK)
        ratio = 4.0 * gamma * (1.0 + SLACK) * (high / least) * (high / least)
        gain = scale / least
        own = 4.0 * gamma * (gain * high + tl.abs(bias)) + scale * (ratio + 10.0 * ROUNDOFF)
        sizes = tl.where(ratio <= 0.5, count * high * high * (1.0 + gain), float("inf"))
        error = sure(gain * error + 2.0 * root * own, sizes)
        reach = root * (scale + tl.abs(bias)) * (1.0 + SLACK)
    to = next_bound_ptr + (slot * n_units + unit) * 2
    tl.store(to, error, mask=mask)
    tl.store(to + 1, (reach + error) * (1.0 + SLACK), mask=mask)
