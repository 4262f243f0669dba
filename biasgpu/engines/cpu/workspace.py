"""The memory one thread works in: aligned buffers, made once and reused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu.program import Program
from biasgpu.engines.cpu.vectors import LANES_F32, LANES_F64

STOP = 32  # behind the names of all lanes: not 0 once nobody wants the result any more
ALIGNMENT = 64  # bytes of a cache line: a vector that straddles two is read at half speed


def aligned(n: int, dtype: npt.DTypeLike) -> npt.NDArray:
    """An array of `n` zeros that starts on a cache line."""
    size = n * np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype)


@dataclass(frozen=True)
class Workspace:
    """Buffers for one thread: draw names, weights, two for activations, four for error bounds.

    `names[STOP]` is a flag: compiled code that finds it raised returns at once, with nothing right.
    """

    names: npt.NDArray[np.uint64]
    w: npt.NDArray
    here: npt.NDArray
    there: npt.NDArray
    ranges: npt.NDArray
    bounds: npt.NDArray
    ceilings: npt.NDArray
    alive: npt.NDArray

    @classmethod
    def make(cls, program: Program, n_samples: int, dtype: npt.DTypeLike) -> Workspace:
        """Buffers for `n_samples` samples at a time; float32 screens, float64 decides."""
        lanes = LANES_F32 if np.dtype(dtype) == np.float32 else LANES_F64
        activations = n_samples * program.buffer_units * lanes
        return cls(
            names=aligned(STOP + 1, np.uint64),
            w=aligned(program.weight_slots * lanes, dtype),
            here=aligned(activations, dtype),
            there=aligned(activations, dtype),
            ranges=aligned(2 * program.group_slots * lanes, dtype),
            bounds=aligned((program.group_slots + 2) * lanes, dtype),
            ceilings=aligned(n_samples * lanes, dtype),
            alive=aligned(n_samples * lanes, dtype),
        )

    @property
    def buffers(self) -> tuple[npt.NDArray, ...]:
        """The arrays, in the order in which the compiled functions take them."""
        return (
            self.names,
            self.w,
            self.here,
            self.there,
            self.ranges,
            self.bounds,
            self.ceilings,
            self.alive,
        )
