"""Launching the kernels for networks with batch norms: shapes and types are checked here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biasgpu.kernels import batch_norm_conv as _conv
from biasgpu.kernels import batch_norm_dense as _dense
from biasgpu.kernels import batch_norm_element as _element
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels import batch_norm_settle as _settle
from biasgpu.kernels import batch_norm_total as _total
from biasgpu.kernels import batch_norm_weights as _weights
from biasgpu.kernels.batch_norm_numbers import Numbers
from biasgpu.kernels.direct_launch import Names, Weights
from biasgpu.kernels.direct_plan import BLOCK, MAX_REGISTERS
from biasgpu.kernels.launch import OPTIONS, _expect, _run

N_CONSTANTS = 8
_OPTIONS: dict[str, Any] = {"num_warps": plan.WARPS, **OPTIONS}
# Where batch norms' weights are drawn, 1 + k s fused would be rounded once: other weights than the
# law's. (Compilers see through float64 in between.)
_UNFUSED: dict[str, Any] = {**_OPTIONS, "enable_fp_fusion": False}


def parameters(
    names: Names, drawn: Weights, constants: Tensor, weights: Tensor, turned: Tensor,
    *, columns: int,
) -> None:  # fmt: skip
    """See `batch_norm_weights._parameters_kernel`: fills `weights` and `turned`."""
    names.check()
    n, device = names.places.numel(), names.name.device
    for one in (weights, turned):
        _expect("weights", one, torch.float64, n * drawn.n_units * columns, device)
    _expect("constants", constants, torch.float64, 1, device)
    tiles = plan.tiles(drawn.n_units * drawn.blocks_per_unit)
    _run(_weights._parameters_kernel, names.name, _grid(n, tiles))(
        names.name, names.places, names.lanes, weights, turned, constants, drawn.first_block,
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
    tile = plan.tile(units, rows, columns, source.n_samples, pooled)
    _expect("weights", weights, torch.float64, n * n_weights, device)
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
        **_registers(source.shared or tile.units < 4),
    )  # fmt: skip


def settle(
    names: Names, source: Numbers, made: Numbers, units: Tensor, constants: Tensor,
    *, turned: Tensor | None, kernel: int, biased: bool, sums: Tensor | None, tiles: int,
    norms: Weights | None, random: bool,
) -> None:  # fmt: skip
    """See `batch_norm_settle._settle_kernel`: fills `made.reach`, `made.affine` and `units`.

    Args:
        units: float64, room for 4 numbers a unit.
        turned: the linear layer's weights, or None where there is none.
        kernel: of a convolution, 0 of a dense layer.
        sums, tiles: what the batch norm is settled by, in so many parts; None where there is none.
        norms: where the batch norm's parameters lie, which are 1 and 0 unless `random`.
    """
    names.check()
    n, device, n_units = names.places.numel(), names.name.device, made.shape[0]
    channels, rows, columns = source.shape
    taps = kernel**2 or rows * columns
    source.expect(n)
    made.expect(n)
    if turned is not None:
        _expect("weights", turned, torch.float64, n * n_units * (channels * taps + biased), device)
    elif channels != n_units:
        raise ValueError(f"{channels} channels become {n_units}, without weights")
    if (sums is None) != (norms is None) or (sums is None) != (made.affine is None):
        raise ValueError("a batch norm has sums, parameters and numbers that it is applied to")
    if sums is not None:
        _expect("sums", sums, torch.float64, n * tiles * n_units * 2, device)
    _expect("units", units, torch.float64, 4 * n * n_units, device)
    _expect("constants", constants, torch.float64, N_CONSTANTS, device)
    if n * n_units > plan.MAX_OFFSET:
        raise ValueError(f"{n} draws of {n_units} units; 32 bits do not number them")
    own = made.reach
    _run(_settle._settle_kernel, names.name, _grid(1, plan.tiles(n * n_units)))(
        names.name, names.places, names.lanes, own if turned is None else turned, source.reach,
        source.total, own if sums is None else sums, made.affine_or(own), own, units, constants,
        n, n_units, channels, *source.strides, taps, tiles, norms.first_block if norms else 0,
        norms.blocks_per_unit if norms else 1,
        LINEAR=turned is not None, DENSE=not kernel, BIASED=biased, NORMED=sums is not None,
        RANDOM=random and norms is not None, BITS=norms.bits if norms and random else 32,
        LANES=plan.LANES, **_UNFUSED,
    )  # fmt: skip


def totals(
    names: Names, source: Numbers, made: Numbers, units: Tensor, constants: Tensor,
    *, turned: Tensor | None, columns: int, products: Tensor, powers: Tensor,
) -> None:  # fmt: skip
    """See `batch_norm_total._total_kernel`: fills `made.total`, from what `settle` left.

    Args:
        units, constants, turned: as `settle` has them.
        columns: parameters of a unit, its bias included.
        products, powers: float64, room for what `_products_kernel` makes.
    """
    n, device, n_units = names.places.numel(), names.name.device, made.shape[0]
    _expect("units", units, torch.float64, 4 * n * n_units, device)
    _expect("constants", constants, torch.float64, N_CONSTANTS, device)
    _expect("total", made.total, torch.float64, n, device)
    tiles = plan.product_tiles(n_units) if turned is not None and not source.shared else 0
    if tiles:
        assert turned is not None
        _expect("weights", turned, torch.float64, n * n_units * columns, device)
        _expect("products", products, torch.float64, n * n_units**2, device)
        _expect("powers", powers, torch.float64, n * tiles, device)
        for matrix, to, terms in ((turned, products, columns), (products, powers, n_units)):
            _run(_total._products_kernel, names.name, _grid(n, tiles))(
                names.lanes, matrix, units, to, n_units, terms, tiles,
                SQUARED=to is powers, LANES=plan.LANES, **_OPTIONS,
            )  # fmt: skip
    _run(_total._total_kernel, names.name, _grid(n, 1))(
        names.lanes, units, powers, source.total, made.total, constants, n_units,
        source.strides[1], tiles,
        LINEAR=turned is not None, LANES=plan.LANES, **_OPTIONS,
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
    tiles = plan.tiles(source.n_samples * rows * columns, plan.NUMBERS)
    if sums is not None:
        _expect("sums", sums, torch.float64, n * tiles * channels * 2, device)
    other = fork or made
    _run(_element._element_kernel, names.name, _grid(n, channels * tiles))(
        names.lanes, source.values, source.affine_or(source.values), source.reach, source.total,
        other.values, other.affine_or(other.values), other.reach, other.total, made.values,
        made.reach, made.total, made.values if sums is None else sums, constants,
        source.n_samples, channels, tiles, height, width, rows, columns, size,
        JOINED=fork is not None, FORK_NORMED=fork is not None and fork.affine is not None,
        FORK_RECTIFIED=fork is not None and fork.rectified, AFTER=after,
        POOLED=size > 1, SUMMED=sums is not None, NUMBERS=plan.NUMBERS, LANES=plan.LANES,
        **source.flags, **_OPTIONS, **_registers(True),
    )  # fmt: skip


def features(
    names: Names, weights: Tensor, source: Numbers, made: Numbers, units: Tensor,
    *, biased: bool, logits: tuple[Tensor, Tensor] | None, padded: int,
) -> None:  # fmt: skip
    """See `batch_norm_dense._features_kernel`: fills `made.values`.

    Args:
        units: what `settle` left.
        logits: of the last layer, where values and errors go to instead.
        padded: samples that there is room for in `logits`.
    """
    names.check()
    n, device = names.places.numel(), names.name.device
    n_units, inputs = made.shape[0], source.shape[0] * source.shape[1] * source.shape[2]
    if made.shape[1:] != (1, 1) or made.n_samples != source.n_samples:
        raise ValueError(f"{made.shape} of {made.n_samples} samples is not made by a dense layer")
    source.expect(n)
    made.expect(n)
    _expect("weights", weights, torch.float64, n * n_units * (inputs + biased), device)
    _expect("units", units, torch.float64, 4 * n * n_units, device)
    for one in logits or ():
        _expect("logits", one, torch.float64, names.programs * BLOCK * padded * n_units, device)
    if logits and padded < source.n_samples:
        raise ValueError(f"{source.n_samples} samples; there is room for {padded}")
    values, errors = logits or (made.values, made.values)
    tiles = plan.tiles(source.n_samples * n_units)
    _run(_dense._features_kernel, names.name, _grid(n, tiles))(
        names.lanes, weights, source.values, source.affine_or(source.values), units, values,
        errors, source.n_samples, source.shape[0], inputs // source.shape[0], n_units, tiles,
        padded, BLOCK,
        BIASED=biased, LAST=logits is not None, LANES=plan.LANES, **source.flags, **_OPTIONS,
    )  # fmt: skip


def _registers(all_of_them: bool) -> dict[str, int]:
    """Left to itself the compiler would spill a few, for one warp more at a time."""
    # Other makers' compilers know no such option.
    return {"maxnreg": MAX_REGISTERS} if all_of_them and not torch.version.hip else {}


def _grid(n: int, each: int) -> tuple[int]:
    if not 0 < n * each <= plan.MAX_OFFSET:
        raise ValueError(f"{n} draws of {each} programs; none, or more than 32 bits number")
    return (n * each,)
