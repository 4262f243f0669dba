"""How a layer is cut into tiles, and training samples into stages: pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from biasgpu.deferred.plan import GROUP, LANES, Layer

MAX_ROWS = 8  # samples whose products with each other one warp's registers hold, in float32
MAX_ROWS_WIDE = 4  # in float64
FIRST_STAGE = 2  # samples; most draws fail within two
UNIT_ROUNDOFF = {False: 2.0**-24, True: 2.0**-53}  # float32; wide: float64
WARP = 32
TREE = 8  # roundings of a sum over the lanes of a tile, at most
FEW_TILES = 8  # that need no chunks
CAN_DIE_UNITS = 64  # of more units some one is alive: the odds against it are 2**64
MAX_SAMPLES = 1448  # of a stage: its pairs of blocks are numbered along a grid's second axis
MAX_UNITS = 2**31 - 2**16


@dataclass(frozen=True)
class Tiles:
    """A hidden layer as the gram kernel goes through it.

    Attributes:
        lanes: Philox blocks of a tile, four units each.
        first_block: of the layer, within a direction.
        n_tiles, n_chunks: tiles of a chunk, and chunks: see the gram kernel.
        even: all positions of the tiles are the layer's units.
        can_die: whether all units of a sample may be off; checked for in few units only.
    """

    lanes: int
    first_block: int
    n_tiles: int
    n_chunks: int
    even: bool
    can_die: bool

    def chunked(self, n_blocks: int) -> bool:
        """Whether chunks are added apart. Pairs of blocks have no registers left for that."""
        return self.n_chunks > 1 and n_blocks == 1

    def gamma(self, n_samples: int, wide: bool) -> float:
        """Relative error of an inner product, beside the product of lengths."""
        if self.chunked(n_blocks(n_samples, wide)):
            roundings = 4 * self.n_tiles + self.n_chunks + TREE
        else:
            roundings = 4 * self.n_tiles * self.n_chunks + TREE
        product = roundings * UNIT_ROUNDOFF[wide]
        return product / (1.0 - product) * (1.0 + 2.0**-10)


def tiles(layer: Layer) -> Tiles:
    """The tiles of a hidden layer.

    Padding is kept small, and the number of roundings: `4 n_tiles + n_chunks`.

    Raises:
        ValueError: so many units that their numbers leave 32 bits.
    """
    if layer.units > MAX_UNITS:
        raise ValueError(f"{layer.units} units; kernels count up to {MAX_UNITS}")
    first, last = layer.offset // GROUP, -(-(layer.offset + layer.units) // GROUP)
    n_blocks = LANES * (last - first)
    lanes = min(WARP, n_blocks)
    n = -(-n_blocks // lanes)

    def cost(n_tiles: int) -> float:
        n_chunks = -(-n // n_tiles)
        return (4 * n_tiles + n_chunks) * (1 + 8 * (n_tiles * n_chunks / n - 1))

    n_tiles = n if n <= FEW_TILES else min(range(1, int(n**0.5) + 2), key=cost)
    n_chunks = -(-n // n_tiles)
    return Tiles(
        lanes=lanes,
        first_block=LANES * first,
        n_tiles=n_tiles,
        n_chunks=n_chunks,
        even=layer.offset % GROUP == 0 and 4 * lanes * n_tiles * n_chunks == layer.units,
        can_die=layer.units <= CAN_DIE_UNITS,
    )


def stages(n_train: int) -> list[int]:
    """Samples of each stage: 2, 4, 8, then half as many again, and all of them.

    Up to `MAX_ROWS` a stage costs in proportion to its samples, later to a higher power of them.
    """
    ends, end = [], min(FIRST_STAGE, n_train)
    while end < n_train:
        ends.append(end)
        end += end if end < MAX_ROWS else end // 2
    return [*ends, n_train]


def rows(n_samples: int, wide: bool) -> int:
    """Samples of a block: a power of two."""
    most = MAX_ROWS_WIDE if wide else MAX_ROWS
    return min(most, 1 << max(0, n_samples - 1).bit_length())


def columns(n_samples: int, wide: bool) -> int:
    """Samples of the block that one of `rows` is paired with: fewer, for want of registers."""
    return rows(n_samples, wide) if wide else max(1, rows(n_samples, wide) // 2)


def n_pairs(n_samples: int, wide: bool) -> int:
    """Pairs of a block of `rows` with one of `columns` before it."""
    blocks = n_blocks(n_samples, wide)
    return blocks * (blocks - 1) // 2 * (rows(n_samples, wide) // columns(n_samples, wide))


def n_blocks(n_samples: int, wide: bool) -> int:
    """Blocks of samples."""
    return -(-n_samples // rows(n_samples, wide))


def bytes_per_draw(n_samples: int, n_outputs: int, wide: bool) -> int:
    """Working space of a draw in a stage: see `launch.Workspace`."""
    size, s = 8 if wide else 4, n_samples
    return (32 + 2 * size) * s * s + (56 + size) * s + size + 8 + size * s * n_outputs


def max_capacity(n_samples: int, n_outputs: int) -> int:
    """Draws of a workspace so that 32 bits number the values of each of its parts."""
    return (2**31 - 1) // (n_samples * max(n_samples, n_outputs))


def probe_group(layer: Layer) -> int:
    """The group of 64 positions in which a layer has the most units among the first ones."""
    first, end = layer.offset // GROUP, layer.offset + layer.units
    whole = -(-layer.offset // GROUP)
    return whole if min(end - whole * GROUP, GROUP) > (first + 1) * GROUP - layer.offset else first
