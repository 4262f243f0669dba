"""Priors: their grids, their scales, their names."""

from __future__ import annotations

import numpy as np
import pytest

from biasgpu import priors
from biasgpu.errors import UsageError

ALL = ["uniform", "uniform16", "uniform8", "normal", "kaiming-uniform",
       "kaiming-uniform16", "kaiming-uniform8", "kaiming-normal",
       "uniform:0.2", "normal:0.05", "uniform16:3"]  # fmt: skip


def test_every_word_gives_the_16_bit_grid() -> None:
    words = np.arange(2**16, dtype=np.uint32)
    both = priors.make("uniform16").weights(words | (words << np.uint32(16)), 4)
    assert both.shape == (2**17,)
    low, high = both[0::2], both[1::2]
    assert np.array_equal(low, high)
    expected = (2 * np.arange(-(2**15), 2**15) + 1) / 2.0**16
    assert np.array_equal(np.sort(low).astype(np.float64), expected)


def test_every_word_gives_the_8_bit_grid() -> None:
    fields = np.arange(256, dtype=np.uint32)
    for shift in (0, 8, 16, 24):
        weights = priors.make("uniform8:2").weights(fields << np.uint32(shift), 4).reshape(256, 4)
        expected = 2.0 * (2 * np.arange(-128, 128) + 1) / 256
        assert np.array_equal(np.sort(weights[:, shift // 8]).astype(np.float64), expected)
        others = np.delete(weights, shift // 8, axis=1)
        assert (others == np.float32(2.0 / 256)).all()  # a field of zeros is the first step up


def test_uniform_32_bit_grid() -> None:
    top = np.concatenate([np.arange(2**12), np.arange(2**24 - 2**12, 2**24)]).astype(np.uint32)
    weights = priors.make("uniform").weights(top << np.uint32(8), 4).astype(np.float64)
    assert weights[0] == 2.0**-24
    assert weights[-1] == -(2.0**-24)
    # The top bit is the sign, and the complement of a word is the opposite weight.
    words = np.random.default_rng(0).integers(0, 2**32, 10**5, dtype=np.uint32)
    w = priors.make("uniform").weights(words, 4)
    assert np.array_equal(priors.make("uniform").weights(~words, 4), -w)
    odd = priors.odd_integers(words, 32)
    assert (odd % 2 == 1).all()
    assert np.abs(odd).max() < 2**24
    ends = priors.odd_integers(np.array([2**31 - 1, 2**31], dtype=np.uint32), 32)
    assert ends.tolist() == [2**24 - 1, -(2**24 - 1)]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("fan_in", [1, 3, 784])
def test_symmetric_never_zero_and_of_the_right_spread(name: str, fan_in: int) -> None:
    prior = priors.make(name)
    assert prior.symmetric
    words = np.random.default_rng(1).integers(0, 2**32, 2**16, dtype=np.uint32)
    flipped = words ^ np.uint32(2**31) if prior.family == "normal" else ~words
    weights = prior.weights(words, fan_in)
    assert weights.dtype == np.float32
    assert weights.shape == (len(words) * 32 // prior.bits,)
    assert (weights != 0).all()
    assert np.array_equal(prior.weights(flipped, fan_in), -weights)
    parameter = float(name.partition(":")[2] or 1)
    std = {
        "uniform": parameter / np.sqrt(3),
        "normal": parameter,
        "kaiming-uniform": np.sqrt(2 / fan_in),
        "kaiming-normal": np.sqrt(2 / fan_in),
    }[name.partition(":")[0].removesuffix("16").removesuffix("8")]
    # 2**16 values: the relative standard error of a variance is below 0.006.
    assert abs(weights.astype(np.float64).std() / std - 1.0) < 0.015


def test_uniform_stays_inside_its_scale() -> None:
    extremes = np.array([0, 2**31 - 1, 2**31, 2**32 - 1, 0x7F7F7F7F, 0x80808080], dtype=np.uint32)
    for name, bound in [("uniform:0.2", 0.2), ("uniform8", 1.0), ("kaiming-uniform16", 6.0**0.5)]:
        weights = priors.make(name).weights(extremes, 1).astype(np.float64)
        assert 0.99 * bound < np.abs(weights).max() < bound


def test_weights_of_words_do_not_depend_on_their_company() -> None:
    words = np.random.default_rng(2).integers(0, 2**32, (3, 5), dtype=np.uint32)
    for name in ALL:
        prior = priors.make(name)
        together = prior.weights(words, 7).reshape(15, -1)
        for word, weights in zip(words.reshape(-1), together, strict=True):
            assert np.array_equal(prior.weights(np.array([word]), 7), weights)


@pytest.mark.parametrize("name", ALL)
def test_names_rebuild_the_prior(name: str) -> None:
    prior = priors.make(name)
    again = priors.make(prior.to_config()["name"])
    assert again == prior
    assert hash(again) == hash(prior)
    assert str(again) == name
    assert priors.make(prior) is prior


def test_one_name_for_one_prior() -> None:
    assert str(priors.make("uniform:1.0")) == "uniform"
    assert str(priors.make("uniform:2.0")) == "uniform:2"
    assert priors.make("uniform:0.2") != priors.make("uniform:0.3")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unifrom", "Did you mean 'uniform'"),
        ("uniform:", None),
        ("uniform:zero", "between"),
        ("uniform:0", "between"),
        ("uniform:-1", "between"),
        ("uniform:nan", "between"),
        ("uniform:inf", "between"),
        ("kaiming-normal:2", "takes no parameter"),
    ],
)
def test_wrong_names(name: str, message: str | None) -> None:
    if message is None:  # an empty parameter is the default
        assert str(priors.make(name)) == "uniform"
        return
    with pytest.raises(UsageError, match=message):
        priors.make(name)


class _Signs(priors.Prior):
    name = "test-signs"
    symmetric = True

    def weights(self, words: np.ndarray, fan_in: int) -> np.ndarray:
        return np.where(words >> np.uint32(31), -1, 1).astype(np.float32)


def test_a_prior_of_ones_own() -> None:
    mine = priors.register(_Signs())
    try:
        assert priors.make("test-signs") is mine
        assert "test-signs" in priors.names()
    finally:
        priors._REGISTERED.pop("test-signs")


def test_built_in_names_are_taken() -> None:
    taken = _Signs()
    taken.name = "uniform"
    with pytest.raises(UsageError, match="taken"):
        priors.register(taken)
    odd = _Signs()
    odd.bits = 12
    with pytest.raises(UsageError, match="bits is 12"):
        priors.register(odd)
