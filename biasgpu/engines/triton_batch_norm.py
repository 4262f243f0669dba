"""The GPU engine for networks with batch norms: Triton kernels in float64, all samples at once.

Statistics are of all training samples, so there is one stage; and a screen in float32 would decide
nothing, its bounds growing from one batch norm to the next. What float64 leaves unsure is
borderline. Architectures without batch norms whose layers `TritonDirectEngine` does not take, those
with padding or residual blocks, are screened here too, in its stages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from biasgpu.engines.triton_batch_norm_forward import Forward, Program, Space
from biasgpu.engines.triton_batch_norm_program import unsupported
from biasgpu.engines.triton_direct import TritonDirectEngine
from biasgpu.engines.triton_space import DrawList
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.kernels.direct_launch import Names
from biasgpu.kernels.direct_plan import BLOCK, Stage, stages
from biasgpu.layout import coupled

GRANULE_OPERATIONS = 1e12  # in float64


class TritonBatchNormEngine(TritonDirectEngine):
    """Screens draws of networks with batch norms on a GPU. See `TritonDirectEngine`.

    Args:
        ensemble: which networks; a `BatchNormEnsemble` knows its training set.
        x_train, y_train, device, memory_bytes: as `TritonDirectEngine` takes them.

    Raises:
        UsageError: an ensemble the kernels do not take, or another training set than its own.
        ResourceError: there is no GPU.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        *,
        device: str | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        own = getattr(ensemble, "x_train", x_train)
        if not np.array_equal(x_train, own):
            raise UsageError(
                f"the ensemble's {len(own)} training samples are not the {len(x_train)} that it "
                "is to be screened on.",
                why="the training samples give batch norms their statistics.",
                fix="make the ensemble of the same task: biasgpu.sample (biasgpu sample) does.",
            )
        super().__init__(ensemble, x_train, y_train, device=device, memory_bytes=memory_bytes)

    unsupported = staticmethod(unsupported)

    def _lower(self) -> None:
        self._program = Program(self.ensemble, self.x_train)
        self.forward = Forward(self._program, self._device)
        n_train = len(self.y_train)
        self.stages = [Stage(0, n_train)] if coupled(self.ensemble.steps) else stages(n_train)

    @property
    def kinds(self) -> list[tuple[int, bool]]:
        """See `DeviceEngine.kinds`: there is but float64."""
        return [(number, True) for number in range(len(self.stages))]

    @property
    def granularity(self) -> int:
        """Draws that keep a GPU busy for long enough, and do not take it long: some 0.1 s."""
        work = self._program.cost(max(stage.n for stage in self.stages)).operations
        return min(1 << 16, max(BLOCK, int(GRANULE_OPERATIONS / work) // BLOCK * BLOCK))

    @property
    def minimum(self) -> int:
        """Fewer draws leave a part of the GPU idle."""
        return max(BLOCK, self.granularity // 4)

    def _allocate(self, samples: int, capacity: int, wide: bool) -> Any:
        most = max(stage.n for stage in self.stages if stage.padded == samples)
        return Space.make(self._program, most, samples, capacity, self._device)

    def _stage(self, names: Names, stage: Stage, prefix: Tensor) -> Names:
        """See `TritonDirectEngine._stage`: in float64 at once."""
        n, last = names.places.numel(), stage.end == len(self.y_train)
        going = DrawList.empty(0 if last else n, self._device)
        self._try(names, stage, True, prefix, going, DrawList.empty(0, self._device))
        self.given[self.stages.index(stage), True] += n
        self.tally.float64 += n
        return going.names(names)
