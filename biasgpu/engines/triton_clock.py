"""How long work on a GPU takes: by its own clock, with a cold cache, many times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

FLUSH_BYTES = 1 << 28  # to be written before each measurement, and at least four caches' worth


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing: median, least and largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        return cls(statistics.median(values), min(values), max(values))

    def rate(self, amount: float) -> Spread:
        """So much of something, done in each of these times: how much a second."""
        return Spread(amount / self.median, amount / self.high, amount / self.low)


class Clock:
    """Seconds by CUDA events, after the cache was filled with something else.

    The host starts the work while the device still fills the cache, so what it takes the host to
    start a kernel is not measured. In Triton's interpreter the host's clock stands in, and its
    numbers mean nothing.

    Args:
        device: where the work is done; it must be the current one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        size = 1
        if self._on_gpu:
            known = torch.cuda.get_device_properties(device)
            size = max(FLUSH_BYTES, 4 * getattr(known, "L2_cache_size", 0))
            size = min(size, known.total_memory // 16)
        self._other = torch.empty(size, dtype=torch.int8, device=device)

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long it takes once, more than 0."""
        self._other.zero_()
        if not self._on_gpu:
            before_s = time.perf_counter()
            work()
            return max(time.perf_counter() - before_s, 1e-9)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return max(1e-3 * begin.elapsed_time(end), 1e-9)

    def spread(self, work: Callable[[], Any], repeats: int) -> Spread:
        """Of so many times, after one to warm up."""
        self.seconds(work)
        return Spread.of([self.seconds(work) for _ in range(repeats)])
