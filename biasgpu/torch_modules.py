"""An architecture as a torch module: one submodule a layer, named by its position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils import skip_init

from biasgpu.layers import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Fork,
    Join,
    MaxPool2d,
    ReLU,
    Scale,
)
from biasgpu.layout import Step, coupled
from biasgpu.reference import EPSILON


class ForkModule(nn.Identity):
    """Where a residual block begins."""


class JoinModule(nn.Identity):
    """Where it ends."""


class ScaleModule(nn.Module):
    """Every number times `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """`factor * x`."""
        return x * self.factor


class Residual(nn.Sequential):
    """Modules one after the other, with what residual blocks add."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Sequential`; a join adds what the latest fork was given."""
        forks: list[Tensor] = []
        x = input
        for module in self:
            x = module(x)
            if isinstance(module, ForkModule):
                forks.append(x)
            elif isinstance(module, JoinModule):
                x = x + forks.pop()
        return x


def module_of(steps: Sequence[Step], weights: Mapping[str, Tensor]) -> nn.Sequential:
    """The module of a network.

    Args:
        steps: the layers in their places.
        weights: tensors by the names that `Step.parts` gives, after the position.
    """
    forked = any(isinstance(step.layer, Fork) for step in steps)
    module = (Residual if forked else nn.Sequential)(*(_layer(step) for step in steps))
    # What a batch norm counts of its batches is in no file: it begins anew.
    missing, unexpected = module.load_state_dict(dict(weights), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    return module.eval() if coupled(steps) else module


def _layer(step: Step) -> nn.Module:
    """The torch layer of one step; parameters unset, so that torch's generator is left alone."""
    match step.layer:
        case Dense(units=units, bias=bias):
            return skip_init(nn.Linear, step.fan_in, units, bias=bias != "none")
        case Conv2d(units=units, bias=bias) as layer:
            sizes = (step.in_shape[0], units, layer.kernel)
            return skip_init(nn.Conv2d, *sizes, padding=layer.padding, bias=bias != "none")
        case BatchNorm2d():
            return nn.BatchNorm2d(step.units, eps=EPSILON)
        case MaxPool2d(size=size):
            return nn.MaxPool2d(size) if len(step.in_shape) == 3 else nn.Identity()
        case ReLU():
            return nn.ReLU()
        case Flatten():
            return nn.Flatten()
        case Scale(factor=factor):
            return ScaleModule(factor)
        case Fork():
            return ForkModule()
        case Join():
            return JoinModule()
    raise NotImplementedError(f"no torch layer stands for {step.layer}")
