"""The portable engine: any architecture and prior, on the CPU or a GPU, by PyTorch.

Draws go in batches whose weights are made on the device. All are tried on the first two samples;
those with an arrangement that fits go on to the next samples, in stages that grow fourfold. A batch
keeps its weights from stage to stage, but nothing outlives it.

Products are taken in float64: making the weights costs several times as much, and the worst case of
float32 rounding would leave a third of the published LeNets undecided. Precision "float32" is for
GPUs with little float64; it repeats in float64 what float32 leaves unsure. Networks with batch
norms have one stage, all training samples, in float64 (`torch_batch_norm`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines import torch_batch_norm
from biasgpu.engines.base import BORDERLINE, Engine, Prefixes
from biasgpu.engines.consistency import prefixes
from biasgpu.engines.torch_device import find_device, out_of_memory, plain_float32
from biasgpu.engines.torch_forward import certain_tops
from biasgpu.engines.torch_weights import Drawn, draw_parameters
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.layers import Conv2d, Fork, Join
from biasgpu.layout import coupled, n_weights
from biasgpu.margins import NORMAL_EPS

Precision = Literal["float32", "float64"]
FIRST_STAGE = 2
STAGE_GROWTH = 4
CPU_BYTES = 128 * 2**20
CUDA_BYTES = 4 * 2**30


class TorchEngine(Engine):
    """Screens with batched matrix products. See `Engine`.

    Args:
        ensemble: which networks.
        x_train: float32 `(n_train, *shape)`.
        y_train: int64 `(n_train,)`.
        device: "cpu", "cuda", "cuda:1"; None takes a GPU if there is one.
        threads: CPU threads; None leaves it to PyTorch.
        precision: what to try first, "float32" or "float64"; "float64" where there are batch norms
            or residual blocks.
        memory_bytes: about how much memory a batch may take.
        notice: what a user should know: why this engine stands in for another.

    Raises:
        UsageError: an unknown device, or other training samples than batch norms have.
        ResourceError: a GPU is asked for and there is none.
    """

    name: ClassVar[str] = "torch"

    def __init__(
        self,
        ensemble: Ensemble,
        x_train: npt.NDArray[np.float32],
        y_train: npt.NDArray[np.int64],
        *,
        device: str | None = None,
        threads: int | None = None,
        precision: Precision = "float64",
        memory_bytes: int | None = None,
        notice: str = "",
    ) -> None:
        super().__init__(ensemble, x_train, y_train)
        check_samples(ensemble, x_train)
        self._notice = notice
        self._device = find_device(device)
        self.device = str(self._device)
        self._threads = threads
        on_gpu = self._device.type == "cuda"
        self._bytes = memory_bytes or (CUDA_BYTES if on_gpu else CPU_BYTES)
        self._eps = NORMAL_EPS if on_gpu and ensemble.prior.family == "normal" else 0.0
        self._by_channel = torch_batch_norm.takes(ensemble.steps)
        whole = coupled(ensemble.steps)
        self._stages = [(0, len(y_train))] if whole else _stages(len(y_train))
        only = precision == "float64" or self._by_channel
        self._tries = ("float64",) if only else ("float32", "float64")
        samples_last = np.ascontiguousarray(np.moveaxis(x_train, 0, -1))[None]
        self._x = torch.from_numpy(samples_last).to(self._device)
        first = self._stages[0][1]
        self._batch = self._rows(16 * _n_parameters(ensemble) + first * _bytes_per_sample(ensemble))

    @property
    def notice(self) -> str:
        """See `Engine.notice`."""
        return self._notice

    @property
    def granularity(self) -> int:
        """Draws a batch holds."""
        return self._batch

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`.

        Raises:
            ResourceError: not even one draw fits the device's memory.
        """
        result = np.empty(n_draws, dtype=np.uint16)
        done = 0
        with torch.inference_mode(), plain_float32(self._threads):
            while done < n_draws:
                count = min(self._batch, n_draws - done)
                found = self._within_memory(first_draw + done, count)
                if found is not None:
                    result[done : done + count] = found
                    done += count
        return result

    def _within_memory(self, first_draw: int, count: int) -> Prefixes | None:
        """`_screen_batch`, or None (and smaller batches from now on) where memory ran out."""
        try:
            return self._screen_batch(first_draw, count)
        except (RuntimeError, MemoryError) as error:  # OutOfMemoryError is a RuntimeError
            if not out_of_memory(error):
                raise
        if count == 1:
            raise ResourceError(
                f"one network does not fit the memory of {self.device}.",
                why=f"it has {_n_parameters(self.ensemble):,} parameters.",
                fix="use a smaller width.",
            )
        self._batch = max(1, count // 2)
        self._bytes //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _screen_batch(self, first_draw: int, count: int) -> Prefixes:
        draws = np.uint64(first_draw) + np.arange(count, dtype=np.uint64)
        # The bound by channel has no place for weights that are not the canonical ones.
        source = torch.device("cpu") if self._by_channel and self._eps else self._device
        low, high = (
            torch.from_numpy(half.astype(np.int64)).to(source)
            for half in (draws & np.uint64(0xFFFFFFFF), draws >> np.uint64(32))
        )
        drawn = [
            _to(self._device, draw_parameters(self.ensemble, step, low, high))
            if step.units
            else None
            for step in self.ensemble.steps
        ]
        result = np.empty(count, dtype=np.uint16)
        rows = np.arange(count)  # the draws that fit all samples so far
        tops = np.empty((count, 0), dtype=np.int64)
        for stage in self._stages:
            start, stop = stage
            tops = np.concatenate([tops, np.empty((len(rows), stop - start), np.int64)], axis=1)
            found = np.full(len(rows), BORDERLINE, dtype=np.uint16)
            for dtype in self._tries:
                unsure = np.flatnonzero(found == BORDERLINE)
                if len(unsure):
                    tops[unsure, start:stop] = self._tops(_take(drawn, unsure), stage, dtype)
                    found[unsure] = self._prefixes(tops[unsure])
            result[rows] = found
            alive = np.flatnonzero(found == stop)
            rows, tops, drawn = rows[alive], tops[alive], _take(drawn, alive)
            if not len(rows):
                break
        return result

    def _prefixes(self, tops: npt.NDArray[np.int64]) -> Prefixes:
        labels = self.y_train[: tops.shape[1]]
        return prefixes(tops, labels, self.ensemble.n_outputs, self.ensemble.n_arrangements)

    def _tops(
        self, drawn: list[Drawn | None], stage: tuple[int, int], dtype: str
    ) -> npt.NDArray[np.int64]:
        x = self._x[..., stage[0] : stage[1]].to(getattr(torch, dtype))
        n = next(len(pair[0]) for pair in drawn if pair is not None)
        rows = self._rows((stage[1] - stage[0]) * _bytes_per_sample(self.ensemble))
        steps, parts = self.ensemble.steps, list[Tensor]()
        for i in range(0, n, rows):
            some = _slice(drawn, i, i + rows)
            if self._by_channel:
                parts.append(torch_batch_norm.certain_tops(steps, some, x).cpu())
            else:
                parts.append(certain_tops(steps, some, x, self._eps).cpu())
        return torch.cat(parts).numpy()

    def _rows(self, bytes_each: int) -> int:
        return max(1, min(self._bytes // max(bytes_each, 1), 2**20))


def check_samples(ensemble: Ensemble, x_train: npt.NDArray[np.float32]) -> None:
    """Refuse training samples that are not those which give batch norms their statistics.

    Raises:
        UsageError: they are others.
    """
    if isinstance(ensemble, BatchNormEnsemble) and not np.array_equal(x_train, ensemble.x_train):
        raise UsageError(
            "the training samples are not those of the ensemble.",
            why="they give batch norms their statistics: other samples make other networks.",
            fix="make biasgpu.batch_norm.BatchNormEnsemble with these (biasgpu sample "
            "makes it with the task's).",
        )


def _stages(n_train: int) -> list[tuple[int, int]]:
    """Ranges of samples: [0, 2), [2, 8), [8, 32), ... to n_train."""
    stages, start, stop = [], 0, min(FIRST_STAGE, n_train)
    while start < n_train:
        stages.append((start, stop))
        start, stop = stop, min(stop * STAGE_GROWTH, n_train)
    return stages


def _take(drawn: list[Drawn | None], rows: npt.NDArray[np.int64]) -> list[Drawn | None]:
    """The parameters of some of the draws (those given, where it is all of them)."""
    n = next(len(pair[0]) for pair in drawn if pair is not None)
    if len(rows) == n:
        return drawn

    def take(values: Tensor) -> Tensor:
        return values.index_select(0, torch.from_numpy(rows).to(values.device))

    return [
        None if pair is None else (take(pair[0]), None if pair[1] is None else take(pair[1]))
        for pair in drawn
    ]


def _slice(drawn: list[Drawn | None], start: int, stop: int) -> list[Drawn | None]:
    return [
        None if p is None else (p[0][start:stop], None if p[1] is None else p[1][start:stop])
        for p in drawn
    ]


def _to(device: torch.device, drawn: Drawn) -> Drawn:
    return drawn[0].to(device), None if drawn[1] is None else drawn[1].to(device)


def _n_parameters(ensemble: Ensemble) -> int:
    return n_weights(ensemble.steps)


def _bytes_per_sample(ensemble: Ensemble) -> int:
    """About what a sample's activations take in float64, with the patches of a convolution and what
    residual blocks remember."""
    largest = remembered = 0
    for step in ensemble.steps:
        inputs, outputs = (int(np.prod(shape)) for shape in (step.in_shape, step.out_shape))
        remembered += inputs if isinstance(step.layer, Fork) else 0
        remembered -= inputs if isinstance(step.layer, Join) else 0
        inputs += remembered
        if isinstance(step.layer, Conv2d):
            inputs += step.fan_in * step.out_shape[1] * step.out_shape[2]
        largest = max(largest, inputs + 2 * outputs)
    return 8 * largest
