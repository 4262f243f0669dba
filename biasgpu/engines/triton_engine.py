"""The GPU engine for method "deferred": Triton kernels that make, use and forget every number.

Draws are screened stage by stage: all on the first two samples, those without an error so far on
four, then eight, each time anew from their names. Within a stage batches follow each other on the
device without waiting; the host only learns how many draws are left after a stage. What float32
leaves unsure is tried again in float64; what that leaves unsure is borderline.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.triton_device import PlaceList, out_of_memory
from biasgpu.engines.triton_inputs import Inputs
from biasgpu.engines.triton_screened import DeviceEngine
from biasgpu.errors import ResourceError, UsageError
from biasgpu.kernels import launch, plan
from biasgpu.kernels.workspace import Workspace

MAX_BATCH = 1 << 20
HOPELESS_SHARE = 0.7  # of a stage's draws unsure in float32: the first try is not worth its while
HOPELESS_DRAWS = 64  # that tell


class TritonDeferredEngine(DeviceEngine):
    """Screens draws of a `DeferredEnsemble` on a GPU. See `Engine`.

    Args:
        ensemble: which networks; convolutions before the first dense layer are not taken.
        x_train: float32 `(n_train, *shape)`, the ensemble's own.
        y_train: int64 `(n_train,)`.
        device: "cuda", "cuda:1"; None takes the first GPU.
        memory_bytes: about how much memory a batch may take; None for a share of what is free.

    Raises:
        UsageError: an ensemble the kernels do not take.
        ResourceError: there is no GPU.
    """

    name: ClassVar[str] = "triton"

    def __init__(
        self,
        ensemble: DeferredEnsemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        *,
        device: str | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        reason = unsupported(ensemble)
        if reason:
            raise UsageError(
                f"the triton engine does not take this ensemble: {reason}.",
                why="its kernels make a layer's units from their names alone, in one pass.",
                fix="engine='cpu' (--engine cpu), or method='direct' (--method direct).",
            )
        super().__init__(ensemble, x_train, y_train, device=device, memory_bytes=memory_bytes)
        self._plan = ensemble.plan
        # Draws that reach samples beyond these, if ever one does, are the law's.
        self._stages = [n for n in plan.stages(len(y_train)) if n <= plan.MAX_SAMPLES]
        self._batch = MAX_BATCH
        self._hopeless: set[int] = set()  # stages that are tried in float64 at once
        self._n_outputs = ensemble.n_outputs
        arranged = ensemble.n_arrangements > 1
        self._units_at_first = -1 if arranged else sum(c << 4 * c for c in range(12))
        self._inputs = Inputs(ensemble, y_train, self._device)
        self._labels = self._to_device(y_train)
        self._rule = self._inputs.early_rule() if arranged else None

    def _screen(self, first_draw: int, prefix: Tensor) -> None:
        name = np.array([self.ensemble.seed, first_draw], dtype=np.uint64).view(np.int64)
        where = self._to_device(name)
        places = self._first_places(where, prefix)
        for n_samples in self._stages:
            if not places.numel():
                break
            places = self._stage(where, places, n_samples, prefix)

    @property
    def kinds(self) -> list[tuple[int, bool]]:
        """See `DeviceEngine.kinds`."""
        numbers = range(len(self._stages))
        first = [] if self._rule is None else [(-1, False)]
        return first + [(number, wide) for number in numbers for wide in (False, True)]

    def start_stage(self, number: int, wide: bool, n_draws: int) -> None:
        """See `DeviceEngine.start_stage`."""
        name = self._to_device(np.array([self.ensemble.seed, 0], dtype=np.uint64).view(np.int64))
        if number < 0:
            self._first_places(name, torch.empty(n_draws, dtype=torch.int16, device=self._device))
            return
        n_samples = self._stages[number]
        n = self._workspace(n_samples, n_draws, wide).capacity
        prefix = torch.full((n,), -1, dtype=torch.int16, device=self._device)
        places = torch.arange(n, dtype=torch.int64, device=self._device)
        self._try(name, places, n_samples, wide, prefix, self._list(n), self._list(n))

    def _first_places(self, name: Tensor, prefix: Tensor) -> Tensor:
        """The draws that no early rule rejects."""
        n = prefix.numel()
        if self._rule is None:
            return torch.arange(n, dtype=torch.int64, device=self._device)
        self.given[-1, False] += n
        left = self._list(n)
        launch.reject(
            name, self._rule, prefix, left.counter, left.values, n=n, n_outputs=self._n_outputs
        )
        return left.values[: left.length()]

    def _stage(self, name: Tensor, places: Tensor, n_samples: int, prefix: Tensor) -> Tensor:
        """State what the first samples decide.

        Returns:
            The places of the draws without an error so far; none after the last stage.
        """
        n, last = places.numel(), n_samples == len(self.y_train)
        going = self._list(0 if last else n)
        number = self._stages.index(n_samples)
        if n_samples not in self._hopeless:
            unsure = self._list(n)
            self._try(name, places, n_samples, False, prefix, going, unsure)
            self.given[number, False] += n
            places = unsure.values[: unsure.length()]
            if n >= HOPELESS_DRAWS and places.numel() > HOPELESS_SHARE * n:
                self._hopeless.add(n_samples)
        if places.numel():
            self._try(name, places, n_samples, True, prefix, going, self._list(0))
            self.given[number, True] += places.numel()
        return going.values[: going.length()]

    def _try(
        self,
        name: Tensor,
        places: Tensor,
        n_samples: int,
        wide: bool,
        prefix: Tensor,
        going: PlaceList,
        unsure: PlaceList,
    ) -> None:
        work = self._workspace(n_samples, places.numel(), wide)
        n_layers = len(self._plan.layers)
        first = self._inputs.first_coefficients(n_samples, wide)
        parameters = [self._inputs.parameters(k, n_samples, wide) for k in range(1, n_layers)]
        root = self._inputs.shared_root(n_samples) if n_layers == 1 else None
        epsilon = self._inputs.epsilon(wide)
        for start in range(0, places.numel(), work.capacity):
            draws = places[start : start + work.capacity]
            launch.outputs(name, draws, self._n_outputs, work)
            coefficients = first
            for number, layer in enumerate(self._plan.hidden):
                launch.gram(name, draws, layer, self._plan.blocks, coefficients, work)
                launch.factor(
                    parameters[number],
                    draws.numel(),
                    coefficients,
                    work,
                    can_die=plan.tiles(layer).can_die,
                    hidden=number + 2 < n_layers,
                )
                coefficients = work.own
            launch.check(
                draws, self._labels, root, epsilon, prefix, going.counter, going.values,
                unsure.counter, unsure.values, work, n_outputs=self._n_outputs,
                units_at_first=self._units_at_first, last=n_samples == len(self.y_train),
            )  # fmt: skip

    def _list(self, n: int) -> PlaceList:
        return PlaceList.empty(n, self._device)

    def _workspace(self, n_samples: int, n_draws: int, wide: bool) -> Workspace:
        """Memory for as many draws as there is room for; batches are halved where there is not."""
        each = plan.bytes_per_draw(n_samples, self._n_outputs, wide)
        most = plan.max_capacity(n_samples, self._n_outputs)
        capacity = max(1, min(n_draws, self._batch, self._budget // each, most))
        while True:
            try:
                return Workspace.make(n_samples, self._n_outputs, capacity, wide, self._device)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            if capacity == 1:
                raise ResourceError(
                    f"one network does not fit the memory of {self.device}.",
                    why=f"screening it on {n_samples} samples takes {each:,} bytes.",
                    fix="use fewer training samples (--n-train), or engine='cpu' (--engine cpu).",
                )
            capacity = (capacity + 1) // 2
            self._batch = capacity
            self._note = f"memory of {self.device} ran out: batches of {capacity:,} draws"

    def _to_device(self, values: npt.NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)


def unsupported(ensemble: DeferredEnsemble) -> str | None:
    """Why the kernels cannot take an ensemble, or None if they can."""
    if not ensemble.plan.shared:
        return "convolutions stand before its dense layers, so every draw has inputs of its own"
    if any(layer.units > plan.MAX_UNITS for layer in ensemble.plan.hidden):
        return f"a layer has more than {plan.MAX_UNITS:,} units"
    return None
