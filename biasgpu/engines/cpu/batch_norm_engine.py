"""The `cpu` engine for architectures with batch norms: the law itself, a draw in every lane.

Screening in float32 would leave nearly all draws undecided: the bound of its rounding grows with
every batch norm. So this one takes eight lanes of float64 and repeats the law to the bit; its
prefixes need no margins, and only a network whose numbers overflow is left to the reference.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu import batch_norm_law
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.decision import decide
from biasgpu.engines.base import BORDERLINE, Prefixes
from biasgpu.engines.cpu.batch_norm_lowering import lower
from biasgpu.engines.cpu.batch_norm_runs import Space, settle_some
from biasgpu.engines.cpu.chunked import ChunkedEngine
from biasgpu.engines.cpu.digest import is_compiled, note_compiled
from biasgpu.engines.cpu.vectors import LANES_F32, LANES_F64
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layout import n_products, n_words

COMPILED = "batch-norm"
CHUNK_PRODUCTS = 1.5e9  # some 0.08 s of work
LARGEST_CHUNK = 1 << 12


class BatchNormEngine(ChunkedEngine[Space]):
    """Screens on the CPU, by the law. See `Engine`.

    Args:
        ensemble: knows the training set, which `x_train` must be.
        threads: how many; None for one a core.

    Raises:
        UsageError: the ensemble has a layer or prior with no compiled form, or takes too much
            memory; see `supports`. Or the training set is not the ensemble's.
    """

    name: ClassVar[str] = "cpu"

    def __init__(
        self,
        ensemble: BatchNormEnsemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        *,
        threads: int | None = None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train, threads)
        reason = self.supports(ensemble)
        if reason:
            raise UsageError(
                f"the cpu engine does not take this ensemble: {reason}.",
                why="it compiles the layers and priors that biasgpu brings along.",
                fix="engine='torch' (--engine torch), or engine='auto'.",
            )
        if not np.array_equal(x_train, ensemble.x_train):
            raise UsageError(
                f"the ensemble's {len(ensemble.x_train)} training samples are not the "
                f"{len(x_train)} that it is to be screened on.",
                why="the training samples give batch norms their statistics.",
                fix="make the ensemble of the same task: biasgpu.sample (biasgpu sample) does.",
            )
        self.program = lower(ensemble.steps, ensemble.prior)
        self._inputs = self.program.inputs(x_train)
        self._open()

    def _space(self) -> Space:
        return Space.make(self.program, len(self.x_train))

    @classmethod
    def supports(cls, ensemble: Ensemble) -> str | None:
        """None if this engine can screen the ensemble, else why not."""
        if not isinstance(ensemble, BatchNormEnsemble):
            return "its batch norms have no training set"
        return batch_norm_law.unsupported(ensemble)

    @property
    def notice(self) -> str:
        """See `Engine.notice`: compiling takes a while, once."""
        if is_compiled(COMPILED):
            return ""
        return "compiling the cpu engine for this machine, once: about half a minute."

    @property
    def kind(self) -> str:
        """See `ChunkedEngine.kind`."""
        return COMPILED

    def compile_screen(self) -> None:
        """See `ChunkedEngine.compile_screen`: it screens by the law, which is compiled by then."""

    def prepare(self) -> None:
        """See `Engine.prepare`: compiles, or loads what is compiled."""
        super().prepare()
        note_compiled(COMPILED)

    @property
    def chunk(self) -> int:
        """Draws a thread takes at a time: some 0.1 s of work."""
        steps = self.ensemble.steps
        work = n_products(steps) * len(self.x_train) + 9 * n_words(steps)
        draws = int(CHUNK_PRODUCTS * LANES_F64 / 4 / work)
        return min(max(draws // LANES_F32, 1) * LANES_F32, LARGEST_CHUNK)

    def _screen_chunk(self, space: Space, first_draw: int, prefixes: Prefixes) -> None:
        ensemble, labels = self.ensemble, self.y_train
        draws = np.uint64(first_draw) + np.arange(len(prefixes), dtype=np.uint64)
        logits, statistics = settle_some(self.program, ensemble.seed, self._inputs, draws, space)
        finite = np.isfinite(logits).all(axis=(1, 2)) & np.isfinite(statistics).all(axis=(1, 2))
        prefixes[:] = BORDERLINE
        prefixes[finite] = decide(logits[finite], labels, ensemble, draws[finite]).prefix
