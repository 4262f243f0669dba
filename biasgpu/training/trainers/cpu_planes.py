"""The `cpu` trainer of networks with batch norms: compiled, a network at a time on every core."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from biasgpu.canonical import initial_parameters
from biasgpu.engines.cpu.chunked import default_threads
from biasgpu.engines.cpu.digest import is_compiled, note_compiled
from biasgpu.engines.cpu.workers import Workers
from biasgpu.engines.cpu.workspace import STOP, aligned
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.layout import n_products
from biasgpu.training.cpu.plan import STATES
from biasgpu.training.order import orders
from biasgpu.training.planes import train as kernel
from biasgpu.training.planes.digest import kind
from biasgpu.training.planes.plan import Plan, lay_out, needed, unsupported
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers.base import Trainer, Trajectories

CHUNK_PRODUCTS = 4e9  # some 0.2 s of work
LARGEST_CHUNK = 256


@dataclass(frozen=True)
class Space:
    """The memory one thread works in.

    `names[STOP]` is a flag: compiled code that finds it raised returns at once, with nothing right.
    """

    names: npt.NDArray[np.uint64]
    w: npt.NDArray[np.float32]
    g: npt.NDArray[np.float32]
    state: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    grads: npt.NDArray[np.float32]
    statistics: npt.NDArray[np.float32]

    @classmethod
    def make(cls, plan: Plan, n_states: int) -> Space:
        """Buffers for a plan, zeros all; `n_states` arrays are the optimiser's."""
        places = plan.places
        return cls(
            names=aligned(STOP + 1, np.uint64),
            w=aligned(places.n_numbers, np.float32),
            g=aligned(places.n_trained, np.float32),
            state=aligned(n_states * places.n_trained, np.float32),
            values=aligned(plan.n_values, np.float32),
            grads=aligned(plan.n_values, np.float32),
            statistics=aligned(2 * places.n_slots, np.float32),
        )

    @property
    def buffers(self) -> tuple[npt.NDArray, ...]:
        """The arrays, in the order in which the compiled function takes them."""
        return (
            self.names, self.w, self.g, self.state, self.values, self.grads, self.statistics,
        )  # fmt: skip


class CpuPlanesTrainer(Trainer):
    """Trains on the CPU whatever has batch norms, residual blocks or no biases. See `Trainer`.

    A network's numbers depend on nothing but itself: it is alone in its thread's registers.

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
        n_train = len(y_train)
        reason = unsupported(ensemble, recipe, n_train)
        if reason:
            raise UsageError(
                f"the cpu engine cannot train this: {reason}.",
                why="it compiles the layers and priors that biasgpu brings along.",
                fix="engine='torch' (--engine torch).",
            )
        self.threads = threads or default_threads()
        self.plan = lay_out(ensemble, recipe, n_train, norms=gradient_norms)
        self._inputs = self.plan.inputs(np.asarray(x_train, np.float32))
        self._labels = np.ascontiguousarray(y_train, dtype=np.int64)
        shuffled = orders(ensemble.seed, recipe.epochs, n_train)
        self._orders = np.concatenate([np.arange(n_train)[None], shuffled])
        settings = np.zeros(kernel.N_SETTINGS, np.int64)
        settings[kernel.OPTIMIZER] = STATES[recipe.optimizer]
        settings[kernel.BATCH] = min(recipe.batch_size, n_train)
        settings[kernel.STOP_EARLY], settings[kernel.NORMS] = recipe.stop_early, gradient_norms
        settings[kernel.FLAT] = self.plan.grid is None
        settings[kernel.OUTPUTS] = self.plan.n_outputs
        self._settings = settings
        self._marks = np.array(recipe.kept, dtype=np.int64)
        work = 3.0 * n_products(ensemble.steps) * n_train * max(recipe.epochs, 1)
        self._chunk = int(min(max(CHUNK_PRODUCTS / work, 1.0), LARGEST_CHUNK))
        self._train = kernel.compiled_train()
        self._open()

    def _open(self) -> None:
        """Threads, and the memory each works in. A forked child inherits no working threads."""
        self._process = os.getpid()
        self._workers: Workers[Space] = Workers(self.threads, self._space, "biasgpu-train")

    def _space(self) -> Space:
        return Space.make(self.plan, STATES[self.recipe.optimizer])

    def train(self, draws: npt.NDArray[np.uint64]) -> Trajectories:
        """As `Trainer.train`."""
        if self._process != os.getpid():
            self._open()
        recipe, n = self.recipe, len(draws)
        draws = np.ascontiguousarray(draws, dtype=np.uint64)
        kept = np.empty((n, len(self._marks), len(self.plan.places.order)), np.float32)
        epochs = np.empty(n, np.int64)
        norms = np.full((n, recipe.epochs + 1 if self.gradient_norms else 0), np.nan)
        size = max(1, min(self._chunk, -(-n // self.threads)))

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
        plan, places = self.plan, self.plan.places
        self._train(
            plan.sizes, plan.ops, plan.factors, plan.masks, plan.table, plan.logits, places.order,
            places.trained, places.n_trained, self._inputs, self._labels, self._orders,
            self._settings, float(self.recipe.learning_rate), self._marks,
            initial_parameters(self.ensemble, draws), kept, epochs, norms, *space.buffers,
        )  # fmt: skip

    @property
    def granularity(self) -> int:
        """See `Trainer.granularity`: a network on every core."""
        return self.threads

    @property
    def notice(self) -> str:
        """See `Trainer.notice`: compiling takes a while, once."""
        if is_compiled(kind()):
            return ""
        return "compiling the cpu trainer for this machine, once: about half a minute."

    def prepare(self) -> None:
        """See `Trainer.prepare`: compiles, or loads what is compiled."""
        shape = (0, len(self._marks), len(self.plan.places.order))
        nothing = np.empty(shape, np.float32), np.empty(0, np.int64)
        norms = np.empty((0, self.recipe.epochs + 1))
        self._run(self._space(), np.empty(0, np.uint64), *nothing, norms)
        note_compiled(kind())

    def close(self) -> None:
        """See `Trainer.close`."""
        self._workers.close()


__all__ = ["CpuPlanesTrainer", "needed", "unsupported"]
