"""Philox against Random123, and the naming of words."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu import rng
from biasgpu.errors import UsageError

# Counter, key, words: the file kat_vectors of Random123 (philox4x32, 10 rounds).
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def _hex(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], dtype=np.uint32)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: str, key: str, expected: str) -> None:
    result = rng.philox(_hex(counter), _hex(key))
    assert result.dtype == np.uint32
    assert result.tolist() == _hex(expected).tolist()


def test_philox_broadcasts_the_key() -> None:
    counters = np.stack([_hex(counter) for counter, _, _ in KNOWN_ANSWERS])
    keys = np.stack([_hex(key) for _, key, _ in KNOWN_ANSWERS])
    together = rng.philox(counters[:, None], keys[None, :])
    assert together.shape == (3, 3, 4)
    for i in range(3):
        assert together[i, i].tolist() == _hex(KNOWN_ANSWERS[i][2]).tolist()


def test_words_are_named_by_seed_stream_draw_and_block() -> None:
    # Counter (block, stream, draw low, draw high), key (seed low, seed high): the pi vector.
    draw = 0x03707344_13198A2E
    seed = 0x299F31D0_A4093822
    words = rng.words(seed, draw, 0x243F6A88, stream=0x85A308D3)
    assert words.tolist() == _hex("d16cfe09 94fdcceb 5001e420 24126ea1").tolist()


def test_words_of_many_blocks_are_the_words_of_each() -> None:
    blocks = np.array([[0, 7], [2**32 - 1, 123456]])
    together = rng.words(2**64 - 1, 2**64 - 1, blocks)
    assert together.shape == (2, 2, 4)
    for place, block in np.ndenumerate(blocks):
        assert np.array_equal(together[place], rng.words(2**64 - 1, 2**64 - 1, block))


def test_every_part_of_a_name_changes_the_words() -> None:
    names = [(0, 0, 0, 0), (2**32, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 2**32, 0, 0),
             (0, 0, 1, 0), (0, 0, 0, 1)]  # fmt: skip
    found = {
        tuple(rng.words(seed, draw, block, stream=stream).tolist())
        for seed, draw, block, stream in names
    }
    assert len(found) == len(names)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 100])
def test_permutation_holds_each_thing_once(n: int) -> None:
    order = rng.permutation(3, 4, n, stream=rng.STREAM_SELECTION)
    assert sorted(order.tolist()) == list(range(n))
    assert order.dtype == np.int64


def test_permutation_is_the_sort_of_its_keys() -> None:
    words = rng.words(9, 2**40, np.arange(4), stream=1).reshape(-1)
    keys = [int(words[2 * i]) << 32 | int(words[2 * i + 1]) for i in range(7)]
    expected = sorted(range(7), key=lambda i: keys[i])
    assert rng.permutation(9, 2**40, 7, stream=1).tolist() == expected


@pytest.mark.parametrize(
    ("seed", "draw"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**64), (1.5, 0), (True, 0), ("1", 0)]
)
def test_names_outside_64_bits_are_refused(seed: object, draw: object) -> None:
    with pytest.raises(UsageError):
        rng.words(seed, draw, 0)  # pyright: ignore[reportArgumentType]


def test_blocks_beyond_32_bits_are_refused() -> None:
    with pytest.raises(UsageError, match="block number"):
        rng.words(0, 0, 2**32)
