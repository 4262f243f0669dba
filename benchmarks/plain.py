"""Guess and check of Gaussian MLPs as one writes it in PyTorch: draw the matrices, multiply.

For every draw each weight matrix is `torch.randn` times sqrt(2 / fan_in); the training samples go
through; both arrangements of the two outputs are looked at, so that a draw is two candidates here
as it is in the engine. Three ways of it, each at its best batch size, and whichever is fastest is
the one to beat:

- `fresh`: new matrices by `torch.randn(...) * std`; PyTorch's operations share the threads.
- `in-place`: `normal_` into memory that is kept.
- `workers`: the same by one Python thread a core, each with its own generator, since PyTorch draws
  normals in one thread.

Batches larger than one are multiplied by `bmm`; the first layer, whose inputs all draws share, by
one matrix product.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.baseline import Runner, rate

WAYS = ("fresh", "in-place", "workers")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
MAX_BYTES = 2**29  # of the matrices of a batch, over all workers; a larger batch is not tried
N_OUTPUTS = 2


class Plain:
    """Batches of drawn MLPs, tested on a training set.

    Args:
        width, depth: of the hidden layers.
        x: float32 `(samples, ...)`.
        y: int64 `(samples,)`, 0 and 1.
        batch: draws at once.
        fresh: whether every draw has new memory.
        seed: of its generator.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        x: Tensor,
        y: Tensor,
        batch: int,
        *,
        fresh: bool = False,
        seed: int = 0,
    ) -> None:
        self.batch, self.x, self.y = batch, x.flatten(1), y
        sizes = (self.x.shape[1], *[width] * depth, N_OUTPUTS)
        self._shapes = [(batch, units, fan_in) for fan_in, units in pairwise(sizes)]
        self._kept = [] if fresh else [torch.empty(shape) for shape in self._shapes]
        self._generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def run(self) -> int:
        """Draw a batch and test it: how many of its candidates have no training error."""
        h, last = self.x, len(self._shapes) - 1
        for number, (_, units, fan_in) in enumerate(self._shapes):
            weights = self._draw(number)
            if number == 0:
                h = h @ weights.view(-1, fan_in).T
                h = h.view(len(h), self.batch, units).transpose(0, 1)
            else:
                h = torch.bmm(h, weights.transpose(1, 2))
            if number < last:
                h = h.relu_()
        # A tie goes to class 0 in either arrangement.
        more = h[..., 1] - h[..., 0]
        fits = ((more > 0) == self.y).all(1), ((more < 0) == self.y).all(1)
        return int(fits[0].sum() + fits[1].sum())

    def _draw(self, number: int) -> Tensor:
        shape = self._shapes[number]
        std = math.sqrt(2 / shape[2])
        if self._kept:
            return self._kept[number].normal_(0.0, std, generator=self._generator)
        return torch.randn(shape, generator=self._generator) * std


class Team:
    """Runners side by side, one a thread."""

    def __init__(self, members: Sequence[Plain]) -> None:
        self.batch = sum(member.batch for member in members)
        self._members = members
        self._pool = ThreadPoolExecutor(len(members))

    def run(self) -> int:
        """A batch by every one of them: fits of all."""
        return sum(self._pool.map(Plain.run, self._members))


def tune(
    way: str,
    width: int,
    depth: int,
    x: Tensor,
    y: Tensor,
    *,
    threads: int,
    seconds: float,
    batches: Sequence[int] = BATCHES,
) -> tuple[Runner, int]:
    """The runner of a way at its best batch size, and that size.

    Args:
        way: one of `WAYS`.
        width, depth, x, y: see `Plain`.
        threads: CPU threads.
        seconds: to measure each batch size for.
        batches: sizes to try; of those whose matrices take more than `MAX_BYTES`, only the first.
    """
    best, found = 0.0, (_make(way, width, depth, x, y, batches[0], threads), batches[0])
    n_in = math.prod(x.shape[1:])
    weights = width * (n_in + (depth - 1) * width + N_OUTPUTS)
    with torch_threads(way, threads):
        for batch in batches:
            copies = batch * (threads if way == "workers" else 1)
            if batch != batches[0] and 4 * weights * copies > MAX_BYTES:
                break
            runner = _make(way, width, depth, x, y, batch, threads)
            speed = rate(runner, seconds)
            if speed > best:
                best, found = speed, (runner, batch)
    return found


@contextlib.contextmanager
def torch_threads(way: str, threads: int) -> Iterator[None]:
    """PyTorch's own threads for a way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if way == "workers" else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make(
    way: str, width: int, depth: int, x: Tensor, y: Tensor, batch: int, threads: int
) -> Runner:
    if way == "workers":
        return Team([Plain(width, depth, x, y, batch, seed=seed) for seed in range(threads)])
    return Plain(width, depth, x, y, batch, fresh=way == "fresh")
