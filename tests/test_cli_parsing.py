"""Counts and durations as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biasgpu.cli.parsing import format_count, format_duration, parse_count, parse_duration
from biasgpu.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1000", 1000),
        ("1_000_000", 10**6),
        ("1,000,000", 10**6),
        ("10k", 10**4),
        ("10K", 10**4),
        ("2.5M", 2_500_000),
        ("3G", 3 * 10**9),
        ("1e9", 10**9),
        ("1E9", 10**9),
        ("1e+3", 1000),
        ("1.5e3", 1500),
        (" 7 ", 7),
        ("9007199254740993", 2**53 + 1),
        (str(2**64), 2**64),
    ],
)
def test_counts(text: str, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "0", "0.0", "-1", "1.5", "ten", "1e", "1e-3", "k", "1 000", "0x10", "nan", "inf", "1e99",
     str(2**64 + 1), "\u0661\u0662"],
)  # fmt: skip
def test_no_counts(text: str) -> None:
    with pytest.raises(UsageError, match="--fits is ") as caught:
        parse_count(text, "--fits")
    assert repr(text) in caught.value.what
    assert caught.value.fix


@given(st.integers(1, 2**64))
def test_every_count_is_itself(value: int) -> None:
    assert parse_count(str(value)) == value
    assert parse_count(f"{value:,}") == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("5min", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("0.5h", 1800),
        ("90", 90),
        ("0.25", 0.25),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-5s", "s", "5x", "soon", "nan", "inf", "1e99", "5m and a bit"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError, match="--time is "):
        parse_duration(text, "--time")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (1000, "1 k"), (12_345, "12.3 k"), (4.56e6, "4.56 M"),
     (999_999, "1 M"), (7.8e9, "7.8 G"), (3e15, "3e+03 T")],
)  # fmt: skip
def test_counts_for_people(value: float, text: str) -> None:
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.84, "0.8 s"), (9.96, "10 s"), (42, "42 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"),
     (7500, "2 h 5 min")],
)  # fmt: skip
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
