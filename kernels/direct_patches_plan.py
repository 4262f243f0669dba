"""When a first convolution goes to tensor cores, its tiles, and what it costs: pure functions.

Instructions are those of a thread, from the compiled code for sm_90; for sm_80 a tile takes some
90 more (`python -m benchmarks.direct_kernels`).
"""

from __future__ import annotations

from biasgpu.kernels.direct_plan import BLOCK, Cost

ROWS = 64  # of a tile: windows of samples
WARPS = 4
THREADS = 32 * WARPS // BLOCK  # that share a draw
MIN_DEPTH = 16  # of a product on tensor cores
MAX_DEPTH = 64  # of a patch: more would not leave registers
MAX_BYTES = 1 << 26  # of patches
POOL = 4  # positions of a window that a 2x2 pool takes along
EXACT = 2**24  # whole numbers up to it are float32's, and sums of them exact
MAX_BASE_BITS = 12  # of a digit's base: half of it is a float16
MIN_BASE_BITS = 10

TILE, POSITION, PROGRAM, SAMPLE = 195, 60, 900, 60  # instructions of a thread
TENSOR = 8  # cycles of a tile's position and tap: sm_80; half of it on sm_90


def depth(fan_in: int) -> int:
    """Taps of a patch with the zeros behind it: a power of two."""
    return max(MIN_DEPTH, 1 << max(0, fan_in - 1).bit_length())


def n_tiles(n_windows: int, samples: int) -> int:
    """Tiles of ROWS windows of samples."""
    return -(-n_windows * samples // ROWS)


def base_bits(fan_in: int, most: int) -> int | None:
    """The largest base of digits, a power of two, that leaves sums of digits times pixels exact.

    Args:
        most: the largest pixel in magnitude, a whole number.
    """
    bits = MAX_BASE_BITS
    while fan_in * most * 2 ** (bits - 1) > EXACT:
        bits -= 1
    return bits if bits >= MIN_BASE_BITS else None


def patch_bytes(fan_in: int, n_windows: int, pooled: bool, samples: int) -> int:
    """Of all patches of a stage."""
    rows = n_tiles(n_windows, samples) * ROWS * (POOL if pooled else 1)
    return 2 * rows * depth(fan_in)


def patches_cost(fan_in: int, n_units: int, n_windows: int, *, pooled: bool, samples: int) -> Cost:
    """Of a convolution with its ReLU and its pooling, its weights not counted.

    Args:
        n_windows: that are written, of a sample.
        samples: of the stage, padded.
    """
    tiles, deep = n_tiles(n_windows, samples), depth(fan_in)
    positions = POOL if pooled else 1
    program = tiles * (TILE + positions * (POSITION + deep)) + PROGRAM + SAMPLE * samples
    read = patch_bytes(fan_in, n_windows, pooled, samples) // BLOCK
    return Cost(0, THREADS * n_units * program, n_units * (4 * samples * n_windows + read))


def tensor_cycles(fan_in: int, n_units: int, n_windows: int, *, pooled: bool, samples: int) -> int:
    """Of a warp's tensor core, for a warp's draws."""
    positions = n_tiles(n_windows, samples) * (POOL if pooled else 1)
    return TENSOR * THREADS * n_units * positions * depth(fan_in)


def pays(
    fan_in: int, n_units: int, n_windows: int, *, pooled: bool, samples: int, plain: int
) -> bool:
    """Whether tensor cores take a stage's first convolution.

    Args:
        plain: instructions of a thread without them.
    """
    if depth(fan_in) > MAX_DEPTH or patch_bytes(fan_in, n_windows, pooled, samples) > MAX_BYTES:
        return False
    cost = patches_cost(fan_in, n_units, n_windows, pooled=pooled, samples=samples)
    cycles = tensor_cycles(fan_in, n_units, n_windows, pooled=pooled, samples=samples)
    return max(cost.instructions, cycles) < plain
