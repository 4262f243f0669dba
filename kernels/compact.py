"""Keeping some of many: the survivors of a block are appended to one list for all blocks."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def append(counter_ptr, list_ptr, values, keep):
    """Append the values that are to be kept; in what order the blocks come is not fixed.

    Args:
        counter_ptr: int64, how long the list is.
        list_ptr: int64, with room for all values of all blocks.
        values: int64 `(BLOCK,)`.
        keep: bool `(BLOCK,)`.

    Returns:
        int64 `(BLOCK,)`: where in the list each one is, for lists beside it.

    Bytes: 8 for each value kept; one atomic addition a block.
    """
    flags = keep.to(tl.int64)
    places = tl.cumsum(flags, 0) - flags
    start = tl.atomic_add(counter_ptr, tl.sum(flags, 0))
    tl.store(list_ptr + start + places, values, mask=keep)
    return start + places
