"""The `cpu` engine for method "deferred": a draw's units in the SIMD lanes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.deferred.plan import GROUP, LANES
from biasgpu.engines.base import BORDERLINE, Prefixes
from biasgpu.engines.cpu import ahead
from biasgpu.engines.cpu.chunked import ChunkedEngine
from biasgpu.engines.cpu.deferred_screen import (
    compiled_front_screen,
    compiled_front_settle,
    compiled_reveal,
    compiled_settle,
)
from biasgpu.engines.cpu.digest import is_compiled, note_compiled
from biasgpu.engines.cpu.engine import stage_ends
from biasgpu.engines.cpu.factor import space_size
from biasgpu.engines.cpu.program import Program, lower_steps
from biasgpu.engines.cpu.units import CHUNK, N_COLUMNS, UNITS
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workspace import STOP, Workspace, aligned
from biasgpu.layout import n_products, n_words

CHUNK_NORMALS = 1e8  # random normals that a thread makes before it hands in what it found
MAX_CHUNK = 1 << 16
TOGETHER = 16  # draws that take a step together
CACHE_BYTES = 512 << 10


@dataclass(frozen=True)
class Space:
    """Buffers for one thread.

    Attributes:
        names: draws in lanes, and behind them the flag that stops (workspace.py).
        quick, exact: buffers for float32 and for float64, in the order in which the compiled
            functions take them.
        quick_front, exact_front: the same of convolutions, if there are any.
    """

    names: npt.NDArray[np.uint64]
    quick: tuple[Any, ...]
    exact: tuple[Any, ...]
    quick_front: tuple[Any, ...] = ()
    exact_front: tuple[Any, ...] = ()


class DeferredCpuEngine(ChunkedEngine[Space]):
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
        plan, n = ensemble.plan, len(y_train)
        self._plan = plan
        super().__init__(ensemble, x_train, y_train, threads)
        self._layers = np.zeros((len(plan.layers), N_COLUMNS), dtype=np.int64)
        self._masks = np.zeros(LANES * len(plan.layers))
        for number, layer in enumerate(plan.layers):
            bias = layer.bias and (number > 0 or not plan.shared)  # a shared factor has it
            self._layers[number] = layer.units, bias, layer.rectified, layer.offset
            self._masks[LANES * number : LANES * number + 1 + (layer.units - 1) % LANES] = 1.0
        # A layer's inputs are the units before; their products' sums round once for 8 of them.
        roundings = [64 + layer.columns / 8 for layer in plan.layers]
        self._scales = np.array(
            [(layer.std, m * 2.0**-52) for layer, m in zip(plan.layers, roundings, strict=True)]
        )
        shared = ensemble.shared
        self._shared = np.zeros(0)
        self._front: Program | None = None
        if shared is not None:
            self._shared = np.ascontiguousarray(shared[1][:n, :n]).reshape(-1)
        else:
            self._front = lower_steps(plan.front, ensemble.prior)
            inputs = self._front.inputs(x_train, np.float32)
            front, flat = self._front, inputs.reshape(-1)
            self._program = (
                front.ops, front.constants, front.quads, front.family, flat,
                flat.astype(np.float64), front.peaks(inputs), front.n_outputs,
                plan.front_channels,
            )  # fmt: skip
        # Whole chunks, so that making normals never leaves a row.
        self._stride = max(CHUNK, -(-plan.blocks * 4 // CHUNK) * CHUNK)
        # Most draws need room for two inputs; those of all draws should stay in a core's own cache.
        self._together = int(min(TOGETHER, max(1, CACHE_BYTES // (16 * self._stride))))
        dense = self._front is None
        if not dense:
            self._together = LANES_F32
        self._screen = compiled_reveal() if dense else compiled_front_screen()
        self._settle = compiled_settle() if dense else compiled_front_settle()
        self._settling: threading.Thread | None = None  # compiles what float64 needs
        self._open()

    @property
    def _by_signs(self) -> bool:
        """Whether two outputs' signs can settle draws before any layer: see signs.py."""
        y, hidden = self.y_train, self._plan.hidden
        return bool(
            len(y) >= 2
            and self._plan.n_outputs <= 2
            and self.ensemble.n_arrangements == 2
            and hidden
            and hidden[-1].rectified
            and len(self._shared)
            and self._shared[0] > 0
            and y[0] == 0
            and y[1] == 1
        )

    def _space(self) -> Space:
        names = aligned(STOP + 1, np.uint64)
        quick, exact = self._buffers(np.float32), self._buffers(np.float64)
        if self._front is None:
            return Space(names, quick, exact)
        program, n = self._front, len(self.y_train)
        works = [Workspace.make(program, n, dtype).buffers[1:] for dtype in (np.float32, float)]
        return Space(names, quick, exact, works[0], works[1])

    def _buffers(self, dtype: npt.DTypeLike) -> tuple[Any, ...]:
        n, n_layers, k = len(self.y_train), len(self._layers), int(self._layers[-1, UNITS])
        z, row = -(-n * k // GROUP) * GROUP, n * self._stride
        slots, padded = self._together, 0
        if self._front is not None:
            padded = -(-self._front.n_outputs // LANES) * LANES
        elif dtype == np.float64:
            slots = 1
        masks = aligned(len(self._masks), dtype)
        masks[:] = self._masks
        sizes = (slots * row + CHUNK, slots * row + CHUNK, slots * n, slots * z)
        features = (
            aligned(slots * n * padded, dtype).reshape(slots, n, padded),
            aligned(slots, np.float64),
            aligned(slots * n, np.uint8).reshape(slots, n),
        )
        return (
            aligned(slots, np.uint64),
            aligned(slots, np.int64),
            aligned(slots, np.int64),
            (masks, *(aligned(size, dtype) for size in sizes)),
            features,
            aligned(LANES * (n + 2), np.float64),
            aligned(slots * (n + 2), np.float64),
            aligned(slots * n_layers * space_size(n), np.float64),
            aligned(slots * 2 * k, np.float64),
            aligned(slots * 2 * max(2, k), np.int64),
        )

    @property
    def kind(self) -> str:
        """See `ChunkedEngine.kind`."""
        return "deferred" if self._plan.shared or self._plan.infinite else "deferred-front"

    def compile_screen(self) -> None:
        """See `ChunkedEngine.compile_screen`."""
        self._screen_chunk(self._space(), 0, np.empty(0, np.uint16))

    def compile_settle(self) -> None:
        """Compile what float64 needs, or load it from disk."""
        self._settle_draws(self._space(), np.empty(0, np.uint64))

    def prepare(self) -> None:
        """See `Engine.prepare`: compiles, or loads what is compiled.

        What float64 needs is compiled while float32 works already; until then the law decides.
        """
        super().prepare()
        if is_compiled(self.kind):
            self.compile_settle()
        elif self._settling is None:
            self._settling = threading.Thread(target=self._compile_settle)
            self._settling.start()

    def _compile_settle(self) -> None:
        self.compile_settle()
        note_compiled(self.kind)

    @property
    def chunk(self) -> int:
        """Draws a thread takes at a time."""
        work = 2.0 * sum(layer.units for layer in self._plan.hidden) + 200.0
        if self._front is not None:
            work += n_words(self._plan.front) + n_products(self._plan.front) / 4
        draws = int(CHUNK_NORMALS / work)
        return min(max(draws // LANES_F32, 1) * LANES_F32, MAX_CHUNK)

    def _screen_chunk(self, space: Space, first_draw: int, prefixes: Prefixes) -> None:
        first = np.uint64(first_draw)
        plan = (*self._common, first, prefixes, space.names)
        if self._front is None:
            self._screen(*plan, self._by_signs, *space.quick)
        else:
            stages, positions = stage_ends(len(self.y_train)), np.empty(len(prefixes), np.int64)
            self._screen(*plan, self._program, space.quick_front, stages, positions, *space.quick)
        left = np.flatnonzero(prefixes == BORDERLINE)
        if len(left) and not self._compiling and not space.names[STOP]:
            prefixes[left] = self._settle_draws(space, first + left.astype(np.uint64))

    @property
    def _compiling(self) -> bool:
        """Whether what float64 needs is still being compiled, here or by another process."""
        here = self._settling is not None and self._settling.is_alive()
        return here or ahead.pending(self.kind, "settle")

    def _settle_draws(self, space: Space, draws: npt.NDArray[np.uint64]) -> Prefixes:
        """Prefixes of draws in float64."""
        result = np.empty(len(draws), dtype=np.uint16)
        plan = (*self._common, space.names, draws, result)
        if self._front is None:
            self._settle(*plan, *space.exact)
        else:
            self._settle(*plan, self._program, space.exact_front, *space.exact)
        return result

    @property
    def _common(self) -> tuple[Any, ...]:
        """What all compiled functions take first."""
        return (
            self._layers, self._scales, self._shared, self.y_train, self._plan.blocks,
            self._stride, np.uint64(self.ensemble.seed),
        )  # fmt: skip

    def close(self) -> None:
        super().close()
        if self._settling is not None:
            self._settling.join()
