"""The `cpu` engine for method "deferred": one draw at a time, its units in the SIMD lanes."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.deferred.plan import GROUP
from biasgpu.engines.base import BORDERLINE, Engine, Prefixes
from biasgpu.engines.cpu.digest import compiled, is_compiled, note_compiled, source_digest
from biasgpu.engines.cpu.engine import default_threads
from biasgpu.engines.cpu.factor import space_size
from biasgpu.engines.cpu.reveal import reveal
from biasgpu.engines.cpu.screen import name_lanes
from biasgpu.engines.cpu.signs import certain_errors
from biasgpu.engines.cpu.units import CHUNK, N_COLUMNS, UNITS
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workspace import aligned

CHUNK_NORMALS = 2e8  # random normals that a thread makes before it hands in what it found
MAX_CHUNK = 1 << 16
TOGETHER = 16  # draws that take a step together
CACHE_BYTES = 512 << 10


@cache
def compiled_reveal() -> Callable[..., None]:
    """The compiled screen; its machine code is kept until one of its sources changes."""
    digest = source_digest()

    @compiled
    def screen(
        layers: Any, scales: Any, shared: Any, labels: Any, blocks: int, stride: int, by_signs:
        bool, seed: Any, first_draw: Any, prefixes: Any, names: Any, draws: Any, live: Any,
        reached: Any, quick: Any, exact: Any, sums: Any, dots: Any, space: Any, logits: Any,
        answers: Any,
    ) -> None:  # fmt: skip
        """Fill `prefixes` for draws `first_draw ..`."""
        _ = digest
        n, size = len(prefixes), len(draws)
        masks, g, h, a, z = quick
        wide_masks, wide_g, wide_h, wide_a, wide_z = exact
        waiting = 0
        for tile in range(0, n, LANES_F32):
            here = min(LANES_F32, n - tile)
            settled = np.uint64(0)
            if by_signs:
                for lane in range(LANES_F32):
                    name_lanes(names, lane, first_draw + np.uint64(tile + min(lane, here - 1)))
                settled = certain_errors(g, names, layers, seed)
            for lane in range(here):
                if settled >> np.uint64(lane) & np.uint64(1):
                    prefixes[tile + lane] = 1
                else:
                    draws[waiting] = first_draw + np.uint64(tile + lane)
                    waiting += 1
                if waiting < size and (tile + lane + 1 < n or waiting == 0):
                    continue
                reveal(
                    layers, scales, shared, labels, blocks, stride, masks, seed, draws, live,
                    waiting, reached, g, h, a, z, sums, dots, space, logits, answers,
                )  # fmt: skip
                for slot in range(waiting):
                    place = np.int64(draws[slot] - first_draw)
                    prefixes[place] = reached[slot]
                    if reached[slot] == BORDERLINE:
                        draws[0] = draws[slot]
                        reveal(
                            layers, scales, shared, labels, blocks, stride, wide_masks, seed,
                            draws, live, 1, reached[slot:], wide_g, wide_h, wide_a, wide_z, sums,
                            dots, space, logits, answers,
                        )  # fmt: skip
                        prefixes[place] = reached[slot]
                waiting = 0

    return screen


class DeferredCpuEngine(Engine):
    """Screens on the CPU. See `Engine`.

    Args:
        ensemble: which networks.
        x_train, y_train: the ensemble's own training inputs, and their labels.
        threads: how many; None for one a core.
    """

    name: ClassVar[str] = "cpu"

    def __init__(
        self,
        ensemble: DeferredEnsemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        *,
        threads: int | None = None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train)
        self.threads = threads or default_threads()
        plan, n = ensemble.plan, len(y_train)
        self._layers = np.zeros((len(plan.layers), N_COLUMNS), dtype=np.int64)
        self._masks = np.zeros(16 * len(plan.layers))
        for number, layer in enumerate(plan.layers):
            bias = layer.bias and number > 0  # the first layer's factor has it
            self._layers[number] = layer.units, bias, layer.rectified, layer.offset
            self._masks[16 * number : 16 * number + 1 + (layer.units - 1) % 16] = 1.0
        # A layer's inputs are the units before; their products' sums round once for 8 of them.
        roundings = [64 + layer.columns / 8 for layer in plan.layers]
        self._scales = np.array(
            [(layer.std, m * 2.0**-52) for layer, m in zip(plan.layers, roundings, strict=True)]
        )
        assert ensemble.shared is not None
        self._shared = np.ascontiguousarray(ensemble.shared[1][:n, :n]).reshape(-1)
        self._blocks = plan.blocks
        # Whole chunks, so that making normals never leaves a row.
        self._stride = -(-plan.blocks * 4 // CHUNK) * CHUNK
        hidden = plan.hidden
        self._by_signs = bool(
            n >= 2
            and plan.n_outputs <= 2
            and ensemble.n_arrangements == 2
            and hidden
            and hidden[-1].rectified
            and (self._shared[0] > 0)
            and y_train[0] == 0
            and y_train[1] == 1
        )
        self._work = 2.0 * sum(layer.units for layer in hidden) + 200.0
        # Most draws need room for two inputs; those of all draws should stay in a core's own cache.
        self._together = int(min(TOGETHER, max(1, CACHE_BYTES // (2 * 2 * 4 * self._stride + 1))))
        self._screen = compiled_reveal()
        self._spaces: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="biasgpu-screen")

    def _space(self) -> tuple[Any, ...]:
        """Buffers for one thread, in the order in which the compiled function takes them."""
        n, n_layers, k = len(self.y_train), len(self._layers), int(self._layers[-1, UNITS])
        z, together = -(-n * k // GROUP) * GROUP, self._together

        def buffers(dtype: npt.DTypeLike, together: int) -> tuple[npt.NDArray, ...]:
            masks = aligned(len(self._masks), dtype)
            masks[:] = self._masks
            row = n * self._stride
            sizes = (together * row + CHUNK, together * row + CHUNK, together * n, together * z)
            return (masks, *(aligned(size, dtype) for size in sizes))

        return (
            aligned(32, np.uint64),
            aligned(together, np.uint64),
            aligned(together, np.int64),
            aligned(together, np.int64),
            buffers(np.float32, together),
            buffers(np.float64, 1),
            aligned(16 * (n + 2), np.float64),
            aligned(together * (n + 2), np.float64),
            aligned(together * n_layers * space_size(n), np.float64),
            aligned(together * 2 * k, np.float64),
            aligned(together * 2 * max(2, k), np.int64),
        )

    @property
    def notice(self) -> str:
        """See `Engine.notice`: compiling takes a while, once."""
        return "" if is_compiled() else "compiling the cpu engine for this machine, once."

    @property
    def chunk(self) -> int:
        """Draws a thread takes at a time."""
        draws = int(CHUNK_NORMALS / self._work)
        return min(max(draws // LANES_F32, 1) * LANES_F32, MAX_CHUNK)

    @property
    def granularity(self) -> int:
        """See `Engine.granularity`: a chunk for each thread."""
        return self.chunk * self.threads

    @property
    def minimum(self) -> int:
        """See `Engine.minimum`: a tile for each thread."""
        return LANES_F32 * self.threads

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`."""
        prefixes = np.empty(n_draws, dtype=np.uint16)
        share = -(-n_draws // (self.threads * LANES_F32)) * LANES_F32
        chunk = min(self.chunk, max(LANES_F32, share))

        def one(start: int) -> None:
            space = self._take()
            try:
                self._screen(
                    self._layers, self._scales, self._shared, self.y_train, self._blocks,
                    self._stride, self._by_signs, np.uint64(self.ensemble.seed),
                    np.uint64(first_draw + start), prefixes[start : start + chunk], *space,
                )  # fmt: skip
            finally:
                self._spaces.put(space)
            note_compiled()

        starts = range(0, n_draws, chunk)
        if len(starts) <= 1 or self.threads == 1:
            for start in starts:
                one(start)
        else:
            for _ in self._pool.map(one, starts):
                pass
        return prefixes

    def _take(self) -> tuple[Any, ...]:
        try:
            return self._spaces.get_nowait()
        except queue.Empty:
            return self._space()

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.shutdown(wait=True)
