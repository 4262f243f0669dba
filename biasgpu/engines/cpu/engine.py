"""The `cpu` engine: compiled with numba, a candidate in every SIMD lane, all cores busy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.engines.base import MAX_TRAIN, Prefixes
from biasgpu.engines.cpu.chunked import ChunkedEngine
from biasgpu.engines.cpu.digest import note_compiled
from biasgpu.engines.cpu.first import Inputs
from biasgpu.engines.cpu.program import lower, unsupported
from biasgpu.engines.cpu.screen import compiled_screen
from biasgpu.engines.cpu.settle import Doubts, settle
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workspace import Workspace
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layout import n_products, n_words
from biasgpu.priors import UniformPrior

STAGE_LIMIT = 16  # samples a stage adds at most
STAGE_BYTES = 64 << 20  # of activations a thread holds, if one sample's fit
MAX_CHUNK = 1 << 16  # draws a thread takes at a time, at most


def stage_ends(
    n_train: int, *, costly_weights: bool = False, limit: int = STAGE_LIMIT
) -> npt.NDArray[np.int64]:
    """Where stages end. The plan changes no result, only how much is done twice or for nothing.

    Args:
        n_train: training samples; the last stage ends there.
        costly_weights: whether making weights costs more than putting samples through them. Then
            one stage less: 4, 8, 16, 32, ... instead of 2, 4, 8, 16, 32, ...
        limit: samples a stage adds at most.
    """
    ends, end = [], min(4 if costly_weights else 2, limit)
    while end < n_train:
        ends.append(end)
        end += min(end, limit)
    return np.array([*ends, n_train], dtype=np.int64)


def largest_weight(ensemble: Ensemble) -> float:
    """The largest weight of the first layer that has weights; infinite if the prior has none."""
    prior, step = ensemble.prior, next(step for step in ensemble.steps if step.linear)
    if not isinstance(prior, UniformPrior):
        return float("inf")
    return float(prior.step(step.fan_in)) * 2.0 ** min(prior.bits, 24)


class CpuEngine(ChunkedEngine[Workspace]):
    """Screens on the CPU. See `Engine`.

    Args:
        threads: how many; None for one a core.
        stages: where the stages end, for tests; the last must be the number of samples.

    Raises:
        UsageError: the ensemble has a layer or prior with no compiled form; see `supports`.
    """

    name: ClassVar[str] = "cpu"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        *,
        threads: int | None = None,
        stages: npt.NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train, threads)
        reason = unsupported(ensemble)
        if reason:
            raise UsageError(
                f"the cpu engine cannot screen this: {reason}.",
                why="it compiles the layers and priors that biasgpu brings along.",
                fix="use --engine torch",
            )
        if threads is not None and threads < 1:
            raise UsageError(
                f"threads is {threads}; it must be 1 or more.",
                why="the work needs one thread at least.",
                fix="leave it out to take all cores, or give 1 or more: threads=1 (--threads 1).",
            )
        if len(y_train) > MAX_TRAIN:
            raise UsageError(
                f"{len(y_train)} training samples; screening takes {MAX_TRAIN}.",
                why="a prefix is kept in 16 bits.",
                fix="use fewer training samples (n_train, --n-train).",
            )
        self.program = lower(ensemble)
        # Measured: making a word costs as much as some 9 multiplications in a lane, and the shorter
        # plan makes words for a fifth fewer networks but multiplies for two samples more.
        words, products = n_words(ensemble.steps), n_products(ensemble.steps)
        costly = 3 * words > products
        self._ahead = max(2, 9 * words // products)  # the law's samples cost about as much
        per_sample = 2 * self.program.buffer_units * LANES_F32 * 4
        limit = max(1, min(STAGE_LIMIT, STAGE_BYTES // per_sample))
        plan = (
            stage_ends(len(y_train), costly_weights=costly, limit=limit)
            if stages is None
            else stages
        )
        self.stages = np.asarray(plan, dtype=np.int64)
        self._inputs = Inputs.make(self.program, x_train, self.stages, largest_weight(ensemble))
        self._screen = compiled_screen()
        self._latest: tuple[int, list[Doubts]] = (0, [])  # first draw, and what was in doubt
        self._open()

    def _space(self) -> Workspace:
        widest = int(np.diff(self.stages, prepend=0).max())
        return Workspace.make(self.program, widest, np.float32)

    @classmethod
    def supports(cls, ensemble: Ensemble) -> str | None:
        """None if this engine can screen the ensemble, else why not."""
        return unsupported(ensemble)

    @property
    def kind(self) -> str:
        """See `ChunkedEngine.kind`."""
        return "direct"

    def compile_screen(self) -> None:
        """See `ChunkedEngine.compile_screen`."""
        space = Workspace.make(self.program, 1, np.float32)
        self._screen_chunk(space, 0, np.empty(0, np.uint16))

    def prepare(self) -> None:
        """See `Engine.prepare`: compiles, or loads what is compiled."""
        super().prepare()
        note_compiled()

    @property
    def chunk(self) -> int:
        """Draws a thread takes at a time: some 0.2 s of work, which also fills later stages."""
        steps = self.ensemble.steps
        work = n_words(steps) + n_products(steps) / 8 + 100
        draws = int(2e7 / work)
        return min(max(draws, 16), MAX_CHUNK // LANES_F32) * LANES_F32

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`."""
        self._latest = first_draw, []
        return super().screen(first_draw, n_draws)

    def _screen_chunk(self, space: Workspace, first_draw: int, prefixes: Prefixes) -> None:
        first, noted = self._latest  # at once: after an interruption another range may follow
        n = len(prefixes)
        positions, states = np.empty(n, np.int64), np.empty(n, np.uint64)
        doubts = self._stages_from(0, space, first_draw, prefixes, positions, states)
        if len(doubts):
            noted.append(Doubts.unpack(doubts, first_draw - first))

    def _stages_from(
        self,
        first_stage: int,
        space: Workspace,
        first_draw: int,
        prefixes: Prefixes,
        positions: npt.NDArray[np.int64],
        states: npt.NDArray[np.uint64],
    ) -> npt.NDArray[np.uint64]:
        """Screen the draws at `positions` from a stage on."""
        ensemble, program, inputs = self.ensemble, self.program, self._inputs
        # One logit under a prior that is not symmetric: its sign is what it is.
        initial = 0 if ensemble.n_arrangements > 1 else 0x21
        doubts = np.empty(len(positions), np.uint64)
        n_doubts = self._screen(
            program.ops, program.constants, program.quads, program.family,
            np.uint64(ensemble.seed), inputs.rows, inputs.wide, inputs.order, inputs.magnitudes,
            inputs.peaks, self.y_train, first_stage, self.stages, program.n_outputs,
            np.uint64(initial), np.uint64(first_draw), prefixes, positions, states, doubts,
            *space.buffers,
        )  # fmt: skip
        return doubts[:n_doubts]

    def settle(self, first_draw: int, prefixes: Prefixes, *, threads: int | None = None) -> None:
        """See `Engine.settle`."""
        first, noted = self._latest
        self._latest = first_draw, []
        if not noted or first_draw != first:
            return

        def go_on(
            stage: int, positions: npt.NDArray[np.int64], states: npt.NDArray[np.uint64]
        ) -> Doubts:
            found: list[Doubts] = []
            # Few draws: shared among the threads rather than in chunks.
            share = -(-len(positions) // (self.threads * LANES_F32)) * LANES_F32
            share = min(share, self.chunk)

            def one(space: Workspace, start: int) -> None:
                mine = slice(start, start + share)
                doubts = self._stages_from(
                    stage, space, first_draw, prefixes, positions[mine], states[mine]
                )
                found.append(Doubts.unpack(doubts))

            self._workers.run(one, range(0, len(positions), share))
            return Doubts.join(found)

        settle(
            self.ensemble, self.x_train, self.y_train, self.stages, self._ahead, first_draw,
            Doubts.join(noted), prefixes, go_on, threads,
        )  # fmt: skip
