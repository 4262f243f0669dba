"""What a search proposes: a pure function of seed, draw and the number of the proposal.

A search takes no gradient: it proposes other weights, and keeps them if the loss falls. Proposal t
of a draw has a stream of its own (`biasgpu.rng.STREAM_SEARCH` + t), so that it depends on no
earlier one, shares no word with the weights or the orders, and every engine makes the same.

- "pattern-search": one parameter and a sign. Block 0 of the stream has both: the parameter is the
  first word's part of the whole, floor(word * n_parameters / 2^32), each as likely as any other to
  within n_parameters / 2^32; the sign is the second word's top bit.
- "greedy-random": a standard normal for every parameter, in the order of `Packing`, one word each.

Steps are float32 numbers, and so are weights after each: `step * z` and `w + step * z` are rounded
once each, so that engines which decide alike have the same bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import rng
from biasgpu.normal import normal

Draws = npt.NDArray[np.uint64]


def parameter_and_sign(
    seed: int, draws: Draws, proposal: int, n_parameters: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """What proposal number `proposal` of a pattern search steps, for each draw.

    Args:
        seed: the 64-bit seed of the networks.
        draws: uint64 `(n,)`.
        proposal: from 1 to `recipe.MAX_PROPOSALS`.
        n_parameters: of a network.

    Returns:
        int64 `(n,)`, places in the vector of the parameters; float32 `(n,)`, 1 or -1.
    """
    stream = rng.STREAM_SEARCH + proposal
    words = rng.words_of(seed, draws, np.zeros(1, np.int64), stream=stream)[:, 0]
    places = (words[:, 0].astype(np.uint64) * np.uint64(n_parameters)) >> np.uint64(32)
    signs = np.where(words[:, 1] >> np.uint32(31), np.float32(-1.0), np.float32(1.0))
    return places.astype(np.int64), signs


def directions(
    seed: int, draws: Draws, proposal: int, n_parameters: int
) -> npt.NDArray[np.float32]:
    """In which direction proposal number `proposal` of a greedy random search goes, for each draw.

    Arguments as of `parameter_and_sign`.

    Returns:
        float32 `(n, n_parameters)`, standard normals.
    """
    blocks = np.arange(-(-n_parameters // rng.WORDS_PER_BLOCK))
    words = rng.words_of(seed, draws, blocks, stream=rng.STREAM_SEARCH + proposal)
    return normal(words.reshape(len(draws), -1)[:, :n_parameters]).astype(np.float32)
