"""Tiles, stages and sizes: pure functions, held by hand and by counting."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu.deferred.plan import Layer
from biasgpu.kernels import plan


def layer(units: int, offset: int = 0) -> Layer:
    return Layer(10, False, units, 1.0, True, offset, 4)


def positions(tiles: plan.Tiles) -> np.ndarray:
    """The flat positions that a kernel's lanes stand for."""
    blocks = tiles.first_block + np.arange(tiles.lanes * tiles.n_tiles * tiles.n_chunks)
    return (blocks // 16 * 64 + blocks % 16)[:, None] + 16 * np.arange(4)


@pytest.mark.parametrize("units", [1, 15, 16, 64, 65, 127, 128, 512, 1000, 4096, 3137 * 128, 10**5])
@pytest.mark.parametrize("offset", [0, 16, 48, 64, 1024 + 32])
def test_tiles_meet_every_unit_once(units: int, offset: int) -> None:
    tiles = plan.tiles(layer(units, offset))
    met = np.sort(positions(tiles).reshape(-1))
    inside = met[(met >= offset) & (met < offset + units)]
    assert np.array_equal(inside, np.arange(offset, offset + units))
    assert tiles.even == (len(met) == units)
    assert tiles.lanes in (16, 32)
    # Padding stays small, and so does the number of roundings.
    needed = met.max() // 64 + 1 - offset // 64
    assert len(met) <= 1.2 * 64 * -(-(offset % 64 + units) // 64) + 64, needed
    assert tiles.gamma(2, False) < 2.0**-24 * (16 + 40 + 4 * (units / 128) ** 0.5)


def test_tiles_of_the_usual_network() -> None:
    tiles = plan.tiles(layer(512))
    assert (tiles.lanes, tiles.n_tiles, tiles.n_chunks, tiles.even) == (32, 4, 1, True)
    assert not tiles.chunked(1)
    assert tiles.gamma(2, False) == pytest.approx(24 * 2.0**-24, rel=1e-2)
    assert tiles.gamma(2, True) == pytest.approx(24 * 2.0**-53, rel=1e-2)
    wide = plan.tiles(layer(10**5))
    assert wide.chunked(1) and not wide.chunked(2)
    assert wide.gamma(8, False) < wide.gamma(16, False)
    with pytest.raises(ValueError, match="kernels count up to"):
        plan.tiles(layer(2**31))


def test_only_few_units_may_all_be_off() -> None:
    assert plan.tiles(layer(64)).can_die
    assert not plan.tiles(layer(65)).can_die


def test_stages() -> None:
    assert plan.stages(1) == [1]
    assert plan.stages(2) == [2]
    assert plan.stages(3) == [2, 3]
    assert plan.stages(16) == [2, 4, 8, 12, 16]
    assert plan.stages(40) == [2, 4, 8, 12, 18, 27, 40]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9, 16, 17, 40, 100])
def test_blocks_and_pairs_cover_the_triangle_once(n: int, wide: bool) -> None:
    rows, columns = plan.rows(n, wide), plan.columns(n, wide)
    seen = np.zeros((n + rows, n + rows), dtype=int)
    for block in range(plan.n_blocks(n, wide)):
        seen[block * rows : (block + 1) * rows, block * rows : (block + 1) * rows] += 1
    for pair in range(plan.n_pairs(n, wide)):
        row, column = 1, pair  # as in the gram kernel
        while column >= row * (rows // columns):
            column -= row * (rows // columns)
            row += 1
        seen[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns] += 1
    assert (seen[:n, :n][np.tril_indices(n)] == 1).all()


def test_sizes() -> None:
    assert plan.bytes_per_draw(2, 2, False) == 4 * 40 + 2 * 60 + 12 + 16
    for n_samples, n_outputs in ((1, 1), (2, 12), (100, 2)):
        most = plan.max_capacity(n_samples, n_outputs)
        entries = n_samples * max(n_samples, n_outputs)
        assert most * entries < 2**31 <= (most + 1) * entries


def test_probes_look_where_most_units_are() -> None:
    assert plan.probe_group(layer(64)) == 0
    assert plan.probe_group(layer(200, 48)) == 1
    assert plan.probe_group(layer(20, 48)) == 0
    assert plan.probe_group(layer(10, 48)) == 0
    assert plan.probe_group(layer(60, 128 + 16)) == 2
