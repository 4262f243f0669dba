"""Launching the kernels of method "direct": shapes, types and devices are checked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from biasgpu.kernels import direct_check as _check
from biasgpu.kernels import direct_conv as _conv
from biasgpu.kernels import direct_dense as _dense
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels.launch import OPTIONS, _expect, _run, limited

WARPS = plan.BLOCK // 32


@dataclass(frozen=True)
class Names:
    """Which draws: tensors on the device.

    Attributes:
        name: int64 `(2,)`, bits of the seed and of the first draw.
        places: int64 `(n,)`, places of the draws after the first.
        states: int64 `(n,)`, their states: see `direct_check`.
        lanes: int32 `(BLOCK,)`: 0, 1, 2, ...
    """

    name: Tensor
    places: Tensor
    states: Tensor
    lanes: Tensor

    @property
    def programs(self) -> int:
        """Programs that take `BLOCK` draws each."""
        return -(-self.places.numel() // plan.BLOCK)

    def slice(self, start: int, end: int) -> Names:
        """Some of them."""
        return Names(self.name, self.places[start:end], self.states[start:end], self.lanes)

    def check(self) -> None:
        """Types and sizes.

        Raises:
            ValueError: a tensor is not as it must be.
        """
        device, n = self.name.device, self.places.numel()
        _expect("name", self.name, torch.int64, 2, device)
        _expect("places", self.places, torch.int64, 1, device)
        _expect("states", self.states, torch.int64, n, device)
        _expect("lanes", self.lanes, torch.int32, plan.BLOCK, device)


@dataclass(frozen=True)
class Weights:
    """How the weights of a layer are drawn: bits of a word, family, and where its blocks lie."""

    bits: int
    normal: bool
    n_units: int
    first_block: int
    blocks_per_unit: int

    @property
    def per_block(self) -> int:
        """Weights of a Philox block."""
        return 128 // self.bits


@dataclass(frozen=True)
class Activations:
    """Values on the stage's samples, and their slack (see `direct_dense`).

    `shared`: the same for all draws, `(samples, features)`; else `(programs, samples, features,
    BLOCK)`. `group` holds the largest slack of each channel, `(.., samples, channels, ..)`.
    """

    values: Tensor
    slack: Tensor
    group: Tensor
    shared: bool

    def expect(self, features: int, channels: int, samples: int, programs: int) -> None:
        """Check room for so many.

        Raises:
            ValueError: there is not, or types differ.
        """
        each = samples * (1 if self.shared else plan.BLOCK * programs)
        kind, device = self.values.dtype, self.values.device
        _expect("values", self.values, kind, each * features, device)
        _expect("slack", self.slack, kind, each * features, device)
        _expect("group", self.group, kind, each * channels, device)
        if samples * features * plan.BLOCK > plan.MAX_OFFSET:
            raise ValueError(f"{features} features; 32 bits do not number them")


def dense(
    names: Names, drawn: Weights, constants: Tensor, inputs: Activations, outputs: Activations,
    *, n_inputs: int, biased: bool, rectified: bool, samples: int,
) -> None:  # fmt: skip
    """See `direct_dense._dense_kernel`."""
    names.check()
    wide = _wide(inputs, outputs, constants)
    inputs.expect(n_inputs, 0, samples, names.programs)
    outputs.expect(drawn.n_units, 0, samples, names.programs)
    units = plan.tile_units(drawn.n_units, samples, wide, drawn.normal)
    chunk = plan.chunk_blocks(drawn.blocks_per_unit, drawn.per_block)
    _run(_dense._dense_kernel, names.name, _grid(names, -(-drawn.n_units // units)))(
        names.name, names.places, names.lanes, inputs.values, inputs.slack, outputs.values,
        outputs.slack, constants, names.places.numel(), drawn.first_block, drawn.blocks_per_unit,
        n_inputs, drawn.n_units, -(-drawn.blocks_per_unit // chunk), chunk,
        4,
        SHARED=inputs.shared, BIASED=biased, RECTIFIED=rectified, BITS=drawn.bits,
        NORMAL=drawn.normal, WIDE=wide, SAMPLES=samples,
        TURNED=plan.turned(drawn.bits, drawn.normal, wide), UNITS=units, BLOCK=plan.BLOCK,
        **_options(samples, wide),
    )  # fmt: skip


def draw(names: Names, drawn: Weights, constants: Tensor, weights: Tensor, *, columns: int) -> None:
    """See `direct_conv._draw_kernel`: fills `weights`."""
    names.check()
    size = names.programs * plan.BLOCK * drawn.n_units * columns
    _expect("weights", weights, weights.dtype, size, names.name.device)
    _expect("constants", constants, torch.float64, 6, names.name.device)
    units = min(4, plan.tile_units(drawn.n_units, 1, False))
    _run(_conv._draw_kernel, names.name, _grid(names, -(-drawn.n_units // units)))(
        names.name, names.places, names.lanes, weights, constants, names.places.numel(),
        drawn.first_block, drawn.blocks_per_unit, columns, drawn.n_units,
        BITS=drawn.bits, NORMAL=drawn.normal, WIDE=weights.dtype == torch.float64, UNITS=units,
        BLOCK=plan.BLOCK, num_warps=WARPS, **OPTIONS,
    )  # fmt: skip


def convolution(
    names: Names, constants: Tensor, weights: Tensor, inputs: Activations, outputs: Activations,
    *, in_shape: tuple[int, int, int], n_units: int, kernel: int, biased: bool, rectified: bool,
    pooled: bool, samples: int,
) -> None:  # fmt: skip
    """See `direct_conv._convolution_kernel`; `weights` are as `draw` leaves them."""
    channels, height, width = in_shape
    rows, columns = (height - kernel + 1, width - kernel + 1)
    if pooled:
        rows, columns = rows // 2, columns // 2
    if min(rows, columns) < 1:
        raise ValueError(f"a kernel of {kernel} leaves nothing of {in_shape}")
    wide = _wide(inputs, outputs, constants)
    inputs.expect(0 if inputs.shared else channels * height * width, channels, samples,
                  names.programs)  # fmt: skip
    _expect("values", inputs.values, inputs.values.dtype, samples * channels * height * width,
            names.name.device)  # fmt: skip
    outputs.expect(n_units * rows * columns, n_units, samples, names.programs)
    n_weights = n_units * (channels * kernel**2 + biased)
    _expect("weights", weights, inputs.values.dtype, names.programs * plan.BLOCK * n_weights,
            names.name.device)  # fmt: skip
    units = plan.tile_units(n_units, samples * (4 if pooled else 1), wide)
    _run(_conv._convolution_kernel, names.name, _grid(names, -(-n_units // units)))(
        names.lanes, weights, inputs.values, inputs.group, outputs.values, outputs.slack,
        outputs.group, constants, channels, n_units, height, width, rows, columns, kernel,
        SHARED=inputs.shared, BIASED=biased, RECTIFIED=rectified, POOLED=pooled, KERNEL=kernel,
        WIDE=wide, SAMPLES=samples, UNITS=units, BLOCK=plan.BLOCK,
        **_options(samples, wide),
    )  # fmt: skip


def pool(
    names: Names, inputs: Activations, outputs: Activations, *, in_shape: tuple[int, int, int],
    size: int, samples: int,
) -> None:  # fmt: skip
    """See `direct_conv._pool_kernel`; channels' slack stays as it is."""
    channels, height, width = in_shape
    after = channels * (height // size) * (width // size)
    if not after:
        raise ValueError(f"a window of {size} does not fit {in_shape}")
    inputs.expect(channels * height * width, channels, samples, names.programs)
    outputs.expect(after, channels, samples, names.programs)
    _run(_conv._pool_kernel, names.name, _grid(names, samples * channels))(
        names.lanes, inputs.values, inputs.slack, outputs.values, outputs.slack,
        samples * channels, height, width, size, BLOCK=plan.BLOCK, num_warps=WARPS, **OPTIONS,
    )  # fmt: skip


def decide(
    names: Names, labels: Tensor, logits: Activations, prefix: Tensor, going: tuple[Tensor, ...],
    unsure: tuple[Tensor, ...], stage: plan.Stage, *, n_outputs: int, last: bool,
) -> None:  # fmt: skip
    """See `direct_check._decide_kernel`.

    Args:
        going, unsure: counter, places and states: where draws are listed.
        last: none go on; `going` may be empty, as `unsure` may be in float64.
    """
    names.check()
    device, wide = names.name.device, logits.values.dtype == torch.float64
    logits.expect(n_outputs, 0, stage.padded, names.programs)
    _expect("labels", labels, torch.int64, stage.end, device)
    _expect("prefix", prefix, torch.int16, 1, device)
    for (counter, *lists), needed in ((going, not last), (unsure, not wide)):
        _expect("counter", counter, torch.int64, 1, device)
        for values in lists:
            _expect("list", values, torch.int64, names.places.numel() if needed else 0, device)
    _run(_check._decide_kernel, names.name, (names.programs,))(
        names.places, names.states, names.lanes, labels, logits.values, logits.slack, prefix,
        *going, *unsure, names.places.numel(), stage.first, stage.n,
        N_OUTPUTS=n_outputs, LAST=last, WIDE=wide, SAMPLES=stage.padded, BLOCK=plan.BLOCK,
        num_warps=WARPS, **OPTIONS,
    )  # fmt: skip


def _grid(names: Names, n_tiles: int) -> tuple[int]:
    if names.programs * n_tiles > plan.MAX_OFFSET:
        raise ValueError(f"{names.programs} blocks of {n_tiles} tiles; 32 bits do not number them")
    return (names.programs * n_tiles,)


def _options(samples: int, wide: bool) -> dict[str, Any]:
    return {"num_warps": WARPS, **OPTIONS, **limited(plan.max_registers(samples, wide))}


def _wide(inputs: Activations, outputs: Activations, constants: Tensor) -> bool:
    kind = inputs.values.dtype
    if kind not in (torch.float32, torch.float64) or outputs.values.dtype != kind:
        raise ValueError(f"inputs are {kind}, outputs {outputs.values.dtype}")
    if outputs.shared:
        raise ValueError("every draw has outputs of its own")
    _expect("constants", constants, torch.float64, 6, inputs.values.device)
    return kind == torch.float64
