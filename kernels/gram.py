"""A hidden layer, of which nothing is kept but the inner products of its activations.

For a tile of units the normals of direction j are made from their names and added, times a
coefficient, to the pre-activations of all samples from j on; what a ReLU leaves of these is
multiplied pairwise. No weight and no activation is ever written to memory.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.normal import normal, normal_wide
from biasgpu.kernels.philox import halves, philox


@triton.jit
def _normal(word, WIDE: tl.constexpr):
    if WIDE:
        return normal_wide(word)
    else:
        return normal(word)


@triton.jit
def _add(y, c, z):
    return y + c * z[None, :]


@triton.jit
def _masked(y, unit, units, fill):
    return tl.where(((unit >= 0) & (unit < units))[None, :], y, fill)


@triton.jit
def _products(a, b):
    return a[:, None, :] * b[None, :, :]


@triton.jit
def _largest(top, y, RECTIFIED: tl.constexpr):
    return tl.maximum(top, y if RECTIFIED else tl.abs(y))


# One compiled kernel for all values: none of them is worth another.
@triton.jit(
    do_not_specialize=[
        "entry_stride",
        "draw_stride",
        "capacity",
        "units",
        "offset",
        "direction_blocks",
        "first_block",
        "n_chunks",
        "n_tiles",
    ]
)
def _gram_kernel(
    name_ptr,
    draws_ptr,
    coefficient_ptr,
    entry_stride,
    draw_stride,
    gram_ptr,
    square_ptr,
    top_ptr,
    capacity,
    units,
    offset,
    direction_blocks,
    first_block,
    n_chunks,
    n_tiles,
    N_SAMPLES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    LANES: tl.constexpr,
    DIAGONAL: tl.constexpr,
    EVEN: tl.constexpr,
    RECTIFIED: tl.constexpr,
    CAN_DIE: tl.constexpr,
    WIDE: tl.constexpr,
    CHUNKED: tl.constexpr,
    STREAM: tl.constexpr,
):
    """Inner products of a layer's activations, for a block of samples by another, of one draw.

    Args:
        name_ptr: int64 `(2,)`: bits of the seed and of the first draw.
        draws_ptr: int64 `(n,)`: places of the draws after the first.
        coefficient_ptr: float32: coefficient of sample i on direction j <= i at
            `(i * N_SAMPLES + j) * entry_stride + slot * draw_stride`.
        gram_ptr: float32 `(N_SAMPLES**2, capacity)`: entries i * N_SAMPLES + j, j <= i, are set.
        square_ptr: float32 `(capacity,)`: gets the sum of all squared normals, or a little more.
        top_ptr: float32 `(N_SAMPLES, capacity)`: with CAN_DIE gets each sample's largest
            pre-activation (magnitude, where the layer is not rectified).
        units, offset: of the layer, as in its plan.
        direction_blocks: Philox blocks of a direction over all layers.
        first_block, n_chunks, n_tiles: the layer's blocks: `n_chunks` times `n_tiles` tiles of
            LANES blocks, from `first_block` on.
        CHUNKED: each chunk's sums are added apart, and then the chunks': a term is rounded some
            `4 n_tiles + n_chunks` times, not `4 n_tiles n_chunks`. Takes more registers.
        EVEN: no position of these blocks belongs to another layer or to none.
        WIDE: compute in float64; all pointers here called float32 are float64 then.
        DIAGONAL: the two blocks of samples are the same one of ROWS, number `program_id(1)`; else a
            block of ROWS and one of COLUMNS, number `program_id(1)` of those below the diagonal.

    Grid: `(n draws, sample blocks)`, or `(n draws, pairs of them)`; one warp.
    Bytes: per draw and block 4 for each coefficient (of the cache, mostly) and each inner product.
    Operations: about 280 for the 4 normals of a block in a direction, 4 more a sample, and 4 for
        each inner product.
    Random words: (directions up to the later block) x (positions).
    """
    FLOAT = tl.float64 if WIDE else tl.float32
    slot = tl.program_id(0).to(tl.int64)
    key_low, key_high = halves(tl.load(name_ptr))
    draw_low, draw_high = halves(tl.load(name_ptr + 1) + tl.load(draws_ptr + slot))
    stream = tl.full((), STREAM, tl.uint32)
    if DIAGONAL:
        row_block = tl.program_id(1)
        column_block = row_block
    else:
        # Pairs in the order (1, 0), (2, 0), (2, 1), (3, 0), ... where ROWS is COLUMNS.
        row_block = 1
        column_block = tl.program_id(1)
        while column_block >= row_block * (ROWS // COLUMNS):
            column_block -= row_block * (ROWS // COLUMNS)
            row_block += 1
    rows = row_block * ROWS + tl.arange(0, ROWS)
    columns = column_block * COLUMNS + tl.arange(0, COLUMNS)
    n_directions = tl.minimum((row_block + 1) * ROWS, N_SAMPLES)
    lanes = tl.arange(0, LANES)
    base = coefficient_ptr + slot * draw_stride
    # Every lane reads coefficients for itself: nothing to exchange. Within a workspace 32 bits are
    # enough for an address, and save registers; workspaces are made no larger.
    row_entries = rows[:, None] * N_SAMPLES + tl.zeros([ROWS, LANES], tl.int32)
    column_entries = columns[:, None] * N_SAMPLES + tl.zeros([COLUMNS, LANES], tl.int32)

    total = tl.zeros([ROWS, COLUMNS, LANES], FLOAT)
    square = tl.zeros([LANES], FLOAT)
    top = tl.full([ROWS, LANES], float("-inf"), FLOAT)
    for chunk in range(n_chunks):
        part = tl.zeros([ROWS, COLUMNS, LANES], FLOAT) if CHUNKED else total
        squares = tl.zeros([LANES], FLOAT)
        for tile in range(n_tiles):
            block = first_block + (chunk * n_tiles + tile) * LANES + lanes
            y0 = tl.zeros([ROWS, LANES], FLOAT)
            y1, y2, y3 = y0, y0, y0
            x0 = tl.zeros([COLUMNS, LANES], FLOAT)
            x1, x2, x3 = x0, x0, x0
            for j in range(n_directions):
                number = (block.to(tl.int64) + tl.full((), 1, tl.int64) * j * direction_blocks).to(
                    tl.uint32
                )
                w0, w1, w2, w3 = philox(number, stream, draw_low, draw_high, key_low, key_high)
                z0, z1 = _normal(w0, WIDE), _normal(w1, WIDE)
                z2, z3 = _normal(w2, WIDE), _normal(w3, WIDE)
                squares += (z0 * z0 + z1 * z1) + (z2 * z2 + z3 * z3)
                there = (rows[:, None] >= j) & (rows[:, None] < N_SAMPLES)
                c = tl.load(base + (row_entries + j) * entry_stride, mask=there, other=0.0)
                y0, y1, y2, y3 = _add(y0, c, z0), _add(y1, c, z1), _add(y2, c, z2), _add(y3, c, z3)
                if not DIAGONAL:
                    there = columns[:, None] >= j
                    c = tl.load(base + (column_entries + j) * entry_stride, mask=there, other=0.0)
                    x0, x1 = _add(x0, c, z0), _add(x1, c, z1)
                    x2, x3 = _add(x2, c, z2), _add(x3, c, z3)
            unit = (block >> 4) * 64 + (block & 15) - offset
            if CAN_DIE:
                floor = float("-inf") if RECTIFIED else 0.0
                top = _largest(top, _masked(y0, unit, units, floor), RECTIFIED)
                top = _largest(top, _masked(y1, unit + 16, units, floor), RECTIFIED)
                top = _largest(top, _masked(y2, unit + 32, units, floor), RECTIFIED)
                top = _largest(top, _masked(y3, unit + 48, units, floor), RECTIFIED)
            if RECTIFIED:
                y0, y1 = tl.maximum(y0, 0.0), tl.maximum(y1, 0.0)
                y2, y3 = tl.maximum(y2, 0.0), tl.maximum(y3, 0.0)
                x0, x1 = tl.maximum(x0, 0.0), tl.maximum(x1, 0.0)
                x2, x3 = tl.maximum(x2, 0.0), tl.maximum(x3, 0.0)
            if not EVEN:
                y0, y1 = _masked(y0, unit, units, 0.0), _masked(y1, unit + 16, units, 0.0)
                y2, y3 = _masked(y2, unit + 32, units, 0.0), _masked(y3, unit + 48, units, 0.0)
            if DIAGONAL:
                x0, x1, x2, x3 = y0, y1, y2, y3
            part += _products(y0, x0)
            part += _products(y1, x1)
            part += _products(y2, x2)
            part += _products(y3, x3)
        total = total + part if CHUNKED else part
        square += squares
    gram = tl.sum(total, axis=2)
    inside = (rows[:, None] < N_SAMPLES) & (columns[None, :] <= rows[:, None])
    entry = rows[:, None].to(tl.int64) * N_SAMPLES + columns[None, :]
    tl.store(gram_ptr + entry * capacity + slot, gram, mask=inside)
    if DIAGONAL:
        # Only the last block meets all directions.
        if n_directions == N_SAMPLES:
            tl.store(square_ptr + slot, tl.sum(square, axis=0))
        if CAN_DIE:
            largest = tl.max(top, axis=1)
            tl.store(top_ptr + rows.to(tl.int64) * capacity + slot, largest, mask=rows < N_SAMPLES)
