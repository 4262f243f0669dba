"""Guess and check as one writes it with `torch.func`: one network's forward pass, over a batch.

`torch.func.vmap` turns the function of one network's weights into that of many networks', and
`torch.compile` fuses what it can. Weights are filled by `uniform_(-1, 1)`, as in `baseline.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d, relu

from biasgpu.architectures.base import Architecture
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.layout import lay_out

Weights = Sequence[Tensor]


class Vmapped:
    """Batches of fresh networks, tested on a training set.

    Args:
        architecture: dense and convolutional layers, pools and rectifiers.
        x: float32 `(samples, *shape)`.
        y: int64 `(samples,)`.
        batch: networks at once.
        device: where.
        backend: of `torch.compile`.
    """

    def __init__(
        self,
        architecture: Architecture,
        x: Tensor,
        y: Tensor,
        batch: int,
        device: str = "cpu",
        backend: str = "inductor",
    ) -> None:
        shape = tuple(x.shape[1:])
        self.batch = batch
        self.steps = lay_out(architecture.resolve(shape, 2), shape, 32)
        self.x, self.y = x.to(device), y.to(device)
        self.weights: list[Tensor] = []
        for step in self.steps:
            layer = step.linear
            if layer is None:
                continue
            window = (layer.kernel, layer.kernel) if isinstance(layer, Conv2d) else ()
            fan_in = step.fan_in // math.prod(window)
            sizes: list[tuple[int, ...]] = [(layer.units, fan_in, *window)]
            sizes += [(layer.units,)] if layer.bias == "prior" else []
            self.weights += [torch.empty((batch, *size), device=device) for size in sizes]
        mapped = torch.func.vmap(self.forward, in_dims=(0, None))
        # Each batch size is compiled for itself, and what was compiled before does not count
        # towards the limit past which PyTorch compiles no more.
        torch.compiler.reset()
        self._all: Any = torch.compile(mapped, backend=backend, dynamic=False)

    def forward(self, weights: Weights, x: Tensor) -> Tensor:
        """One network's logits, `(samples, outputs)`."""
        h, left = x, iter(weights)
        for step in self.steps:
            match step.layer:
                case ReLU():
                    h = relu(h)
                case MaxPool2d(size=size):
                    h = max_pool2d(h, size) if len(step.in_shape) == 3 else h
                case Flatten():
                    h = h.flatten(1)
                case Dense(bias=bias) | Conv2d(bias=bias) as layer:
                    pair = next(left), next(left) if bias == "prior" else None
                    h = conv2d(h, *pair) if isinstance(layer, Conv2d) else linear(h, *pair)
                case other:
                    raise ValueError(f"no function for {other}")
        return h

    @torch.no_grad()
    def run(self) -> int:
        """Draw a batch and test it: how many of its networks have no training error."""
        for weight in self.weights:
            weight.uniform_(-1.0, 1.0)
        logits = self._all(self.weights, self.x)
        predicted = (logits[..., 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(-1)
        return int((predicted == self.y).all(dim=1).sum())
