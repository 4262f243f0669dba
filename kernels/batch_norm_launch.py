"""Launching the kernels for networks with batch norms: shapes, types and devices are checked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from biasgpu.kernels import batch_norm_conv as _conv
from biasgpu.kernels import batch_norm_dense as _dense
from biasgpu.kernels import batch_norm_element as _element
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels import batch_norm_settle as _settle
from biasgpu.kernels import batch_norm_weights as _weights
from biasgpu.kernels.direct_launch import Names, Weights
from biasgpu.kernels.direct_plan import BLOCK, MAX_REGISTERS
from biasgpu.kernels.launch import OPTIONS, _expect, _run

Image = tuple[int, int, int]
SETTLE_CONSTANTS = 7
_OPTIONS: dict[str, Any] = {"num_warps": plan.WARPS, **OPTIONS}


@dataclass(frozen=True)
class Numbers:
    """Activations of some draws on all samples: float64 tensors on the device.

    Attributes:
        shape: channels, rows, columns.
        n_samples: samples.
        values: `(draws, n_samples, *shape)`; if `shared` one draw's.
        bound: `(draws, channels, 2)`, error and reach of each channel, behind the following two.
        affine: `(draws, channels, 2)`: what values still are to be multiplied with, and what to
            add; None for nothing.
        rectified: a ReLU is still to follow that.
        shared: the same for all draws.
    """

    shape: Image
    n_samples: int
    values: Tensor
    bound: Tensor
    affine: Tensor | None = None
    rectified: bool = False
    shared: bool = False

    @property
    def size(self) -> int:
        """Numbers of a draw."""
        channels, rows, columns = self.shape
        return self.n_samples * channels * rows * columns

    @property
    def flags(self) -> dict[str, bool]:
        """As kernels take them."""
        return {
            "SHARED": self.shared, "NORMED": self.affine is not None, "RECTIFIED": self.rectified,
        }  # fmt: skip

    def affine_or(self, other: Tensor) -> Tensor:
        """What a kernel is given that needs an address."""
        return other if self.affine is None else self.affine

    def expect(self, n: int) -> None:
        """Check room for so many draws.

        Raises:
            ValueError: there is not, or types differ.
        """
        device, channels = self.values.device, self.shape[0]
        each = 1 if self.shared else n
        _expect("values", self.values, torch.float64, each * self.size, device)
        _expect("bound", self.bound, torch.float64, each * channels * 2, device)
        if self.affine is not None:
            _expect("affine", self.affine, torch.float64, n * channels * 2, device)
        if not 0 < self.size <= plan.MAX_OFFSET:
            raise ValueError(f"{self.size} numbers a draw; none, or more than 32 bits number")


def parameters(
    names: Names, drawn: Weights, constants: Tensor, weights: Tensor, *, columns: int
) -> None:
    """See `batch_norm_weights._parameters_kernel`: fills `weights`."""
    names.check()
    n, device = names.places.numel(), names.name.device
    _expect("weights", weights, torch.float64, n * drawn.n_units * columns, device)
    _expect("constants", constants, torch.float64, 1, device)
    tiles = plan.tiles(drawn.n_units * drawn.blocks_per_unit)
    _run(_weights._parameters_kernel, names.name, _grid(n, tiles))(
        names.name, names.places, names.lanes, weights, constants, drawn.first_block,
        drawn.blocks_per_unit, columns, drawn.n_units, tiles,
        BITS=drawn.bits, NORMAL=drawn.normal, LANES=plan.LANES, **_OPTIONS,
    )  # fmt: skip


def images(
    names: Names, weights: Tensor, source: Numbers, made: Numbers, sums: Tensor | None,
    *, kernel: int, padding: int, biased: bool, pooled: bool,
) -> None:  # fmt: skip
    """See `batch_norm_conv._images_kernel`.

    Args:
        sums: room for the parts of the sums that a batch norm needs, or None.
    """
    names.check()
    n, device = names.places.numel(), names.name.device
    channels, height, width = source.shape
    units, kept_rows, kept_columns = made.shape
    rows, columns = (side + 2 * padding - kernel + 1 for side in (height, width))
    fits = (rows // 2, columns // 2) if pooled else (rows, columns)
    if min(fits) < 1 or fits != (kept_rows, kept_columns) or made.n_samples != source.n_samples:
        raise ValueError(f"{made.shape} is not what a kernel of {kernel} makes of {source.shape}")
    source.expect(n)
    made.expect(n)
    n_weights = units * (channels * kernel**2 + biased)
    _expect("weights", weights, torch.float64, n * n_weights, device)
    tile = plan.tile(units, rows, columns, source.n_samples, pooled)
    n_windows = plan.n_windows(rows, columns, tile.side)
    tiles = plan.tiles(source.n_samples * n_windows, tile.windows)
    if sums is not None:
        _expect("sums", sums, torch.float64, n * tiles * units * 2, device)
    _run(_conv._images_kernel, names.name, _grid(n, tiles * -(-units // tile.units)))(
        names.lanes, weights, source.values, source.affine_or(source.values), made.values,
        made.values if sums is None else sums,
        source.n_samples, channels, units, tiles, height, width, padding, rows, columns, kept_rows,
        kept_columns, -(-columns // tile.side), n_windows, kernel,
        BIASED=biased, POOLED=pooled, SUMMED=sums is not None, KERNEL=kernel, SIDE=tile.side,
        WINDOWS=tile.windows, UNITS=tile.units, LANES=plan.LANES, **source.flags, **_OPTIONS,
        **_registers(source.shared),
    )  # fmt: skip


def settle(
    names: Names, source: Numbers, made: Numbers, constants: Tensor,
    *, weights: Tensor | None, kernel: int, biased: bool, sums: Tensor | None, tiles: int,
    norms: Weights | None, random: bool,
) -> None:  # fmt: skip
    """See `batch_norm_settle._settle_kernel`: fills `made.bound`, and `made.affine`.

    Args:
        weights: the linear layer's, or None where there is none.
        kernel: of a convolution, 0 of a dense layer.
        sums, tiles: what the batch norm is settled by, in so many parts; None where there is none.
        norms: where the batch norm's parameters lie, which are 1 and 0 unless `random`.
    """
    names.check()
    n, device, units = names.places.numel(), names.name.device, made.shape[0]
    channels, rows, columns = source.shape
    taps = kernel**2 or rows * columns
    source.expect(n)
    made.expect(n)
    if weights is not None:
        _expect("weights", weights, torch.float64, n * units * (channels * taps + biased), device)
    elif channels != units:
        raise ValueError(f"{channels} channels become {units}, without weights")
    if (sums is None) != (norms is None) or (sums is None) != (made.affine is None):
        raise ValueError("a batch norm has sums, parameters and numbers that it is applied to")
    if sums is not None:
        _expect("sums", sums, torch.float64, n * tiles * units * 2, device)
    _expect("constants", constants, torch.float64, SETTLE_CONSTANTS, device)
    if n * units > plan.MAX_OFFSET:
        raise ValueError(f"{n} draws of {units} units; 32 bits do not number them")
    own = made.bound
    _run(_settle._settle_kernel, names.name, _grid(1, plan.tiles(n * units)))(
        names.name, names.places, names.lanes, own if weights is None else weights, source.bound,
        own if sums is None else sums, made.affine_or(own), own, constants,
        n, units, channels, 0 if source.shared else 2 * channels, taps, tiles, norms.first_block if norms else 0,
        norms.blocks_per_unit if norms else 1,
        LINEAR=weights is not None, DENSE=not kernel, BIASED=biased, NORMED=sums is not None,
        RANDOM=random and norms is not None, BITS=norms.bits if norms and random else 32,
        LANES=plan.LANES, **_OPTIONS,
    )  # fmt: skip


def elements(
    names: Names, source: Numbers, made: Numbers, constants: Tensor,
    *, fork: Numbers | None, after: bool, size: int, sums: Tensor | None,
) -> None:  # fmt: skip
    """See `batch_norm_element._element_kernel`; `made` is what it is before a batch norm.

    Args:
        fork: what joins, or None.
        after: a ReLU follows that.
        size: of a max-pool, 1 for none.
        sums: room for the parts of the sums that a batch norm needs, or None.
    """
    names.check()
    n, device = names.places.numel(), names.name.device
    channels, height, width = source.shape
    _, rows, columns = made.shape
    if made.shape != (channels, height // size, width // size):
        raise ValueError(f"{made.shape} is not what windows of {size} leave of {source.shape}")
    if fork is not None and (fork.shared or fork.shape != source.shape):
        raise ValueError(f"{fork.shape} cannot join {source.shape}")
    for one in (source, made, fork or source):
        one.expect(n)
        if one.n_samples != source.n_samples:
            raise ValueError(f"{one.n_samples} samples and {source.n_samples}")
    _expect("constants", constants, torch.float64, 1, device)
    tiles = plan.tiles(source.n_samples * rows * columns)
    if sums is not None:
        _expect("sums", sums, torch.float64, n * tiles * channels * 2, device)
    other = fork or made
    _run(_element._element_kernel, names.name, _grid(n, channels * tiles))(
        names.lanes, source.values, source.affine_or(source.values), source.bound, other.values,
        other.affine_or(other.values), other.bound, made.values, made.bound,
        made.values if sums is None else sums, constants,
        source.n_samples, channels, tiles, height, width, rows, columns, size,
        JOINED=fork is not None, FORK_NORMED=fork is not None and fork.affine is not None,
        FORK_RECTIFIED=fork is not None and fork.rectified, AFTER=after,
        SUMMED=sums is not None, LANES=plan.LANES, **source.flags, **_OPTIONS,
    )  # fmt: skip


def features(
    names: Names, weights: Tensor, source: Numbers, made: Numbers,
    *, biased: bool, logits: tuple[Tensor, Tensor] | None, padded: int,
) -> None:  # fmt: skip
    """See `batch_norm_dense._features_kernel`: fills `made.values`; `made.bound` is there before.

    Args:
        logits: of the last layer, where values and errors go to instead.
        padded: samples that there is room for in `logits`.
    """
    names.check()
    n, device = names.places.numel(), names.name.device
    units, inputs = made.shape[0], source.shape[0] * source.shape[1] * source.shape[2]
    if made.shape[1:] != (1, 1) or made.n_samples != source.n_samples:
        raise ValueError(f"{made.shape} of {made.n_samples} samples is not made by a dense layer")
    source.expect(n)
    made.expect(n)
    _expect("weights", weights, torch.float64, n * units * (inputs + biased), device)
    for one in logits or ():
        _expect("logits", one, torch.float64, names.programs * BLOCK * padded * units, device)
    if logits and padded < source.n_samples:
        raise ValueError(f"{source.n_samples} samples; there is room for {padded}")
    values, errors = logits or (made.values, made.values)
    tiles = plan.tiles(source.n_samples * units)
    _run(_dense._features_kernel, names.name, _grid(n, tiles))(
        names.lanes, weights, source.values, source.affine_or(source.values), made.bound, values,
        errors, source.n_samples, source.shape[0], inputs // source.shape[0], units, tiles, padded,
        BLOCK,
        BIASED=biased, LAST=logits is not None, LANES=plan.LANES, **source.flags, **_OPTIONS,
    )  # fmt: skip


def _registers(shared: bool) -> dict[str, int]:
    """Left to itself the compiler would spill a few, for one warp more at a time."""
    # Other makers' compilers know no such option.
    return {"maxnreg": MAX_REGISTERS} if shared and not torch.version.hip else {}


def _grid(n: int, each: int) -> tuple[int]:
    if not 0 < n * each <= plan.MAX_OFFSET:
        raise ValueError(f"{n} draws of {each} programs; none, or more than 32 bits number")
    return (n * each,)
