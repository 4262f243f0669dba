"""The portable engine: any architecture and prior, on the CPU or a GPU, by PyTorch.

Draws go in batches whose weights are made on the device. All are tried on the first two samples;
those with an arrangement that fits go on to the next samples, in stages that grow fourfold. A batch
keeps its weights from stage to stage, but nothing outlives it.

Products are taken in float64: making the weights costs several times as much, and the worst case of
float32 rounding would leave a third of the published LeNets undecided. Precision "float32" is for
GPUs with little float64; it repeats in float64 what float32 leaves unsure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines.base import BORDERLINE, Engine, Prefixes
from biasgpu.engines.consistency import prefixes
from biasgpu.engines.torch_forward import certain_tops
from biasgpu.engines.torch_weights import Drawn, draw_parameters
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError, UsageError
from biasgpu.layers import Conv2d
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
        precision: what to try first, "float32" or "float64".
        memory_bytes: about how much memory a batch may take.
        notice: what a user should know: why this engine stands in for another.

    Raises:
        UsageError: an unknown device.
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
        self._notice = notice
        self._device = find_device(device)
        self.device = str(self._device)
        self._threads = threads
        on_gpu = self._device.type == "cuda"
        self._bytes = memory_bytes or (CUDA_BYTES if on_gpu else CPU_BYTES)
        self._eps = NORMAL_EPS if on_gpu and ensemble.prior.family == "normal" else 0.0
        self._stages = _stages(len(y_train))
        self._tries = ("float64",) if precision == "float64" else ("float32", "float64")
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
        low, high = (
            torch.from_numpy(half.astype(np.int64)).to(self._device)
            for half in (draws & np.uint64(0xFFFFFFFF), draws >> np.uint64(32))
        )
        drawn = [
            draw_parameters(self.ensemble, step, low, high) if step.linear else None
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
        parts = [
            certain_tops(self.ensemble.steps, _slice(drawn, i, i + rows), x, self._eps).cpu()
            for i in range(0, n, rows)
        ]
        return torch.cat(parts).numpy()

    def _rows(self, bytes_each: int) -> int:
        return max(1, min(self._bytes // max(bytes_each, 1), 2**20))


def find_device(device: str | None) -> torch.device:
    """The torch device for a name; None takes a GPU if there is one.

    Raises:
        UsageError: an unknown device.
        ResourceError: a GPU is asked for and there is none.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or not (number.isdigit() or device in ("cpu", "cuda")):
        raise UsageError(
            f"unknown device {device!r}.",
            why="the torch engine knows cpu, cuda, and cuda with a number: cuda:1.",
            fix="device='cpu' (--device cpu).",
        )
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ResourceError(
            f"there is no device {device}.",
            why=f"PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here.",
            fix="device='cpu' (--device cpu), or install a driver and a CUDA build of PyTorch.",
        )
    return torch.device(device)


@contextmanager
def plain_float32(threads: int | None = None) -> Iterator[None]:
    """Within it float32 products and convolutions are just that (no TF32, no bfloat16), on so many
    threads."""
    threads_before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # PyTorch 2.9 and later
        mkldnn: Any = vars(torch.backends)["mkldnn"]
        backends: list[Any] = [matmul, mkldnn.matmul, mkldnn.conv]
        before = [backend.fp32_precision for backend in backends]

        def set_precisions(values: list[str]) -> None:
            for backend, value in zip(backends, values, strict=True):
                backend.fp32_precision = value
    else:
        before = [torch.get_float32_matmul_precision()]

        def set_precisions(values: list[str]) -> None:
            torch.set_float32_matmul_precision("highest" if "ieee" in values else values[0])

    set_precisions(["ieee"] * len(before))
    try:
        yield
    finally:
        set_precisions(before)
        if threads:
            torch.set_num_threads(threads_before)


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


def _n_parameters(ensemble: Ensemble) -> int:
    return sum(step.linear.units * step.columns for step in ensemble.steps if step.linear)


def _bytes_per_sample(ensemble: Ensemble) -> int:
    """About what a sample's activations take in float64, with the patches of a convolution."""
    largest = 0
    for step in ensemble.steps:
        inputs, outputs = (int(np.prod(shape)) for shape in (step.in_shape, step.out_shape))
        if isinstance(step.layer, Conv2d):
            inputs += step.fan_in * step.out_shape[1] * step.out_shape[2]
        largest = max(largest, inputs + 2 * outputs)
    return 8 * largest


def out_of_memory(error: Exception) -> bool:
    """Whether an exception of PyTorch says that there is no memory left."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        "out of memory" in text or "can't allocate memory" in text or "alloc_cpu" in text
    )
