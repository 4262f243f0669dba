"""Where dense layers of method "direct" go to tensor cores, and how they are cut: pure functions.

Numbers are cycles of the pipe that binds, for a warp in the machine code for sm_90: issue where a
thread multiplies, integer logic on tensor cores (`benchmarks/tensor_gain.py`).
"""

from __future__ import annotations

STEP = 8  # Philox blocks of a step
DEPTH = 32  # of a product: a step's words, one weight of each
DIGITS = 4  # of an input
ROWS = (64, 32)  # of a tile
WARPS = 2
DIGIT_WARPS = 4  # of the kernel that makes digits
MAX_TERMS = 1 << 15  # of a sum: 2^14 times as many fit an integer of 32 bits
LEAST_STEP, MOST_STEP = 2.0**-50, 2.0**30  # of a weight: what is computed with it is in range
LEAST_COLUMNS = {"cuda": 8, "hip": 16}  # of a product; with fewer AMD's matrix cores are not used

# A weight where a thread multiplies, by samples: from inputs that all draws share, or of its own.
THREAD = {
    32: {2: (21.0, 21.6), 4: (28.3, 32.6), 8: (53.6, 67.6)},
    16: {2: (19.7, 20.2), 4: (28.0, 31.8), 8: (57.0, 68.7)},
    8: {2: (15.2, 15.7), 4: (23.0, 27.0), 8: (47.7, 62.4)},
}
# A weight on tensor cores, whatever the samples; a row of a tile, its place found and its sums put
# together; an input's digits, for each sample.
TENSOR = {32: (14.7, 16.0), 16: (7.6, 8.7), 8: (3.5, 4.4)}
ROW = {2: (370, 660), 4: (525, 880), 8: (830, 1200)}
FEW_ROWS = 300  # more a row, where a tile has the lesser number of them
INPUT = 45


def steps(n_blocks: int) -> int:
    """Steps that cover a unit's Philox blocks."""
    return -(-n_blocks // STEP)


def rows(n_units: int, shared: bool) -> int:
    """Rows of a tile: where inputs are a draw's own, as few as leave few of them empty."""
    if shared:
        return ROWS[0]
    return min(ROWS, key=lambda size: (-(-n_units // size) * size, -size))


def max_registers(samples: int, shared: bool) -> int:
    """What the compiler may take: as few as it does not spill with."""
    return {2: 128 if shared else 168, 4: 200}.get(samples, 255)


def padded(n_blocks: int, bits: int) -> int:
    """Inputs of a unit, filled up to whole steps."""
    return steps(n_blocks) * (32 // bits) * DEPTH


def bounds(samples: int, maker: str) -> int:
    """Columns of the product of bounds: one a sample, and as many as matrix cores take at least."""
    return max(samples, LEAST_COLUMNS[maker])


def takes(n_terms: int, step: float, normal: bool) -> bool:
    """Whether a layer's sums are within what the kernels' whole numbers hold."""
    return not normal and n_terms <= MAX_TERMS and LEAST_STEP <= step <= MOST_STEP


def pays(
    fan_in: int, n_units: int, n_blocks: int, *, bits: int, samples: int, shared: bool
) -> bool:
    """Whether a layer takes less time on tensor cores than where a thread multiplies.

    Args:
        fan_in: inputs of a unit.
        n_blocks: Philox blocks of a unit.
        samples: of a stage, padded.
        shared: all draws have the same inputs.
    """
    if samples not in ROW:
        return False
    per_block, own, size = 128 // bits, not shared, rows(n_units, shared)
    thread = THREAD[bits][samples][own] * n_units * n_blocks * per_block
    each = TENSOR[bits][own] * steps(n_blocks) * STEP * per_block + ROW[samples][own]
    each += FEW_ROWS if size < ROWS[0] else 0
    n_rows = -(-n_units // size) * size if own else n_units
    return n_rows * each + own * INPUT * fan_in * samples < thread
