"""Counters to random words: Philox4x32-10, and the naming of every word biasgpu uses.

This is the law in NumPy. The key is the 64-bit seed; the counter is `(block, stream, draw low, draw
high)`, so that each of the four words a block yields is a pure function of seed, stream, draw and
position. Compiled engines repeat it word for word, and tests hold them to it.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); the
known-answer vectors of its Random123 library are in the tests.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError

MULTIPLIER_0 = 0xD2511F53
MULTIPLIER_1 = 0xCD9E8D57
WEYL_0 = 0x9E3779B9
WEYL_1 = 0xBB67AE85
ROUNDS = 10
WORDS_PER_BLOCK = 4

STREAM_WEIGHTS = 0  # the weights of method "direct"
STREAM_DIRECTIONS = 0xDEF0000  # method "deferred": images of new directions in hidden layers
STREAM_OUTPUTS = 0xDEF0001  # the same in the output layer
STREAM_REST = 0xDEF1000  # plus the layer: what is left of its weights when all was asked
STREAM_ORDER = 0x0BDE5  # in which order an epoch of training visits the samples
STREAM_SELECTION = 0x5E1EC7  # which images a task takes
STREAM_SYNTHETIC = 0x5717E7  # points of the synthetic tasks
STREAM_SEARCH = 0x80000000  # plus the number of a search's proposal; all others are below

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counter: npt.ArrayLike, key: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Philox4x32-10.

    Args:
        counter: uint32 `(..., 4)`.
        key: uint32 `(..., 2)`, broadcast against the counter.

    Returns:
        uint32 `(..., 4)`.

    Source:
        Salmon et al. 2011, section 3.3.
    """
    state = np.asarray(counter, dtype=np.uint64)
    keys = np.asarray(key, dtype=np.uint64)
    c0, c1, c2, c3 = (state[..., i] for i in range(4))
    k0, k1 = keys[..., 0], keys[..., 1]
    for _ in range(ROUNDS):
        product_0 = c0 * np.uint64(MULTIPLIER_0)
        product_1 = c2 * np.uint64(MULTIPLIER_1)
        c0, c1, c2, c3 = (
            (product_1 >> _SHIFT) ^ c1 ^ k0,
            product_1 & _LOW,
            (product_0 >> _SHIFT) ^ c3 ^ k1,
            product_0 & _LOW,
        )
        k0 = (k0 + np.uint64(WEYL_0)) & _LOW
        k1 = (k1 + np.uint64(WEYL_1)) & _LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def words(
    seed: int, draw: int, blocks: npt.ArrayLike, *, stream: int = STREAM_WEIGHTS
) -> npt.NDArray[np.uint32]:
    """The random words of one draw.

    Args:
        seed: the 64-bit seed of the run.
        draw: the 64-bit draw number.
        blocks: block numbers below 2**32, any shape.
        stream: what the words are for; streams are independent.

    Returns:
        uint32, the shape of `blocks` with an axis of 4 appended.

    Raises:
        UsageError: seed or draw outside 64 bits.
    """
    check_uint64("seed", seed)
    check_uint64("draw", draw)
    numbers = np.asarray(blocks, dtype=np.uint64)
    if numbers.size and int(numbers.max()) >> 32:
        raise UsageError(
            "a block number is 2**32 or more.",
            why="a draw has 2**34 words.",
            fix="use a smaller width.",
        )
    counter = np.empty((*numbers.shape, 4), dtype=np.uint64)
    counter[..., 0] = numbers
    counter[..., 1] = stream
    counter[..., 2] = draw & 0xFFFFFFFF
    counter[..., 3] = draw >> 32
    return philox(counter, np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64))


def words_of(
    seed: int,
    draws: npt.NDArray[np.uint64],
    blocks: npt.NDArray[np.integer],
    *,
    stream: int = STREAM_WEIGHTS,
) -> npt.NDArray[np.uint32]:
    """The same blocks of many draws.

    Args:
        seed: the 64-bit seed of the run.
        draws: uint64 `(n,)`.
        blocks: `(m,)`, block numbers below 2**32.
        stream: what the words are for.

    Returns:
        uint32 `(n, m, 4)`; `words(seed, draw, blocks)` for each draw.
    """
    counter = np.empty((len(draws), len(blocks), 4), dtype=np.uint64)
    counter[..., 0] = blocks
    counter[..., 1] = stream
    counter[..., 2] = (draws & _LOW)[:, None]
    counter[..., 3] = (draws >> _SHIFT)[:, None]
    return philox(counter, np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64))


def permutation(seed: int, draw: int, n: int, *, stream: int) -> npt.NDArray[np.int64]:
    """A random order of `n` things, by sorting 64-bit random keys; the same on every machine."""
    raw = words(seed, draw, np.arange((n + 1) // 2), stream=stream).astype(np.uint64)
    keys = ((raw[:, 0::2] << _SHIFT) | raw[:, 1::2]).reshape(-1)[:n]
    return np.argsort(keys, kind="stable").astype(np.int64)


def check_uint64(name: str, value: int) -> None:
    """Refuse what is not a whole number of 64 bits.

    Raises:
        UsageError: says which and why.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise UsageError(
            f"{name} is {value!r}; it must be a whole number.",
            why="it is a 64-bit number.",
            fix=f"give {name} as a whole number from 0 to 2**64 - 1, for example 0.",
        )
    if not 0 <= int(value) < 2**64:
        raise UsageError(
            f"{name} is {value}; it must lie in 0 .. 2**64 - 1.",
            why="names of draws are 64-bit counters.",
            fix=f"give {name} as a whole number from 0 to 2**64 - 1, for example 0.",
        )
