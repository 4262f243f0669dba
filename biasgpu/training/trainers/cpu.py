"""The `cpu` trainer: compiled with numba, a network in every SIMD lane, all cores busy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu import ahead
from biasgpu.engines.cpu.chunked import default_threads
from biasgpu.engines.cpu.digest import is_compiled, note_compiled
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.workers import Workers
from biasgpu.engines.cpu.workspace import STOP, aligned
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.training.cpu import sparse
from biasgpu.training.cpu import train as kernel
from biasgpu.training.cpu.digest import kind
from biasgpu.training.cpu.plan import LANES, Plan, chunk, lay_out, unsupported
from biasgpu.training.cpu.strips import REACH
from biasgpu.training.order import orders
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers.base import Trainer, Trajectories

BEHIND = 8  # numbers that may be read, and are not used, behind the last image


@dataclass(frozen=True)
class Space:
    """The memory one thread works in, for sixteen networks at a time.

    `names[STOP]` is a flag: compiled code that finds it raised returns at once, with nothing right.
    """

    names: npt.NDArray[np.uint64]
    unit: npt.NDArray[np.float64]
    w: npt.NDArray[np.float32]
    g: npt.NDArray[np.float32]
    state: npt.NDArray[np.float32]
    activations: npt.NDArray[np.float32]
    masks: npt.NDArray[np.uint16]
    images: npt.NDArray[np.float32]
    here: npt.NDArray[np.float32]
    there: npt.NDArray[np.float32]
    sums: npt.NDArray[np.float64]
    padded: npt.NDArray[np.float32]

    @classmethod
    def make(cls, plan: Plan, room: int) -> Space:
        """Buffers for a plan, zeros all."""
        samples = plan.samples
        return cls(
            names=aligned(STOP + 1, np.uint64),
            unit=aligned((plan.drawn + 16) * LANES_F64, np.float64),
            w=aligned(plan.n_parameters * LANES, np.float32),
            g=aligned(plan.n_parameters * LANES, np.float32),
            state=aligned(plan.n_states * plan.n_parameters * LANES, np.float32),
            activations=aligned(samples * plan.activations * LANES, np.float32),
            masks=aligned(samples * plan.masks, np.uint16),
            images=aligned(plan.spread * LANES, np.float32),
            here=aligned((samples * plan.widest + REACH) * LANES, np.float32),
            there=aligned((samples * plan.widest + REACH) * LANES, np.float32),
            sums=aligned(LANES, np.float64),
            padded=aligned(room * LANES, np.float32),
        )

    @property
    def buffers(self) -> tuple[npt.NDArray, ...]:
        """The arrays, in the order in which the compiled function takes them."""
        return (
            self.names, self.unit, self.w, self.g, self.state, self.activations, self.masks,
            self.images, self.here, self.there, self.sums, self.padded,
        )  # fmt: skip


class CpuTrainer(Trainer):
    """Trains on the CPU. See `Trainer`.

    Args:
        threads: how many; None for one a core.

    Raises:
        UsageError: the ensemble has a layer or prior with no compiled form, or is too large; see
            `unsupported`.
    """

    name: ClassVar[str] = "cpu"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        recipe: Recipe,
        *,
        gradient_norms: bool = False,
        threads: int | None = None,
    ) -> None:
        super().__init__(ensemble, x_train, y_train, recipe, gradient_norms=gradient_norms)
        reason = unsupported(ensemble, recipe)
        if reason:
            raise UsageError(
                f"the cpu engine cannot train this: {reason}.",
                why="it compiles the layers and priors that biasgpu brings along.",
                fix="engine='torch' (--engine torch).",
            )
        n_train = len(y_train)
        self.threads = threads or default_threads()
        self.plan = lay_out(ensemble, recipe, n_train)
        inputs = self.plan.lowered.inputs(x_train, np.float32)
        self._lists = sparse.lists(self.plan.ops[0], inputs)
        self._inputs = np.pad(inputs.reshape(-1), (0, BEHIND))
        self._labels = np.ascontiguousarray(y_train, dtype=np.int64)
        shuffled = orders(ensemble.seed, 0 if recipe.searches else recipe.epochs, n_train)
        self._orders = np.concatenate([np.arange(n_train)[None], shuffled])
        settings = np.zeros(kernel.N_SETTINGS, np.int64)
        settings[kernel.OPTIMIZER] = self.plan.n_states
        settings[kernel.BATCH] = min(recipe.batch_size, n_train)
        settings[kernel.SAMPLES] = self.plan.samples
        settings[kernel.STOP_EARLY], settings[kernel.NORMS] = recipe.stop_early, gradient_norms
        self._settings = settings
        self._marks = np.array(recipe.kept, dtype=np.int64)
        # A proposal is a forward pass, a third of a step along the gradient.
        passes = -(-recipe.n_proposals // 3) if recipe.searches else 1
        self._chunk = chunk(ensemble, n_train * max(recipe.epochs, 1) * passes)
        self._train = kernel.compiled_train()
        self._open()

    def _open(self) -> None:
        """Threads, and the memory each works in. A forked child inherits no working threads."""
        self._process = os.getpid()
        self._workers: Workers[Space] = Workers(
            self.threads, lambda: Space.make(self.plan, self._lists.room), "biasgpu-train"
        )

    def train(self, draws: npt.NDArray[np.uint64]) -> Trajectories:
        """As `Trainer.train`."""
        if self._process != os.getpid():
            self._open()
        recipe, n = self.recipe, len(draws)
        draws = np.ascontiguousarray(draws, dtype=np.uint64)
        kept = np.empty((n, len(self._marks), self.plan.n_parameters), np.float32)
        epochs = np.empty(n, np.int64)
        norms = np.full((n, recipe.epochs + 1 if self.gradient_norms else 0), np.nan)
        share = -(-n // (self.threads * LANES)) * LANES
        size = min(self._chunk, max(share, LANES))

        def one(space: Space, start: int) -> None:
            part = slice(start, start + size)
            self._run(space, draws[part], kept[part], epochs[part], norms[part])

        self._workers.run(one, range(0, n, size))
        return Trajectories(kept, epochs, norms if self.gradient_norms else None)

    def _run(
        self,
        space: Space,
        draws: npt.NDArray[np.uint64],
        kept: npt.NDArray[np.float32],
        epochs: npt.NDArray[np.int64],
        norms: npt.NDArray[np.float64],
    ) -> None:
        plan = self.plan
        self._train(
            plan.ops, plan.scales, plan.table, plan.lowered.family, np.uint64(self.ensemble.seed),
            self._inputs, self._labels, self._orders, self._settings, self.recipe.learning_rate,
            self._marks, draws, kept, epochs, norms, self._lists.entries, self._lists.starts,
            self._lists.background, *space.buffers,
        )  # fmt: skip

    @property
    def granularity(self) -> int:
        """See `Trainer.granularity`: all lanes of every thread."""
        return LANES * self.threads

    @property
    def notice(self) -> str:
        """See `Trainer.notice`: compiling takes a while, once."""
        if is_compiled(kind()):
            return ""
        return "compiling the cpu trainer for this machine, once: about half a minute."

    def prepare(self) -> None:
        """See `Trainer.prepare`: compiles, or loads what is compiled."""
        n_epochs, n_kept = self.recipe.epochs, len(self._marks)
        kept = np.empty((0, n_kept, self.plan.n_parameters), np.float32)
        nothing = np.empty(0, np.uint64), kept, np.empty(0, np.int64), np.empty((0, n_epochs + 1))
        ahead.start("training")
        self._run(Space.make(self.plan, self._lists.room), *nothing)
        ahead.wait("training")
        note_compiled(kind())

    def close(self) -> None:
        """See `Trainer.close`."""
        self._workers.close()


__all__ = ["CpuTrainer", "unsupported"]
