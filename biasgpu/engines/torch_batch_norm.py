"""Forward passes of networks with batch norms or residual blocks, bounded channel by channel.

Where there are batch norms, all training samples go through at once: they are what statistics are
made of. All is float64. The bound of the distance to the law's numbers is one number e_c for each
channel c, the Euclidean norm over samples and positions of the difference between the engine's x_c
and the law's X_c (flat inputs are channels of one position; flattening leaves the channels as
groups of features). Largest differences would not do: they grow by a layer's fan-in where these
grow by its root. With u = 2^-53, gamma_m = m u / (1 - m u), and r_c = |x_c| + e_c, which bounds
both norms:

- Convolution, w_kc the kernel from channel c to k: |w_kc * d| <= |w_kc|_1 |d| (Young's inequality;
  padding adds zeros, edges only leave positions out). Each term passes at most fan-in + 1 roundings
  in both sums, so e'_k = sum_c |w_kc|_1 (e_c + 2 gamma r_c) + 2 gamma sqrt(n') |b_k| with gamma of
  fan-in + 2 and n' numbers in a channel of the output. A dense layer: the same with |w_kc|_2, by
  Cauchy's inequality in each sample.
- Batch norm of n numbers: centring is a projection, and v -> v / sqrt(|v|^2 / n + epsilon) has a
  derivative with eigenvalues between 0 and 1/s, s the root. On the way from the engine's to the
  law's numbers s is at least s_c = sqrt(max(0, sigma - e_c / sqrt(n))^2 + epsilon), sigma the
  engine's standard deviation. So exact batch norms of both differ by at most |weight| e_c / s_c.
- What rounding makes of an exact batch norm, there and here, with R = r_c / sqrt(n) and gamma of
  d + 8, d the roundings a term of the sums passes at most (rows are added first, then the rows'
  sums; here samples, columns, rows): the mean is off by gamma R, the variance by 4 gamma R^2 (sum
  of squares, square of the mean, difference), so the factor a by the ratio t = 4 gamma R^2 / s_c^2,
  if that is at most 1/2, and 10 u of root and quotient; x a + b by the roundings of its terms. In
  all at most sqrt(n) (4 gamma (|weight| R / s_c + |bias|) + |weight| (t + 10 u)), once for each.
- All channels together: t, the norm over channels as well. It is at most that of the e_c, but with
  W the matrix (units, fan-in) of a convolution of k x k, whose windows hold a number k^2 times at
  most, also t' <= k |W|_2 t + |roundings|, and behind a batch norm t' <= k |D W|_2 t + ..., with D
  the diagonal of |weight| / s_c: spectral norms of random matrices are far below the sums of their
  elements. In turn e'_k <= min(t', k |w_k|_2 t + rounding). The norm of A is at most the eighth
  root of the Frobenius norm of (A A^T)^4.
- Rectifiers and maxima of windows apart from each other are 1-Lipschitz in this norm; a join adds
  bounds, and two roundings; a constant factor multiplies, and two roundings.

The bounds' own roundings are paid for by `SLACK`, which is millions of times as large, underflow by
`TINY`; where numbers might overflow, or t is above 1/2, the bound is infinite: nothing is certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from biasgpu.engines.torch_forward import decide, linear, max_pool
from biasgpu.engines.torch_weights import Drawn
from biasgpu.layers import BatchNorm2d, Conv2d, Dense, Flatten, Fork, Join, MaxPool2d, ReLU, Scale
from biasgpu.layout import Step
from biasgpu.margins import LIMIT, UNIT_ROUNDOFF, gamma
from biasgpu.reference import EPSILON

ROUNDOFF = UNIT_ROUNDOFF["float64"]
SLACK = 2.0**-20
TINY = 1e-290
MOST_ROWS = 256  # of matrices whose spectral norm is worth its products


@dataclass(frozen=True)
class Bounded:
    """Numbers of many draws, and how far the law's may be from them.

    Attributes:
        h: float64 `(draws or 1, *features, samples)`.
        error: float64 `(draws or 1, groups)`: the norm over a group of features and all samples.
        total: float64 `(draws or 1, 1)`: the norm over everything.
        source: right behind a linear layer its matrix, the norm of what it made of errors is at
            most that of the matrix times this, and each unit's rounding.
    """

    h: Tensor
    error: Tensor
    total: Tensor
    source: tuple[Tensor, Tensor, Tensor] | None = None


KNOWN_HERE = (BatchNorm2d, Fork, Join, Scale)  # layers that `torch_forward` has no rule for


def takes(steps: Sequence[Step]) -> bool:
    """Whether a network has layers for which it is here."""
    return any(isinstance(step.layer, KNOWN_HERE) for step in steps)


def certain_tops(steps: Sequence[Step], drawn: Sequence[Drawn | None], x: Tensor) -> Tensor:
    """The unit that certainly has the largest logit, for each draw and sample.

    Args:
        steps: the architecture, laid out.
        drawn: for each step its parameters, float32, the canonical ones, or None; of a batch norm
            weight and bias `(draws, channels)`.
        x: float64 `(1, *shape, samples)`; where there are batch norms, the whole training set.

    Returns:
        int64 `(draws, samples)`: the unit, or `consistency.UNSURE`.
    """
    logits = bounded_logits(steps, drawn, x)
    largest = logits.error.amax(dim=1, keepdim=True).expand(len(logits.h), x.shape[-1])
    return decide(logits.h, largest, torch.zeros_like(largest, dtype=torch.bool))


def bounded_logits(steps: Sequence[Step], drawn: Sequence[Drawn | None], x: Tensor) -> Bounded:
    """Logits of each draw, with their bounds.

    Args:
        steps, drawn, x: as for `certain_tops`.

    Returns:
        logits `(draws, outputs, samples)`; a bound for each output.
    """
    zeros = torch.zeros((1, x.shape[1]), dtype=x.dtype, device=x.device)
    state, forks = Bounded(x, zeros, zeros[:, :1]), list[Bounded]()
    for step, pair in zip(steps, drawn, strict=True):
        match step.layer:
            case Dense() | Conv2d():
                assert pair is not None
                weight, bias = pair[0].double(), None if pair[1] is None else pair[1].double()
                state = _linear(step, weight, bias, state)
            case BatchNorm2d():
                assert pair is not None and pair[1] is not None
                state = _batch_norm(state, pair[0].double(), pair[1].double())
            case ReLU():
                state = replace(state, h=state.h.clamp_min(0.0), source=None)
            case MaxPool2d(size=size):
                h = max_pool(state.h, size) if state.h.ndim == 5 else state.h
                state = replace(state, h=h, source=None)
            case Flatten():
                state = replace(state, h=state.h.flatten(1, -2), source=None)
            case Scale(factor=factor):
                sizes = abs(factor) * _reach(state)
                error = abs(factor) * state.error + 2 * ROUNDOFF * sizes
                total = abs(factor) * state.total + 2 * ROUNDOFF * _norm(sizes)
                state = _sure(state.h * float(factor), error, total, sizes)
            case Fork():
                forks.append(state)
            case Join():
                state = _join(state, forks.pop())
            case other:
                raise NotImplementedError(f"the torch engine has no rule for {other}")
    return state


def _norm(parts: Tensor) -> Tensor:
    return torch.linalg.vector_norm(parts, dim=1, keepdim=True)


def _reach(state: Bounded) -> Tensor:
    """A bound of the Euclidean norms of each group, here and in the law: `(draws, groups)`."""
    grouped = state.h.reshape(len(state.h), state.error.shape[1], -1)
    return torch.linalg.vector_norm(grouped, dim=2) * (1 + SLACK) + state.error


def _sure(
    h: Tensor,
    error: Tensor,
    total: Tensor,
    sizes: Tensor,
    source: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Bounded:
    """Numbers with the smaller of their bounds; infinite where one might overflow (or is none)."""
    error = error * (1 + SLACK) + TINY
    error = error.masked_fill(~(sizes < LIMIT["float64"]), math.inf)
    total = total * (1 + SLACK) + TINY * error.shape[1]
    total = total.masked_fill(error.isinf().any(dim=1, keepdim=True), math.inf)
    total = torch.minimum(total, _norm(error) * (1 + SLACK))
    return Bounded(h, torch.minimum(error, total), total, source)


def _spectral(matrix: Tensor) -> Tensor:
    """A bound of the spectral norms of matrices `(draws, rows, columns)`: `(draws, 1)`."""
    largest = matrix.abs().amax(dim=(1, 2), keepdim=True).clamp_min(TINY)
    matrix = matrix / largest
    rows, columns = matrix.shape[1:]
    if min(rows, columns) > MOST_ROWS:
        norm = torch.linalg.vector_norm(matrix, dim=(1, 2))
    else:
        power = matrix @ matrix.mT if rows <= columns else matrix.mT @ matrix
        for _ in range(2):
            power = power @ power
        norm = torch.linalg.vector_norm(power, dim=(1, 2)) ** 0.125
    return (norm * largest[:, 0, 0] * (1 + SLACK))[:, None]


def _linear(step: Step, weight: Tensor, bias: Tensor | None, state: Bounded) -> Bounded:
    image = isinstance(step.layer, Conv2d)
    grouped = weight.reshape(*weight.shape[:2], state.error.shape[1], -1)
    gains = torch.linalg.vector_norm(grouped, ord=1 if image else 2, dim=3)  # draws, units, groups
    sizes = (gains * _reach(state)[:, None]).sum(dim=2)
    if bias is not None:
        positions = math.prod(step.out_shape[1:]) * state.h.shape[-1]
        sizes = sizes + math.sqrt(positions) * bias.abs()
    rounding = 2 * gamma(step.fan_in + 2, ROUNDOFF) * sizes
    before = state.total * (step.layer.kernel if isinstance(step.layer, Conv2d) else 1)
    by_group = (gains * state.error[:, None]).sum(dim=2)
    by_all = torch.linalg.vector_norm(weight, dim=2) * before
    error = torch.minimum(by_group, by_all) + rounding
    total = _spectral(weight) * before + _norm(rounding)
    h = linear(step, weight, bias, state.h)
    return _sure(h, error, total, sizes, (weight, before, rounding))


def _batch_norm(state: Bounded, weight: Tensor, bias: Tensor) -> Bounded:
    h, error = state.h, state.error
    rows, columns, samples = h.shape[2:]
    n = rows * columns * samples
    mean = _sum(h) / n
    square = _sum(h * h) / n
    variance = (square - mean * mean).clamp_min(0.0)
    factor = weight / (variance + EPSILON).sqrt()
    shift = bias - mean * factor
    y = h * factor[:, :, None, None, None] + shift[:, :, None, None, None]

    root = math.sqrt(n)
    rounding = gamma(max(rows + columns + samples, columns + samples * rows) + 8, ROUNDOFF)
    off = error * ((1 + SLACK) / root)
    high = square.sqrt() * (1 + SLACK) + off  # root mean square
    spread = (variance - 4 * rounding * (1 + SLACK) * square).clamp_min(0.0).sqrt()
    spread = (spread * (1 - SLACK) - off).clamp_min(0.0)
    least = (spread * spread + EPSILON).sqrt() * (1 - SLACK)
    ratio = 4 * rounding * (high / least).square() * (1 + SLACK)
    gain, added = weight.abs() / least, bias.abs()
    own = 2 * root * (4 * rounding * (gain * high + added) + weight.abs() * (ratio + 10 * ROUNDOFF))
    own = own.masked_fill(~(ratio <= 0.5), math.inf)
    total = gain.amax(dim=1, keepdim=True) * state.total
    if state.source is not None:
        matrix, before, rounded = state.source
        scaled = _spectral(matrix * gain[:, :, None]) * before + _norm(gain * rounded)
        total = torch.minimum(total, scaled * (1 + SLACK))
    sizes = n * high * high * (1 + gain)
    return _sure(y, gain * error + own, total + _norm(own), sizes)


def _sum(h: Tensor) -> Tensor:
    """Over samples, columns, rows, one after the other: few roundings in whatever order."""
    return h.sum(dim=-1).sum(dim=-1).sum(dim=-1)


def _join(one: Bounded, other: Bounded) -> Bounded:
    if one.error.shape[1] != other.error.shape[1]:  # flat, in groups of other sizes
        one, other = _by_feature(one), _by_feature(other)
    sizes = _reach(one) + _reach(other)
    total = one.total + other.total + 2 * ROUNDOFF * _norm(sizes)
    error = one.error + other.error + 2 * ROUNDOFF * sizes
    return _sure(one.h + other.h, error, total, sizes)


def _by_feature(state: Bounded) -> Bounded:
    each = state.h.shape[1] // state.error.shape[1]
    return replace(state, error=state.error.repeat_interleave(each, dim=1))
