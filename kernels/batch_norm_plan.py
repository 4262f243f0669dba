"""How networks with batch norms are cut into programs, and what they cost: pure functions."""

from __future__ import annotations

from dataclasses import dataclass

LANES = 64  # windows (or numbers) of a program, at a time
WARPS = LANES // 32
MAX_SUMS = 32  # float64 sums of a thread: two registers each
MAX_WINDOWS = 2  # of a thread
NUMBERS = 4  # of a lane, where they are taken one by one
ROWS = 4  # elements of a matrix that a lane has
MAX_ROWS = 256  # of a matrix whose spectral norm is worth its products
MAX_OFFSET = 2**31 - 1  # 32 bits number what a draw has of one kind, and programs


@dataclass(frozen=True)
class Tile:
    """What a thread of a convolution computes: `windows` of `side` x `side` outputs, `units` each.

    Attributes:
        side: 2, or 1 where windows of 2 by 2 would mostly hang over the edge.
        windows, units: powers of two.
    """

    side: int
    windows: int
    units: int


def n_windows(rows: int, columns: int, side: int) -> int:
    """Windows that cover an image."""
    return -(-rows // side) * -(-columns // side)


def tiles(numbers: int, windows: int = 1) -> int:
    """Programs that share so many windows (or numbers), `windows` a lane."""
    return -(-numbers // (windows * LANES))


def tile(n_units: int, rows: int, columns: int, n_samples: int, pooled: bool) -> Tile:
    """The tile that takes the least time, by `cycles`.

    Args:
        n_units: output channels.
        rows, columns: of outputs, before they are pooled.
        n_samples: that go through together.
        pooled: a max-pool of 2 follows.
    """
    found: list[tuple[float, Tile]] = []
    for side in (2,) if pooled else (2, 1):
        numbers = n_samples * n_windows(rows, columns, side)
        for units in (8, 4, 2):
            windows = min(MAX_WINDOWS, MAX_SUMS // (4 * units))
            while windows > 1 and numbers <= windows // 2 * LANES:
                windows //= 2
            one = Tile(side, windows, units)
            programs = -(-n_units // units) * tiles(numbers, windows)
            found.append((programs * cycles(one), one))
    return min(found, key=lambda pair: pair[0])[1]


def cycles(tile: Tile) -> float:
    """Cycles that a quarter of a multiprocessor takes for an input channel of a warp: a model.

    float64 operations take 2: the products, and what applies a batch norm to the inputs.
    """
    inputs = tile.windows * (tile.side + 2) ** 2
    products = 9 * tile.side**2 * tile.windows * tile.units
    return max(2.0 * (products + inputs), l1_cycles(tile))


def l1_cycles(tile: Tile) -> float:
    """Those in which the first level of cache answers it: 128 bytes, or one line, take 4.

    A weight takes that as a whole, inputs side by side 8, every second one 16.
    """
    inputs = tile.windows * (tile.side + 2) ** 2
    return 4.0 * (9 * tile.units + 2 * tile.side * inputs)


def product_tiles(n_units: int) -> int:
    """Programs that share the products of a draw's rows of weights; 0 where there are too many."""
    return tiles(-(-n_units // ROWS) * n_units) if n_units <= MAX_ROWS else 0


def depth(numbers: int, windows: int = 1) -> int:
    """Roundings that a number passes on its way to a channel's sum, at most.

    Three in its window, one a window of its thread, then in pairs, then the programs' sums.
    """
    return 3 + windows + LANES.bit_length() + tiles(numbers, windows)


@dataclass(frozen=True)
class Cost:
    """What a draw takes, a model: see docs/gpu.md.

    Attributes:
        words: random words made.
        operations: in float64, of all threads, those on windows' overhang included.
        memory_bytes: read and written beyond the first level of cache.
    """

    words: int
    operations: int
    memory_bytes: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.words + other.words,
            self.operations + other.operations,
            self.memory_bytes + other.memory_bytes,
        )


def convolution_cost(
    tile: Tile, n_channels: int, n_units: int, n_inputs: int, numbers: int, kept: int,
    *, kernel: int, normed: bool,
) -> Cost:  # fmt: skip
    """Of a convolution; its weights apart.

    Args:
        n_inputs: numbers that come in, all samples; 0 where all draws share them.
        numbers: windows; kept: numbers that are written.
    """
    unit_tiles = -(-n_units // tile.units)
    threads = unit_tiles * tiles(numbers, tile.windows) * LANES
    products = kernel**2 * tile.side**2 * tile.units
    reads = (tile.side + kernel - 1) ** 2 if normed else 0
    return Cost(
        0,
        threads * tile.windows * n_channels * (products + reads),
        8 * (unit_tiles * n_inputs + kept),
    )


def weights_cost(n_units: int, n_blocks: int, columns: int) -> Cost:
    """Of drawing a layer's weights: written twice, read for the bounds and for the products."""
    return Cost(4 * n_units * n_blocks, 0, 40 * n_units * columns)


def element_cost(n_read: int, n_written: int) -> Cost:
    """Of a pass over numbers."""
    return Cost(0, 4 * n_read, 8 * (n_read + n_written))
