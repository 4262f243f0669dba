"""The SIMD building blocks against the law in NumPy: words, grids, normals."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from biasgpu import normal as law
from biasgpu import priors, rng
from biasgpu.engines.cpu.gaussian import EPSILON_F32, normal_f64, normals_f32
from biasgpu.engines.cpu.philox import low_words
from biasgpu.engines.cpu.program import NORMAL, UNIFORM_8, UNIFORM_16, UNIFORM_32
from biasgpu.engines.cpu.screen import name_lanes
from biasgpu.engines.cpu.simd import load, store
from biasgpu.engines.cpu.weights import draw_units
from biasgpu.engines.cpu.workspace import ALIGNMENT, aligned

SEED = 2**63 + 12345
FIRST_DRAW = 2**41 - 5  # the low half of the draw number wraps within the lanes


@njit
def _screening_normals(words, out):
    for i in range(0, len(words), 64):
        four = load(words, i), load(words, i + 16), load(words, i + 32), load(words, i + 48)
        results = normals_f32(four)
        for place in range(4):
            store(out, i + 16 * place, results[place])


@njit
def _law_normals(words, out):
    for i in range(0, len(words), 8):
        store(out, i, normal_f64(low_words(load(words, i))))


@njit
def _draw(buffer, stride, names, block, n_blocks, count, family, scale, seed):
    draw_units(buffer, stride, names, block, n_blocks, count, family, scale, seed)


def _both(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    quick, exact = np.empty(len(words), np.float32), np.empty(len(words))
    _screening_normals(words.view(np.int32), quick)
    quick *= np.float32(2.0**-31)
    _law_normals(words.astype(np.uint64), exact)
    return quick, exact


def test_compiled_normals_have_the_bits_of_the_law() -> None:
    edges = np.array([0, 1, 2, 3, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1], np.uint32)
    boundary = (0.075 * 2**32 + np.arange(-500, 500)).astype(np.uint32)  # where |q| is 0.425
    powers = (2 ** np.arange(31)).astype(np.uint32)[:24]
    spread = np.random.default_rng(1).integers(0, 2**32, 200_000, dtype=np.uint32)
    words = np.concatenate([edges, powers, boundary, spread])
    words = words[: len(words) // 64 * 64]
    _, exact = _both(words)
    assert np.array_equal(exact, law.normal(words))


def _worst_screening_error(starts: range, size: int) -> float:
    worst = 0.0
    for start in starts:
        quick, exact = _both(np.arange(start, start + size, dtype=np.uint32))
        worst = max(worst, float(np.abs(quick / exact - 1).max()))
    return worst


def test_screening_normals_keep_within_their_bound() -> None:
    # Densely at the far tail and at zero, and one run in 2^10 between.
    tail = _worst_screening_error(range(0, 2**20, 2**16), 2**16)
    centre = _worst_screening_error(range(2**31 - 2**20, 2**31, 2**16), 2**16)
    between = _worst_screening_error(range(0, 2**31, 2**22), 2**12)
    assert max(tail, centre, between) < EPSILON_F32


@pytest.mark.slow
def test_screening_normals_keep_within_their_bound_for_every_word() -> None:
    assert _worst_screening_error(range(0, 2**31, 2**20), 2**20) < EPSILON_F32


def test_screening_normals_turn_their_sign_with_the_top_bit() -> None:
    words = np.random.default_rng(2).integers(0, 2**31, 4096, dtype=np.uint32)
    assert np.array_equal(_both(words)[0], -_both(words | np.uint32(2**31))[0])


def _names(lanes: int) -> np.ndarray:
    names = np.zeros(32, np.uint64)
    for lane in range(lanes):
        name_lanes(names, lane, np.uint64(FIRST_DRAW + lane))
    return names


@pytest.mark.parametrize(
    ("prior", "family", "scale"),
    [
        ("uniform:0.3", UNIFORM_32, None),
        ("kaiming-uniform16", UNIFORM_16, None),
        ("uniform8:7", UNIFORM_8, None),
        ("kaiming-normal", NORMAL, priors.kaiming_normal_std(33)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_units_weights_are_those_of_the_law(prior, family, scale, dtype) -> None:
    law_prior = priors.make(prior)
    n_blocks, block, start, fan_in = 5, 2**32 - 7, 3, 33
    if scale is None:
        assert isinstance(law_prior, priors.UniformPrior)
        scale = float(law_prior.step(fan_in))
    lanes = 16 if dtype == np.float32 else 8
    n = n_blocks * 128 // law_prior.bits
    buffer = aligned((start + n + 1) * lanes, dtype)
    buffer[:] = -77
    seed = np.uint64(SEED)
    _draw(buffer[start * lanes :], 0, _names(lanes), block, n_blocks, 1, family, scale, seed)
    got = buffer.reshape(-1, lanes)
    assert (got[:start] == -77).all()
    assert (got[start + n :] == -77).all()
    for lane in range(lanes):
        words = rng.words(SEED, FIRST_DRAW + lane, block + np.arange(n_blocks)).reshape(-1)
        expected = law_prior.weights(words, fan_in)
        if family == NORMAL and dtype == np.float32:
            error = np.abs(got[start : start + n, lane] / expected.astype(np.float64) - 1)
            assert error.max() < EPSILON_F32 + 4 * 2.0**-24
        else:
            assert np.array_equal(got[start : start + n, lane], expected)


def test_buffers_start_on_cache_lines() -> None:
    for n in (1, 7, 1000):
        assert aligned(n, np.float32).ctypes.data % ALIGNMENT == 0
        assert len(aligned(n, np.float64)) == n
