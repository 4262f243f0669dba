"""What the cores can do at best: random words a second, and products a second.

Measured with the engine's own instructions and nothing else around them, on all threads at once, in
the run that uses them; the fractions reached are of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.octaves import quick_normals
from biasgpu.engines.cpu.philox import blocks_of_one
from biasgpu.engines.cpu.program import NORMAL, UNIFORM_32
from biasgpu.engines.cpu.quads import add4, keep4, load4, madd4, zero4
from biasgpu.engines.cpu.simd import load, store
from biasgpu.engines.cpu.vectors import LANES_F32, LANES_F64
from biasgpu.engines.cpu.weights import draw_units, lanes
from biasgpu.engines.cpu.workspace import aligned

BLOCKS = 64  # of a unit in the loop for words: its weights stay in the first-level cache


@njit(nogil=True)
def _words(buffer: Any, names: Any, repeats: int, family: int) -> None:
    for i in range(repeats):
        draw_units(buffer, 0, names, i, BLOCKS, 1, family, 0.5, np.uint64(1))


@njit(nogil=True)
def _quick_normals(buffer: Any, repeats: int) -> None:
    seed, step = np.uint64(1), np.uint64(LANES_F32)
    for i in range(repeats):
        for at in range(0, len(buffer), 8 * LANES_F32):
            block = np.uint64(at // 4)
            words = blocks_of_one(buffer, seed, np.uint64(i), block, block + step, seed, seed)
            one, two = quick_normals(words[:4]), quick_normals(words[4:])
            for place, vector in enumerate(one + two):
                store(buffer, at + place * LANES_F32, vector)


@njit(nogil=True)
def _products(buffer: Any, repeats: int) -> None:
    a, b, c = zero4(buffer), zero4(buffer), zero4(buffer)
    four, one = load4(buffer, (0, 1, 2, 3), 0), load(buffer, 64)
    for _ in range(repeats):
        a, b, c = madd4(four, one, a), madd4(four, one, b), madd4(four, one, c)
    width = lanes(buffer)
    keep4(buffer, 0, width, 2 * width, 3 * width, add4(add4(a, b), c))


@dataclass(frozen=True)
class Ceilings:
    """Per second, all threads together.

    Attributes:
        uniform_words_per_s, normal_words_per_s: weights made and written to the nearest cache.
        products_per_s: float32 multiply-adds from registers.
        quick_normals_per_s: normals as method "deferred" makes them, written to the nearest cache.
    """

    uniform_words_per_s: float
    normal_words_per_s: float
    products_per_s: float
    quick_normals_per_s: float


def measure(threads: int, seconds: float = 1.0) -> Ceilings:
    """The ceilings of this machine: the best of the repeats that `seconds` allow, at least 3."""
    buffers = [aligned(4 * BLOCKS * LANES_F32, np.float32) for _ in range(threads)]
    names = np.zeros(32, np.uint64)
    words = 4 * BLOCKS * LANES_F32 * 1000
    return Ceilings(
        _best(lambda i: _words(buffers[i], names, 1000, UNIFORM_32), words, threads, seconds),
        _best(lambda i: _words(buffers[i], names, 1000, NORMAL), words, threads, seconds),
        _best(lambda i: _products(buffers[i], 10**6), 12 * LANES_F32 * 10**6, threads, seconds),
        _best(lambda i: _quick_normals(buffers[i], 1000), words, threads, seconds),
    )


def law_products(threads: int, seconds: float = 1.0) -> float:
    """Products of the law a second, all threads together: float64, rounded before the addition."""
    buffers = [aligned(16 * LANES_F64, np.float64) for _ in range(threads)]
    amount = 12 * LANES_F64 * 10**6
    return _best(lambda i: _products(buffers[i], 10**6), amount, threads, seconds)


def _best(work: Callable[[int], None], amount: int, threads: int, seconds: float) -> float:
    work(0)  # compile
    best, repeats, start = 0.0, 0, time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        while repeats < 3 or time.perf_counter() - start < seconds:
            begin = time.perf_counter()
            for _ in pool.map(work, range(threads)):
                pass
            best = max(best, threads * amount / (time.perf_counter() - begin))
            repeats += 1
    return best
