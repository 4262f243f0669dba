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
- Rectifiers and maxima of windows apart from each other are 1-Lipschitz in this norm; a join adds
  bounds, and two roundings; a constant factor multiplies, and two roundings.

The bounds' own roundings are paid for by `SLACK`, which is millions of times as large, underflow by
`TINY`; where numbers might overflow, or t is above 1/2, the bound is infinite: nothing is certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
Bounded = tuple[Tensor, Tensor]  # numbers (draws, *features, samples); bounds (draws, groups)


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
    h, error = x, torch.zeros((1, x.shape[1]), dtype=x.dtype, device=x.device)
    forks: list[Bounded] = []
    for step, pair in zip(steps, drawn, strict=True):
        match step.layer:
            case Dense() | Conv2d():
                assert pair is not None
                weight, bias = pair[0].double(), None if pair[1] is None else pair[1].double()
                error = _linear_bound(step, weight, bias, h, error)
                h = linear(step, weight, bias, h)
            case BatchNorm2d():
                assert pair is not None and pair[1] is not None
                h, error = _batch_norm(h, error, pair[0].double(), pair[1].double())
            case ReLU():
                h = h.clamp_min(0.0)
            case MaxPool2d(size=size):
                h = max_pool(h, size) if h.ndim == 5 else h
            case Flatten():
                h = h.flatten(1, -2)
            case Scale(factor=factor):
                sizes = abs(factor) * _reach(h, error)
                error = _sure(abs(factor) * error + 2 * ROUNDOFF * sizes, sizes)
                h = h * float(factor)
            case Fork():
                forks.append((h, error))
            case Join():
                h, error = _join((h, error), forks.pop())
            case other:
                raise NotImplementedError(f"the torch engine has no rule for {other}")
    largest = error.amax(dim=1, keepdim=True).expand(len(h), h.shape[-1])
    return decide(h, largest, torch.zeros_like(largest, dtype=torch.bool))


def _reach(h: Tensor, error: Tensor) -> Tensor:
    """A bound of the Euclidean norms of each channel, here and in the law: `(draws, groups)`."""
    grouped = h.reshape(len(h), error.shape[1], -1)
    return torch.linalg.vector_norm(grouped, dim=2) * (1 + SLACK) + error


def _sure(error: Tensor, sizes: Tensor) -> Tensor:
    """Bounds, infinite where a number might overflow (or is none)."""
    error = error * (1 + SLACK) + TINY
    return error.masked_fill(~(sizes < LIMIT["float64"]), math.inf)


def _linear_bound(
    step: Step, weight: Tensor, bias: Tensor | None, h: Tensor, error: Tensor
) -> Tensor:
    order = 1 if isinstance(step.layer, Conv2d) else 2
    grouped = weight.reshape(*weight.shape[:2], error.shape[1], -1)
    gains = torch.linalg.vector_norm(grouped, ord=order, dim=3)  # draws, units, groups
    reach = _reach(h, error)
    rounding = 2 * gamma(step.fan_in + 2, ROUNDOFF)
    bound = (gains * (error + rounding * reach)[:, None]).sum(dim=2)
    sizes = (gains * reach[:, None]).sum(dim=2)
    if bias is not None:
        added = math.sqrt(math.prod(step.out_shape[1:]) * h.shape[-1]) * bias.abs()
        bound, sizes = bound + rounding * added, sizes + added
    return _sure(bound, sizes)


def _batch_norm(h: Tensor, error: Tensor, weight: Tensor, bias: Tensor) -> Bounded:
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
    size, added = weight.abs(), bias.abs()
    own = 4 * rounding * (size * high / least + added) + size * (ratio + 10 * ROUNDOFF)
    bound = _sure(size * error / least + 2 * root * own, n * high * high * (1 + size / least))
    return y, bound.masked_fill(~(ratio <= 0.5), math.inf)


def _sum(h: Tensor) -> Tensor:
    """Over samples, columns, rows, one after the other: few roundings in whatever order."""
    return h.sum(dim=-1).sum(dim=-1).sum(dim=-1)


def _join(one: Bounded, other: Bounded) -> Bounded:
    (h, error), (x, before) = one, other
    if error.shape[1] != before.shape[1]:  # flat, in groups of other sizes: feature by feature
        error, before = _by_feature(h, error), _by_feature(x, before)
    sizes = _reach(h, error) + _reach(x, before)
    return h + x, _sure(error + before + 2 * ROUNDOFF * sizes, sizes)


def _by_feature(h: Tensor, error: Tensor) -> Tensor:
    return error.repeat_interleave(h.shape[1] // error.shape[1], dim=1)
