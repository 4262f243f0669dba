"""Compiled functions that share their source have names of their own: see `distinct.py`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from biasgpu.engines.cpu import convolution, dense, weights
from biasgpu.engines.cpu.distinct import distinct
from biasgpu.measures.cpu import backward, forward


@pytest.mark.parametrize("module", [weights, dense, convolution, forward, backward])
def test_no_two_have_the_same_name(module: ModuleType) -> None:
    compiled: list[Any] = [value for value in vars(module).values() if hasattr(value, "py_func")]
    mine = {f for f in compiled if f.py_func.__module__ == module.__name__}
    names = [f.py_func.__qualname__ for f in mine]
    assert len(names) == len(set(names)) > 0


def test_a_name_says_what_a_function_was_made_from() -> None:
    @distinct(len, "wide")
    def sums() -> None:
        """Add."""

    assert sums.__qualname__.endswith("<locals>.sums_len_wide")
