"""What searches propose, for sixteen networks at once: `biasgpu.training.search` in lanes.

Words come eight lanes at a time, as float64 lanes do, and normals are the law's own. A product or a
sum of two float32 numbers that is rounded to float64 and then to float32 is what it would be if
it were rounded once (53 bits are more than 2 * 24 + 1), so the weights are the law's to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from biasgpu.engines.cpu.gaussian import normal_f64
from biasgpu.engines.cpu.philox import named, several_blocks
from biasgpu.engines.cpu.simd import load, store
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.weights import to_float32_and_back
from biasgpu.training.cpu.plan import LANES

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
WORDS = 8 * LANES_F64  # room for two blocks' words of eight lanes


@njit
def choose(
    stream: Any, seed: Any, names: Any, n_parameters: int, words: Any, like: Any, places: Any,
    signs: Any,
) -> None:  # fmt: skip
    """One parameter and a sign for each lane, to `places` (int64) and `signs` (float32).

    Args (in numba):
        stream: uint64, of the proposal.
        names: the draws of the lanes.
        words: int32 `(WORDS,)`, scratch.
        like: an array of float64, for eight lanes.
    """
    k0, k1 = seed & _LOW, seed >> _HALF
    for half in range(2):
        draws = named(like, names[16 * half :])
        block = several_blocks(like, draws, stream, (np.uint64(0),), k0, k1)
        store(words, 0, block[0])
        store(words, LANES_F64, block[1])
        for lane in range(LANES_F64):
            first, second = words[lane], words[LANES_F64 + lane]
            word = np.uint64(np.uint32(first))
            places[8 * half + lane] = np.int64((word * np.uint64(n_parameters)) >> _HALF)
            signs[8 * half + lane] = np.float32(-1.0) if second < 0 else np.float32(1.0)


@njit
def perturb(
    stream: Any, seed: Any, names: Any, n_parameters: int, steps: Any, noise: Any, w: Any,
    changed: Any,
) -> None:  # fmt: skip
    """Write `w` plus each lane's step times standard normals to `changed`.

    Args (in numba):
        steps: float64 `(16,)`, which hold float32 numbers.
        noise: float64 `(WORDS,)`, scratch.
        w, changed: float32, `n_parameters` vectors.
    """
    k0, k1 = seed & _LOW, seed >> _HALF
    n_blocks = (n_parameters + 3) // 4
    for half in range(2):
        draws = named(noise, names[16 * half :])
        step = load(steps, 8 * half)
        for block in range(0, n_blocks, 2):
            both = (np.uint64(block), np.uint64(min(block + 1, n_blocks - 1)))
            words = several_blocks(noise, draws, stream, both, k0, k1)
            at = 0
            for word in words:
                normal = to_float32_and_back(normal_f64(word))
                store(noise, at, to_float32_and_back(normal * step))
                at += LANES_F64
            for k in range(min(8, n_parameters - 4 * block)):
                place = (4 * block + k) * LANES + 8 * half
                for lane in range(LANES_F64):
                    moved = np.float64(w[place + lane]) + noise[LANES_F64 * k + lane]
                    changed[place + lane] = np.float32(moved)
