"""Forward passes of many draws at once, with the bound of `biasgpu.margins` carried along.

Samples are the last axis: activations are `(draws, *features, samples)`, so that every layer with
parameters is one matrix product, a convolution that of its patches. (PyTorch's own convolutions may
transform their operands, and no rounding bound of a plain sum would hold.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from biasgpu.engines.consistency import ALL_TIED, UNSURE
from biasgpu.engines.torch_weights import Drawn
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import Step
from biasgpu.margins import layer_constants, threshold


def certain_tops(
    steps: Sequence[Step], drawn: Sequence[Drawn | None], x: Tensor, eps_w: float
) -> Tensor:
    """The unit that certainly has the largest logit, for each draw and sample.

    Args:
        steps: the architecture, laid out.
        drawn: for each step its parameters, float32, or None.
        x: `(1, *shape, samples)`, in the precision to compute in, float32 or float64.
        eps_w: relative error of the weights.

    Returns:
        int64 `(draws, samples)`: the unit, `UNSURE` or `ALL_TIED`; see `consistency.prefixes`.
    """
    h = x
    error = torch.zeros(1, x.shape[-1], dtype=torch.float64, device=x.device)
    # Where all activations are certainly zero, in the law as here.
    zero = torch.zeros_like(error, dtype=torch.bool)
    for step, pair in zip(steps, drawn, strict=True):
        match step.layer:
            case Dense() | Conv2d():
                assert pair is not None
                weight = pair[0].to(x.dtype)
                bias = None if pair[1] is None else pair[1].to(x.dtype)
                error = _bound(step, weight, bias, h, error, eps_w)
                h = linear(step, weight, bias, h)
                zero = zero.expand_as(error) if bias is None else torch.zeros_like(error).bool()
                error = error.masked_fill(zero, 0.0)
            case ReLU():
                # Below zero by more than the error: the law's outputs are all zero too.
                zero = zero | (_largest(h) <= -error)
                error = error.masked_fill(zero, 0.0)
                h = h.clamp_min(0.0)
            case MaxPool2d(size=size):
                h = max_pool(h, size) if h.ndim == 5 else h
            case Flatten():
                h = h.flatten(1, -2)
            case other:
                raise NotImplementedError(f"the torch engine has no rule for {other}")
    return decide(h, error, zero)


def _largest(h: Tensor) -> Tensor:
    """The maximum over features, float64 `(draws, samples)`."""
    return h.amax(dim=tuple(range(1, h.ndim - 1))).double()


def _bound(
    step: Step, weight: Tensor, bias: Tensor | None, h: Tensor, error: Tensor, eps_w: float
) -> Tensor:
    """The bound of a linear layer's outputs: float64 `(draws, samples)`, infinite if unknown."""
    dtype = "float64" if weight.dtype == torch.float64 else "float32"
    constants = layer_constants(step.fan_in, None, eps_w, dtype)
    sums = torch.linalg.vector_norm(weight, ord=1, dim=2)
    sums = sums if bias is None else sums + bias.abs()
    rho = sums.amax(dim=1, keepdim=True).double().clamp_min(constants.floor_rho)
    floor = constants.floor_hmax if bias is None else 1.0
    hmax = _largest(h.abs()).clamp_min(floor)
    bound = rho * (constants.gain * error + constants.inject * hmax) + constants.tiny
    return bound.masked_fill(~(rho * hmax < constants.limit), float("inf"))


def linear(step: Step, weight: Tensor, bias: Tensor | None, h: Tensor) -> Tensor:
    """A linear layer of each draw, on activations of its own, or on those of all draws.

    Args:
        step: the layer.
        weight: `(draws, units, fan_in)`.
        bias: `(draws, units)`, or None.
        h: `(draws or 1, *in_shape, samples)`, in the weights' precision.

    Returns:
        `(draws, *out_shape, samples)`.
    """
    n, units, _ = weight.shape
    if isinstance(step.layer, Conv2d):
        h = _patches(step.layer, h)
    if h.shape[0] == 1:  # all draws see the same inputs: one large product
        y = (weight.reshape(n * units, -1) @ h[0]).view(n, units, -1)
    else:
        y = torch.bmm(weight, h)
    if bias is not None:
        y = y.add_(bias[:, :, None])
    return y.view(n, *step.out_shape, -1)


def _patches(layer: Conv2d, h: Tensor) -> Tensor:
    """`(draws, channels * kernel**2, height * width * samples)`, rows as in the weight tensor."""
    edge, size = layer.padding, layer.kernel
    if edge:
        h = pad(h, (0, 0, edge, edge, edge, edge))
    windows = h.unfold(2, size, 1).unfold(3, size, 1)  # draws, channels, y, x, samples, dy, dx
    windows = windows.permute(0, 1, 5, 6, 2, 3, 4)
    return windows.reshape(len(h), h.shape[1] * size**2, -1)


def max_pool(h: Tensor, size: int) -> Tensor:
    """The maxima of whole windows of `(draws, channels, height, width, samples)`."""
    height, width = h.shape[2] // size * size, h.shape[3] // size * size
    best: Tensor | None = None
    for row in range(size):
        for column in range(size):
            part = h[:, :, row:height:size, column:width:size]
            best = part if best is None else torch.maximum(best, part)
    assert best is not None
    return best


def decide(logits: Tensor, error: Tensor, zero: Tensor) -> Tensor:
    """What is certain of logits `(draws, outputs, samples)` with their bounds `(draws, samples)`,
    and whether all of them are zero in the law: as `certain_tops`."""
    logits = logits.double()
    n_outputs = logits.shape[1]
    if n_outputs == 1:
        gap, unit = logits[:, 0].abs(), (logits[:, 0] > 0).long()
    else:
        best = logits.topk(2, dim=1)
        gap, unit = best.values[:, 0] - best.values[:, 1], best.indices[:, 0]
    # Not "gap <= ...": what is not a number must count as unsure.
    unit = unit.masked_fill(~(gap > error * threshold(1.0, n_outputs)), UNSURE)
    return unit.masked_fill(zero, ALL_TIED)
