"""Weights on a torch device, from names: Philox in int64 arithmetic, then the prior's transform.

Every operation is exact or a single IEEE rounding, so the weights are the canonical ones, to the
bit, wherever the device rounds as IEEE asks and fuses nothing. A GPU might fuse the normal prior's
float64 products and sums; its weights may then be the float32 next to the canonical one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from biasgpu import normal as law
from biasgpu.ensemble import Ensemble
from biasgpu.layout import Step
from biasgpu.priors import NormalPrior, UniformPrior
from biasgpu.rng import (
    MULTIPLIER_0,
    MULTIPLIER_1,
    ROUNDS,
    STREAM_WEIGHTS,
    WEYL_0,
    WEYL_1,
    words_of,
)

Drawn = tuple[Tensor, Tensor | None]  # weight (n, units, fan_in), bias (n, units); float32

_LOW = 0xFFFFFFFF
_CHUNK_BLOCKS = {"cpu": 2**15, "cuda": 2**22}  # blocks at once: temporaries that fit the caches


def philox(
    seed: int, low: Tensor, high: Tensor, blocks: Tensor, stream: int = STREAM_WEIGHTS
) -> Tensor:
    """The words of some blocks of some draws.

    Args:
        seed: the 64-bit seed.
        low, high: int64 `(n,)`, the halves of the draw numbers.
        blocks: int64 `(m,)`, block numbers.
        stream: what the words are for.

    Returns:
        int64 `(n, m, 4)`, words in 0 .. 2**32 - 1.
    """
    # Upper halves of these numbers may hold anything; products are taken of lower halves alone, and
    # wrap around in 64 bits.
    c0, c1 = blocks[None, :], torch.full_like(blocks[:1, None], stream)
    c2, c3 = low[:, None], high[:, None]
    k0, k1 = seed & _LOW, seed >> 32
    for _ in range(ROUNDS):
        product_0 = (c0 & _LOW).mul_(MULTIPLIER_0)
        product_1 = (c2 & _LOW).mul_(MULTIPLIER_1)
        c0 = (product_1 >> 32).bitwise_xor_(torch.tensor(k0)) ^ c1
        c2 = (product_0 >> 32).bitwise_xor_(torch.tensor(k1)) ^ c3
        c1, c3 = product_1, product_0
        k0, k1 = (k0 + WEYL_0) & _LOW, (k1 + WEYL_1) & _LOW
    return torch.stack((c0, c1, c2, c3), dim=-1).bitwise_and_(_LOW)


def odd_integers(words: Tensor, bits: int) -> Tensor:
    """`priors.odd_integers` for int64 words `(..., n)`: int64 `(..., n * 32 // bits)`."""
    if bits == 32:
        return (words.bitwise_xor(2**31).sub_(2**31) >> 7).bitwise_or_(1)
    shifts = torch.arange(0, 32, bits, device=words.device)
    fields = (words[..., None] >> shifts).bitwise_and_(2**bits - 1)
    signed = fields.bitwise_xor_(2 ** (bits - 1)).sub_(2 ** (bits - 1))
    return signed.mul_(2).add_(1).flatten(-2)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value.mul_(x).add_(coefficient)
    return value


def _log(x: Tensor) -> Tensor:
    mantissa, exponent = torch.frexp(x)
    below = mantissa < law.SQRT_HALF
    mantissa = torch.where(below, mantissa + mantissa, mantissa)
    power = (exponent - below.to(exponent.dtype)).double()
    s = (mantissa - 1.0) / (mantissa + 1.0)
    series = s * _polynomial(law.LOG_TERMS, s * s)
    return (power * law.LN2_LOW + series) + power * law.LN2_HIGH


def normal(words: Tensor) -> Tensor:
    """`biasgpu.normal.normal` for int64 words: float64, the same shape."""
    magnitude = (words & 0x7FFFFFFF).double()
    tail = (magnitude + magnitude + 1.0) * 2.0**-33
    q = 0.5 - tail
    r = law.CENTRE_SQUARE - q * q
    value = q * _polynomial(law.CENTRE_NUMERATOR, r) / _polynomial(law.CENTRE_DENOMINATOR, r)
    outside = q > law.CENTRE_LIMIT
    value[outside] = _outer(tail[outside])
    return torch.where(words >= 2**31, -value, value)


def _sqrt(x: Tensor) -> Tensor:
    # On the CPU, PyTorch's square root of float64 may be off in the last bit; NumPy's is not.
    return x.sqrt() if x.is_cuda else torch.from_numpy(np.sqrt(x.numpy()))


def _outer(tail: Tensor) -> Tensor:
    x = _sqrt(-_log(tail)) - law.TAIL_SHIFT
    return _polynomial(law.TAIL_NUMERATOR, x) / _polynomial(law.TAIL_DENOMINATOR, x)


def _transform(ensemble: Ensemble, words: Tensor, fan_in: int) -> Tensor:
    """Words `(..., n)` to canonical weights `(..., n * 32 // bits)`."""
    prior = ensemble.prior
    # Exactly these: a subclass may draw otherwise.
    if type(prior) is UniformPrior:
        return odd_integers(words, prior.bits).float().mul_(float(prior.step(fan_in)))
    if type(prior) is NormalPrior:
        return normal(words).mul_(float(prior.scale(fan_in))).float()
    weights = prior.weights(words.cpu().numpy().astype(np.uint32), fan_in)
    return torch.from_numpy(np.ascontiguousarray(weights)).to(words.device)


def draw_parameters(ensemble: Ensemble, step: Step, low: Tensor, high: Tensor) -> Drawn:
    """The parameters of one layer of some draws.

    Args:
        ensemble: which networks.
        step: a layer with parameters.
        low, high: int64 `(n,)`, the halves of the draw numbers, on the device.

    Returns:
        Weight, float32 `(n, units, fan_in)`, and drawn bias, float32 `(n, units)`, or None; of a
        batch norm both, `(n, channels)`.
    """
    layer = step.linear
    if layer is None:
        return _normalizer(ensemble, step, low, high)
    n, device = len(low), low.device
    result = torch.empty((n, layer.units, step.columns), dtype=torch.float32, device=device)
    chunk = _CHUNK_BLOCKS[device.type]
    units = max(1, min(layer.units, chunk // step.blocks_per_unit))
    draws = max(1, chunk // (units * step.blocks_per_unit))
    for unit in range(0, layer.units, units):
        stop = min(unit + units, layer.units)
        first, last = (step.first_block + u * step.blocks_per_unit for u in (unit, stop))
        blocks = torch.arange(first, last, device=device)
        for i in range(0, n, draws):
            words = philox(ensemble.seed, low[i : i + draws], high[i : i + draws], blocks)
            words = words.view(len(words), stop - unit, -1)
            weights = _transform(ensemble, words, step.fan_in)
            result[i : i + draws, unit:stop] = weights[..., : step.columns]
    if step.columns > step.fan_in:
        return result[..., : step.fan_in].contiguous(), result[..., step.fan_in].contiguous()
    return result, None


def _normalizer(ensemble: Ensemble, step: Step, low: Tensor, high: Tensor) -> Drawn:
    """A batch norm's weights and biases: so few that NumPy's law of them serves every device."""
    draws = (high << 32 | low).cpu().numpy().view(np.uint64)
    blocks = step.first_block + np.arange(step.units * step.blocks_per_unit)
    words = words_of(ensemble.seed, draws, blocks).reshape(len(draws), step.units, -1)
    weight, bias = ensemble.prior.normalizer(words)
    return torch.from_numpy(weight).to(low.device), torch.from_numpy(bias).to(low.device)
