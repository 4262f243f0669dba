"""Machine code is found again by the next process: nothing in a kernel's closure is new in each."""

from __future__ import annotations

from typing import Any

import pytest

from biasgpu.measures.cpu.kernel import compiled_squares
from biasgpu.training.cpu.train import compiled_train


@pytest.mark.parametrize("kernel", [compiled_squares, compiled_train])
def test_closures_hold_numbers(kernel: Any) -> None:
    """A compiled function there would be pickled with an id of its process into numba's key."""
    cells = kernel().py_func.__closure__
    assert cells and all(isinstance(cell.cell_contents, int) for cell in cells)
