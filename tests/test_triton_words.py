"""Words and normals as the kernels make them, against the law and the known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch
import triton
import triton.language as tl

from biasgpu import normal as law
from biasgpu import rng
from biasgpu.kernels import reference
from biasgpu.kernels.normal import EPSILON, EPSILON_WIDE, normal, normal_wide
from biasgpu.kernels.philox import halves, philox
from tests.kernel_cases import DEVICE

# Random123, kat_vectors: philox4x32 with 10 rounds; counter, key, output.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@triton.jit
def _words_kernel(numbers_ptr, block_ptr, stream_ptr, to_ptr, N: tl.constexpr):
    at = tl.arange(0, N)
    key_low, key_high = halves(tl.load(numbers_ptr))
    draw_low, draw_high = halves(tl.load(numbers_ptr + 1))
    block = tl.load(block_ptr + at).to(tl.uint32)
    stream = tl.load(stream_ptr).to(tl.uint32)
    w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
    tl.store(to_ptr + 4 * at, w0.to(tl.int64))
    tl.store(to_ptr + 4 * at + 1, w1.to(tl.int64))
    tl.store(to_ptr + 4 * at + 2, w2.to(tl.int64))
    tl.store(to_ptr + 4 * at + 3, w3.to(tl.int64))


@triton.jit
def _normals_kernel(word_ptr, single_ptr, double_ptr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = tl.load(word_ptr + at).to(tl.uint32)
    tl.store(single_ptr + at, normal(word))
    tl.store(double_ptr + at, normal_wide(word))


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).to(DEVICE)


def _words(seed: int, draw: int, blocks: np.ndarray, stream: int) -> np.ndarray:
    numbers = _tensor(np.array([seed, draw], dtype=np.uint64).view(np.int64))
    to = torch.zeros(4 * len(blocks), dtype=torch.int64, device=DEVICE)
    where = _tensor(blocks.astype(np.int64))
    run: Any = _words_kernel[(1,)]
    run(numbers, where, _tensor(np.array([stream])), to, N=len(blocks), enable_fp_fusion=True)
    return to.cpu().numpy().astype(np.uint32).reshape(-1, 4)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(
    counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    seed, draw = key[0] | key[1] << 32, counter[2] | counter[3] << 32
    found = _words(seed, draw, np.array([counter[0]]), counter[1])
    assert tuple(found[0].tolist()) == answer


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**63, 2**64 - 1])
@pytest.mark.parametrize("draw", [1, 2**31, 2**40 + 1, 2**64 - 1])
def test_words_are_the_law(seed: int, draw: int) -> None:
    blocks = np.array([0, 1, 2**31, 2**32 - 1])
    for stream in (rng.STREAM_DIRECTIONS, rng.STREAM_OUTPUTS):
        expected = rng.words(seed, draw, blocks, stream=stream)
        assert np.array_equal(_words(seed, draw, blocks, stream), expected)


def _extremes() -> np.ndarray:
    """Words about the ends of the grid, the seams of both formulas, and their neighbours."""
    tails = [np.exp(-5.0) / 4, 0.075, 0.5 * (1 - np.sqrt(1 - np.exp(-5.0)))]
    seams = [int(t * 2**32) for t in tails]
    near = np.arange(-300, 300)
    bits = [near % 2**31, *((seam + near) % 2**31 for seam in seams)]
    bits += [(2**k + np.arange(-2, 3)) % 2**31 for k in range(31)]
    magnitudes = np.concatenate(bits).astype(np.uint32)
    return np.concatenate([magnitudes, magnitudes | np.uint32(2**31)])


def test_normals_are_close_to_the_law() -> None:
    random = np.random.default_rng(0)
    words = [random.integers(0, 2**32, 2**20, dtype=np.uint32)]
    words += [words[0] >> np.uint32(k) for k in (5, 10, 20)] + [_extremes()]
    word = np.concatenate(words)
    block = 2**16
    word = np.concatenate([word, word[: -len(word) % block]])
    single = torch.zeros(len(word), dtype=torch.float32, device=DEVICE)
    double = torch.zeros(len(word), dtype=torch.float64, device=DEVICE)
    run: Any = _normals_kernel[(len(word) // block,)]
    run(_tensor(word.astype(np.int64)), single, double, BLOCK=block, enable_fp_fusion=True)
    expected = law.normal(word)
    narrow, wide = single.cpu().numpy(), double.cpu().numpy()
    assert np.abs(narrow / expected - 1).max() < EPSILON
    assert np.abs(wide / expected - 1).max() < EPSILON_WIDE
    assert np.array_equal(np.signbit(narrow), np.signbit(expected))
    assert np.array_equal(np.signbit(wide), np.signbit(expected))
    twin = reference.normal(word)
    assert np.abs(twin.astype(np.float64) / narrow - 1).max() < EPSILON
    assert np.abs(twin.astype(np.float64) / expected - 1).max() < EPSILON


def test_fused_products_keep_the_bound() -> None:
    """What a GPU's fused operations round differently: the twin in float64, rounded at times."""
    words = np.concatenate([_extremes(), np.arange(0, 2**31, 4099, dtype=np.uint32)])
    expected = law.normal(words)
    magnitude = (words & np.uint32(0x7FFFFFFF)).astype(np.float32)
    t = (magnitude + np.float32(0.5)).astype(np.float64)
    v = (t * (2.0**32 - t)) * 2.0**-62
    w = -np.log(np.float64(1.0) * v)
    p = np.where(
        w >= 5.0,
        np.polyval(reference.TAIL, np.sqrt(np.maximum(w, 1.0)) - 3.0),
        np.polyval(reference.CENTRE, w - 2.5),
    )
    x = ((words & np.uint32(0x7FFFFFFF)) ^ np.uint32(0x7FFFFFFF)).astype(np.float64) + 0.5
    value = p * x * 2.0**-31
    # The formulas themselves leave most of the bound to rounding.
    assert np.abs(value / np.abs(expected) - 1).max() < EPSILON / 2
