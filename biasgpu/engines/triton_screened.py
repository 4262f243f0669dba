"""Ranges of draws on a GPU: prefixes stay there, and only survivors come back.

What the engines of both methods share: a range is gone through in calls, as large as memory allows,
since the host waits a few times a call whatever its size; the prefixes of all calls lie in one
array, two bytes a draw.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.engines.base import BORDERLINE, Engine, Prefixes
from biasgpu.engines.screened import Places, Screened
from biasgpu.engines.triton_device import (
    budget_bytes,
    find_device,
    on_device,
    out_of_memory,
    release_memory,
)
from biasgpu.ensemble import Ensemble
from biasgpu.errors import ResourceError

MAX_CALL = 1 << 26  # draws; their lists number places in 64 bits, so this is for memory's sake
LEAST_CALL = 1 << 12  # a call is not made shorter for want of memory
DRAW_BYTES = 50  # of a call, whatever the network: two lists of places and states, and a prefix
CALL_SHARE = 0.25  # of the memory that a batch may take
MOST = 1 << 27  # draws of a range: 0.25 GB of prefixes
PART = 1 << 24  # draws that are counted or compacted together
WARM_STAGES = 3  # hardly a draw reaches later ones; their kernels are compiled when one does
SIGNED = 1 << 15  # prefixes from here on are negative numbers of 16 bits


class DeviceScreened(Screened):
    """Prefixes in a GPU's memory.

    Args:
        prefix: int16 `(n,)`, the bits of the prefixes.
        n_train: training samples.
    """

    def __init__(self, prefix: Tensor, n_train: int) -> None:
        self.n_train = n_train
        self._prefix = prefix

    def __len__(self) -> int:
        """See `Screened`."""
        return self._prefix.numel()

    def counts(self, end: int | None = None) -> npt.NDArray[np.int64]:
        """See `Screened.counts`."""
        total = np.zeros(self.n_train + 1, dtype=np.int64)
        with on_device(self._prefix.device):
            for part in self._prefix[:end].split(PART):
                # Borderline, -1, is counted before prefix 0.
                numbers = (part.int() + 1) & 0xFFFF
                found = torch.bincount(numbers, minlength=self.n_train + 2).cpu().numpy()
                total += found[1 : self.n_train + 2]
        return total

    def at_least(self, prefix: int) -> tuple[Places, Prefixes]:
        """See `Screened.at_least`."""
        places, values = [np.empty(0, np.int64)], [np.empty(0, np.int16)]
        with on_device(self._prefix.device):
            for number, part in enumerate(self._prefix.split(PART)):
                if prefix == BORDERLINE:
                    wanted = part == -1
                elif prefix >= SIGNED:
                    wanted = (part < 0) & (part >= prefix - (1 << 16))
                else:
                    wanted = (part < 0) | (part >= prefix)
                here = torch.nonzero(wanted).flatten()
                places.append((here + number * PART).cpu().numpy())
                values.append(part[here].cpu().numpy())
        return np.concatenate(places), np.concatenate(values).view(np.uint16)

    def decide(self, places: Places, prefixes: Prefixes) -> None:
        """See `Screened.decide`."""
        device = self._prefix.device
        with on_device(device):
            at = torch.from_numpy(np.ascontiguousarray(places)).to(device)
            values = np.ascontiguousarray(prefixes, dtype=np.uint16).view(np.int16)
            self._prefix[at] = torch.from_numpy(values).to(device)

    def prefixes(self) -> Prefixes:
        """See `Screened.prefixes`: copies them."""
        return self._prefix.cpu().numpy().view(np.uint16)


class DeviceEngine(Engine):
    """An engine whose kernels state prefixes on a GPU. See `Engine`.

    Args:
        ensemble, x_train, y_train: as for `Engine`.
        device: "cuda", "cuda:1"; None takes the first GPU.
        memory_bytes: about how much memory a batch may take; None for a share of what is free.

    Attributes:
        given: draws that kernels were given so far, by the number of the stage (-1 for what comes
            before all stages) and whether in float64.

    Raises:
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
        super().__init__(ensemble, x_train, y_train)
        self._device = find_device(device)
        self.device = str(self._device)
        self._memory = memory_bytes
        self.given: Counter[tuple[int, bool]] = Counter()
        self._budget = self._room()
        self._most = MAX_CALL
        self._note = ""

    @property
    def granularity(self) -> int:
        """Draws that keep a GPU busy for long enough."""
        return 1 << 16

    @property
    def minimum(self) -> int:
        """Fewer draws leave a part of the GPU idle."""
        return 1 << 14

    @property
    def maximum(self) -> int:
        """See `Engine.maximum`: two bytes a draw, on the device."""
        return MOST

    @property
    def notice(self) -> str:
        """How large batches are, where memory ran out."""
        return self._note

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`.

        Raises:
            ResourceError: not even a few draws fit the device's memory.
        """
        return self.screened(first_draw, n_draws).prefixes()

    def screened(self, first_draw: int, n_draws: int) -> DeviceScreened:
        """See `Engine.screened`; raises as `screen` does."""
        with on_device(self._device):
            self._budget = self._room()
            size = max(LEAST_CALL, int(CALL_SHARE * self._budget) // DRAW_BYTES)
            self._most = min(self._most, 1 << (size.bit_length() - 1))
            # Borderline until decided.
            prefix = torch.full((n_draws,), -1, dtype=torch.int16, device=self._device)
            start = 0
            while start < n_draws:
                part = prefix[start : start + self._most]
                if self._fits(first_draw + start, part):
                    start += part.numel()
        return DeviceScreened(prefix, len(self.y_train))

    def _room(self) -> int:
        """Bytes that a batch may take."""
        return budget_bytes(self._device) if self._memory is None else self._memory

    def _fits(self, first_draw: int, prefix: Tensor) -> bool:
        """Whether a call's lists fit the memory; if not, calls are shorter from now on."""
        try:
            self._screen(first_draw, prefix)
        except (RuntimeError, MemoryError) as error:  # OutOfMemoryError is a RuntimeError
            if not out_of_memory(error):
                raise
        else:
            return True
        release_memory(self._device)
        if self._most <= LEAST_CALL:
            raise ResourceError(
                f"the memory of {self.device} is full.",
                why=f"{self._most:,} draws could not be listed in it.",
                fix="end what else uses the device, or take another: engine='cpu' (--engine cpu).",
            )
        self._most = max(LEAST_CALL, self._most // 2)
        self._note = f"memory of {self.device} ran out: {self._most:,} draws at a time"
        return False

    @abstractmethod
    def _screen(self, first_draw: int, prefix: Tensor) -> None:
        """State the prefixes of the draws from `first_draw` on: int16 `(n,)`, all -1 before."""

    @abstractmethod
    def start_stage(self, number: int, wide: bool, n_draws: int) -> None:
        """Start the kernels of a stage on the first draws, in one batch, whatever comes of it.

        To be measured.

        Args:
            number: of the stage; -1 for what comes before all stages, if anything does.
            wide: in float64.
            n_draws: about how many draws, if there is memory for them.
        """

    def warm(self) -> None:
        """Have the kernels of the first stages compiled, by starting them on a few draws."""
        with on_device(self._device):
            for number, wide in self.kinds:
                if number < WARM_STAGES:
                    self.start_stage(number, wide, 1)

    @property
    @abstractmethod
    def kinds(self) -> list[tuple[int, bool]]:
        """Numbers of stages, in float32 and in float64, as `given` counts them."""

    def prepare(self) -> None:
        """See `Engine.prepare`: the law's compiled code, and on a GPU the kernels."""
        super().prepare()
        if self._device.type == "cuda":
            self.warm()
