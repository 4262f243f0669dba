"""Where dense layers of method "direct" go to tensor cores, and how they are cut: pure functions.

Numbers are instructions of a thread in the machine code for sm_90 (`benchmarks/tensor_gain.py`);
those for sm_80 differ by less than 3 %.
"""

from __future__ import annotations

STEP = 8  # Philox blocks of a step
DEPTH = 32  # of a product: a step's words, one weight of each
DIGITS = 4  # of an input
ROWS = (64, 32)  # of a tile
WARPS = 2
REGISTERS = {2: 168, 4: 200, 8: 255}  # that the compiler may take, by samples
MAX_TERMS = 1 << 15  # of a sum: 2^14 times as many fit an integer of 32 bits
LEAST_STEP, MOST_STEP = 2.0**-50, 2.0**30  # of a weight: what is computed with it is in range
LEAST_COLUMNS = {"cuda": 8, "hip": 16}  # of a product; with fewer AMD's matrix cores are not used

# A weight where a thread multiplies, by samples: from inputs that all draws share, or of its own.
THREAD = {
    32: {2: (20.7, 21.1), 4: (27.6, 31.7), 8: (52.3, 65.8)},
    16: {2: (19.4, 19.7), 4: (27.4, 30.8), 8: (55.8, 66.7)},
    8: {2: (14.9, 15.3), 4: (22.4, 26.2), 8: (46.5, 60.7)},
}
TENSOR = {32: 13.7, 16: 7.0, 8: 3.5}  # a weight on tensor cores, whatever the samples
ROW = {2: 400, 4: 560, 8: 840}  # and a row of a tile: its place, its sums put together
INPUT = 12  # and an input's digits, for each sample


def steps(n_blocks: int) -> int:
    """Steps that cover a unit's Philox blocks."""
    return -(-n_blocks // STEP)


def rows(n_units: int, shared: bool) -> int:
    """Rows of a tile: where inputs are a draw's own, as few as leave few of them empty."""
    if shared:
        return ROWS[0]
    return min(ROWS, key=lambda size: (-(-n_units // size) * size, -size))


def n_inputs(n_blocks: int, bits: int) -> int:
    """Inputs of a unit, filled up to whole steps."""
    return steps(n_blocks) * (32 // bits) * DEPTH


def bounds(samples: int, maker: str) -> int:
    """Columns of the product of bounds: one a sample, and as many as matrix cores take at least."""
    return max(samples, LEAST_COLUMNS[maker])


def takes(n_terms: int, step: float, normal: bool) -> bool:
    """Whether a layer's sums are within what the kernels' whole numbers hold."""
    return not normal and n_terms <= MAX_TERMS and LEAST_STEP <= step <= MOST_STEP


def pays(
    n_inputs: int, n_units: int, n_blocks: int, *, bits: int, samples: int, shared: bool
) -> bool:
    """Whether a layer takes fewer instructions on tensor cores than where a thread multiplies.

    Args:
        n_inputs: of a unit.
        n_blocks: Philox blocks of a unit.
        samples: of a stage, padded.
        shared: all draws have the same inputs.
    """
    if samples not in ROW:
        return False
    per_block = 128 // bits
    thread = THREAD[bits][samples][not shared] * n_units * n_blocks * per_block
    n_rows = n_units if shared else -(-n_units // rows(n_units, shared)) * rows(n_units, shared)
    each = TENSOR[bits] * steps(n_blocks) * STEP * per_block + ROW[samples]
    tensor = n_rows * each + (0 if shared else INPUT * n_inputs * samples)
    return tensor < thread
