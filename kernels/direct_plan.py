"""How method "direct" is cut into tiles and stages, and what it costs: pure functions."""

from __future__ import annotations

from dataclasses import dataclass

BLOCK = 64  # draws of a program, one a thread
MAX_SAMPLES = 8  # of a stage: more would not leave registers for their sums
FIRST_SAMPLES = 2  # most draws fail within two
MAX_UNITS = 8  # of a program
MAX_SUMS = 16  # sums that a thread keeps in registers, each with its bound; half in float64
MAX_REGISTERS = 255
MAX_OFFSET = 2**31 - 1  # 32 bits number the values of a program's activations

# Instructions of one thread, from the compiled code for sm_90 (benchmarks/kernel_resources.py).
PHILOX_BLOCK = 85
UNIFORM_WEIGHT = 3
NORMAL_WEIGHT = 50


@dataclass(frozen=True)
class Stage:
    """Samples `first, first + 1, ..., first + n - 1`; kernels compute `padded`, a power of two."""

    first: int
    n: int

    @property
    def padded(self) -> int:
        """The next power of two."""
        return 1 << max(0, self.n - 1).bit_length()

    @property
    def end(self) -> int:
        """The first sample after it."""
        return self.first + self.n


def stages(n_train: int, first_samples: int = FIRST_SAMPLES) -> list[Stage]:
    """2 samples, then 4, then 8 at a time: each takes a draw's weights anew, so there are few.

    Args:
        n_train: all samples.
        first_samples: of the first stage.
    """
    found, first, size = [], 0, first_samples
    while first < n_train:
        found.append(Stage(first, min(size, n_train - first)))
        first += size
        size = min(2 * size, MAX_SAMPLES)
    return found


def tile_units(n_units: int, samples: int, wide: bool, normal: bool = False) -> int:
    """Units of a program: a power of two.

    Many share what is loaded of the inputs, and keep a thread's pipelines busy; but sums have to
    stay in registers, and units that a tile has beyond the layer's are work for nothing.
    """
    most = min(MAX_UNITS, max(1, MAX_SUMS // (2 if wide else 1) // samples))
    if wide and normal:  # whose formula takes many registers in float64
        most = min(most, 2)
    sizes = [size for size in (8, 4, 2, 1) if size <= most]

    def cost(size: int) -> float:
        return -(-n_units // size) * (size + 0.5)  # half a unit's work for loading inputs

    return min(sizes, key=cost)


def turned(bits: int, normal: bool, wide: bool) -> bool:
    """Whether a dense layer goes through a Philox block word by word, not all words at once."""
    return bits < 32 or (normal and wide)


def max_registers(samples: int, wide: bool) -> int | None:
    """What the compiler may take, where left to itself it would rather spill a few.

    The first stage in float32 is left to it: most of the time goes there, and more warps at a time
    hide what they wait for.
    """
    return MAX_REGISTERS if wide or samples > FIRST_SAMPLES else None


def chunk_blocks(n_blocks: int, per_block: int) -> int:
    """Philox blocks whose terms are summed before they join the total: about the root of all."""
    size = 1
    while size * size * per_block < n_blocks:
        size += 1
    return size


def depth(n_blocks: int, per_block: int) -> int:
    """Roundings a term of a dense layer's sum passes through at most."""
    size = chunk_blocks(n_blocks, per_block)
    return size * per_block + -(-n_blocks // size) + 1


@dataclass(frozen=True)
class Cost:
    """What a draw takes in one stage, a model: see docs/gpu.md.

    Attributes:
        words: random words made.
        instructions: of one thread.
        memory_bytes: read and written, of the caches mostly.
    """

    words: int
    instructions: int
    memory_bytes: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.words + other.words,
            self.instructions + other.instructions,
            self.memory_bytes + other.memory_bytes,
        )


def _drawing(n_units: int, n_blocks: int, bits: int, normal: bool) -> int:
    weight = NORMAL_WEIGHT if normal else UNIFORM_WEIGHT
    return n_units * n_blocks * (PHILOX_BLOCK + weight * (128 // bits))


def dense_cost(
    n_inputs: int, n_units: int, n_blocks: int, *, bits: int, normal: bool, samples: int
) -> Cost:
    """Of a dense layer.

    Args:
        n_blocks: Philox blocks of a unit.
        samples: of the stage, padded.
    """
    tiles = -(-n_units // tile_units(n_units, samples, False))
    weights = n_units * n_blocks * (128 // bits)
    sums = 2 * samples * weights  # a product each, for the sum and for the bound
    loads = 2 * samples * n_inputs * tiles
    return Cost(
        4 * n_units * n_blocks,
        _drawing(n_units, n_blocks, bits, normal) + sums + loads,
        4 * loads + 8 * samples * n_units,
    )


def draw_cost(n_units: int, n_blocks: int, columns: int, *, bits: int, normal: bool) -> Cost:
    """Of a convolution's weights, which go to memory.

    Args:
        n_blocks: Philox blocks of a unit.
        columns: weights of a unit, its bias included.
    """
    return Cost(
        4 * n_units * n_blocks,
        _drawing(n_units, n_blocks, bits, normal) + n_units * columns,
        4 * n_units * columns,
    )


def convolution_cost(
    fan_in: int, n_units: int, n_positions: int, kernel: int, pooled: bool, *, samples: int
) -> Cost:
    """Of a convolution, its ReLU and its pooling; its weights lie in memory.

    Args:
        n_positions: that are computed: four a window where a pool follows.
        samples: of the stage, padded.
    """
    size = tile_units(n_units, samples * (4 if pooled else 1), False)
    tiles = -(-n_units // size)
    windows = n_positions // 4 if pooled else n_positions
    rows = fan_in // kernel
    inputs = 2 * (kernel + 1) * rows if pooled else kernel * rows
    loads = tiles * windows * (samples * inputs + size * fan_in)
    sums = tiles * size * samples * fan_in * n_positions
    return Cost(0, sums + loads, 4 * loads + 8 * samples * n_units * windows)
