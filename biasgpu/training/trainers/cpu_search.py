"""Searches on the CPU: compiled with numba, a network in every SIMD lane, all cores busy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu.digest import is_compiled, note_compiled
from biasgpu.training.cpu import search as kernel
from biasgpu.training.cpu.digest import kind
from biasgpu.training.trainers.cpu import CpuTrainer, Space


class CpuSearchTrainer(CpuTrainer):
    """Trains by pattern search or greedy random search. See `CpuTrainer`."""

    def _run(
        self,
        space: Space,
        draws: npt.NDArray[np.uint64],
        kept: npt.NDArray[np.float32],
        epochs: npt.NDArray[np.int64],
        norms: npt.NDArray[np.float64],
    ) -> None:
        plan, recipe = self.plan, self.recipe
        settings = np.zeros(kernel.N_SETTINGS, np.int64)
        settings[kernel.PATTERN] = recipe.optimizer == "pattern-search"
        settings[kernel.SAMPLES] = plan.samples
        settings[kernel.STOP_EARLY] = recipe.stop_early
        settings[kernel.PROPOSALS], settings[kernel.TRIES] = recipe.n_proposals, recipe.n_tries
        kernel.compiled_search()(
            plan.ops, plan.scales, plan.table, plan.lowered.family, np.uint64(self.ensemble.seed),
            self._inputs, self._labels, self._orders[0], settings, float(recipe.learning_rate),
            self._marks, draws, kept, epochs, self._lists.entries, self._lists.starts,
            self._lists.background, *space.buffers,
        )  # fmt: skip

    @property
    def notice(self) -> str:
        """See `Trainer.notice`: compiling takes a while, once."""
        if is_compiled(_kind()):
            return ""
        return "compiling the cpu trainer's searches for this machine, once: about half a minute."

    def prepare(self) -> None:
        """See `Trainer.prepare`: compiles, or loads what is compiled."""
        kept = np.empty((0, len(self._marks), self.plan.n_parameters), np.float32)
        nothing = np.empty(0, np.uint64), kept, np.empty(0, np.int64), np.empty((0, 0))
        self._run(Space.make(self.plan, self._lists.room), *nothing)
        note_compiled(_kind())


def _kind() -> str:
    """The name under which the engine's digest notes that this was compiled."""
    return kind().replace("train", "search")
