"""What screening under method "deferred" may be off: its normals, its factors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from numba import njit

from biasgpu.engines.cpu import octaves
from biasgpu.engines.cpu.factor import FOUND, OPEN, factor_row, lengths_at, space_size
from biasgpu.engines.cpu.memory import address_of
from biasgpu.engines.cpu.octaves import ABSOLUTE_ERROR, RELATIVE_ERROR, quick_normals
from biasgpu.engines.cpu.simd import load, store
from biasgpu.normal import normal, upper_quantile


@njit
def _convert(words, out):
    for i in range(0, len(words), 64):
        four = (load(words, i), load(words, i + 16), load(words, i + 32), load(words, i + 48))
        found = quick_normals(four)
        store(out, i, found[0])
        store(out, i + 16, found[1])
        store(out, i + 32, found[2])
        store(out, i + 48, found[3])


def quick(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    out = np.empty(len(words), dtype=np.float32)
    _convert(words.view(np.int32), out)
    return np.asarray(out, dtype=np.float64) * 2.0**-31


def excess(words: npt.NDArray[np.uint32]) -> float:
    """How much further than the bound a quick normal lies from the law's, at worst."""
    law = normal(words)
    return float((np.abs(quick(words) - law) - RELATIVE_ERROR * np.abs(law)).max()) - ABSOLUTE_ERROR


def runs() -> list[npt.NDArray[np.uint32]]:
    """Both ends of every octave, and one run in 2^10 between."""
    starts = [2**k - 2**10 for k in range(11, 32)] + list(range(0, 2**31 - 2**12, 2**22))
    return [np.arange(start, start + 2**12, dtype=np.uint32) for start in starts]


def test_quick_normals_keep_within_their_bound() -> None:
    assert max(excess(words % np.uint32(2**31)) for words in runs()) < 0
    few = np.concatenate([np.arange(2**16), 2**31 - 1 - np.arange(2**16)]).astype(np.uint32)
    assert excess(few) < 0
    assert excess(few | np.uint32(2**31)) < 0


@pytest.mark.slow
def test_quick_normals_keep_within_their_bound_for_every_32nd_run_of_words() -> None:
    size = 2**15
    for start in range(0, 2**31, 2**20):
        assert excess(np.arange(start, start + size, dtype=np.uint32)) < 0


def test_the_bound_of_quick_normals_is_not_idle() -> None:
    worst = max(float(np.abs(quick(words) - normal(words)).max()) for words in runs()[:20])
    assert worst > ABSOLUTE_ERROR / 20


def test_octaves_are_fitted_to_the_quantiles() -> None:
    tail = np.asarray((np.arange(1, 2**16) + 0.5) * 2.0**-17, dtype=np.float64)
    assert np.abs(octaves.expected(tail) - upper_quantile(tail)).max() < 7.5e-7


@njit
def _factor(dots, lengths, away, space, gram_error):
    n = len(lengths)
    states = np.empty(n, np.int64)
    for i in range(n):
        space[lengths_at(n) + i] = lengths[i]
        space[lengths_at(n) + n + i] = away[i]
        row = dots[i].copy()
        states[i] = factor_row(address_of(row), i, address_of(space), n, gram_error)
    return states


def factor(h: npt.NDArray, away: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Factor, bounds and states for rows of activations that may be so far off."""
    n = len(h)
    space = np.zeros(space_size(n))
    states = _factor(h @ h.T, np.linalg.norm(h, axis=1), away, space, 1e-15)
    return space[: n * n].reshape(n, n), space[n * n : 2 * n * n].reshape(n, n), states


@pytest.mark.parametrize("likeness", [0.0, 0.9, 0.999])
def test_factors_of_shifted_activations_keep_within_their_bounds(likeness: float) -> None:
    rng = np.random.default_rng(7)
    share = 0.0
    for _ in range(40):
        n, m = 7, 30
        h = np.maximum(rng.normal(size=(n, m)) + likeness * 20 * rng.normal(size=m), 0)
        away = 10.0 ** rng.uniform(-7, -5) * np.linalg.norm(h, axis=1)
        r, bounds, states = factor(h, away)
        assert (states == FOUND).all()
        for kind in range(6):
            shift = rng.normal(size=(n, m))
            if kind % 2:  # along the least certain direction of all
                shift = np.outer(rng.choice([-1, 1], n), np.linalg.svd(h)[2][n - 1])
            shift *= (away / np.linalg.norm(shift, axis=1))[:, None]
            truth = np.linalg.cholesky((h + shift) @ (h + shift).T)
            off = np.abs(np.tril(truth - r))
            assert (off <= bounds + 1e-12).all()
            share = max(share, float((off / np.where(bounds > 0, bounds, np.inf)).max()))
    assert share > 0.02  # the bound is not idle


def test_inputs_without_a_new_direction_are_left_open() -> None:
    rng = np.random.default_rng(3)
    h = np.maximum(rng.normal(size=(5, 12)), 0)
    h[3] = h[0] + 2 * h[1]
    away = np.full(5, 1e-7)
    r, bounds, states = factor(h, away)
    assert states.tolist() == [FOUND, FOUND, FOUND, OPEN, FOUND]
    assert r[3, 3] == 0
    # Its row on the directions before it is right all the same, and what comes after, too.
    q = np.linalg.qr(h[[0, 1, 2, 4]].T)[0].T
    q *= np.sign(np.sum(q * h[[0, 1, 2, 4]], axis=1))[:, None]
    assert np.allclose(r[3, :3], q[:3] @ h[3], atol=1e-12)
    assert np.allclose(r[4, [0, 1, 2, 4]], q @ h[4], atol=1e-12)
    shifted = h + 1e-7 * np.eye(5, 12)
    moved = np.linalg.qr(shifted[:3].T)[0].T
    moved *= np.sign(np.sum(moved * shifted[:3], axis=1))[:, None]
    assert (np.abs(moved @ shifted[3] - r[3, :3]) <= bounds[3, :3]).all()


def test_activations_that_may_be_nothing_are_open() -> None:
    h = np.eye(3) * [1.0, 1e-9, 1.0]
    _, _, states = factor(h, np.array([1e-9, 1e-9, 1e-9]))
    assert states.tolist() == [FOUND, OPEN, FOUND]
