"""An architecture: hidden layers, a head, and the name and options it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from biasgpu.errors import UsageError, unknown
from biasgpu.layers import (
    BIASES,
    BatchNorm2d,
    Bias,
    Dense,
    Flatten,
    InfiniteDense,
    Layer,
    Shape,
    layer_from_config,
)

Head = Literal["logits", "one-logit"]
HEADS = ("logits", "one-logit")


@dataclass(frozen=True)
class Architecture:
    """A list of layers, without the output layer, which depends on the number of classes.

    Args:
        name: what to call it in files and figures.
        layers: the hidden layers, from input to output.
        head: `"logits"` for one output unit a class, `"one-logit"` for a single output whose sign
            decides between two classes.
        bias: whether the output layer's biases are zero, drawn from the prior, or not there.
        options: what the layers were made from (width, depth); for figures and error messages.
        note: what whoever asked for it may want to know before it is sampled; "" if nothing.

    Example:
        >>> net = Architecture("tiny", [Flatten(), Dense(8), ReLU()])
    """

    name: str
    layers: Sequence[Layer]
    head: Head = "logits"
    bias: Bias = "zero"
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    note: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.head not in HEADS:
            raise unknown("head", str(self.head), HEADS)
        if self.bias not in BIASES:
            raise unknown("bias", str(self.bias), BIASES)
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise UsageError(
                    f"{self.name}: {layer!r} is not a layer.",
                    why="an architecture is a list of layers.",
                    fix="use biasgpu.layers: Dense, Conv2d, MaxPool2d, ReLU, Flatten.",
                )

    def resolve(self, shape: Shape, n_classes: int) -> tuple[Layer, ...]:
        """All layers for inputs of `shape`, with the output layer at the end.

        Raises:
            UsageError: a layer does not fit, or the head does not suit the number of classes.
        """
        if n_classes < 2:
            raise UsageError(
                f"{n_classes} classes; a task needs at least two.",
                why="the output layer has a unit for each class.",
                fix="give n_classes=2 or more.",
            )
        if self.head == "one-logit" and n_classes != 2:
            raise UsageError(
                f"a one-logit head tells two classes apart; the task has {n_classes}.",
                why="its only output says by its sign which of two classes it is.",
                fix="use head='logits' (--head logits).",
            )
        outputs = 1 if self.head == "one-logit" else n_classes
        current, layers = shape, list[Layer]()
        for layer in self.layers:
            layers.append(layer.at(current))
            current = layer.out_shape(current)
        flatten = () if len(current) == 1 else (Flatten(),)
        return (*layers, *flatten, Dense(outputs, self.bias))

    @property
    def bias_said(self) -> str:
        """The output layer's biases in words, for titles: "bias zero", "no bias"."""
        return "no bias" if self.bias == "none" else f"bias {self.bias}"

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description from which `from_config` rebuilds the architecture."""
        return {
            "name": self.name,
            "options": self.options,
            "head": self.head,
            "bias": self.bias,
            "layers": [layer.to_config() for layer in self.layers],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Architecture:
        """The architecture that `to_config` described."""
        return cls(
            name=str(config["name"]),
            layers=[layer_from_config(layer) for layer in config["layers"]],
            head=config["head"],
            bias=config["bias"],
            options=dict(config.get("options", {})),
        )

    @property
    def depth(self) -> int:
        """The number of layers with parameters, the output layer not counted."""
        return sum(layer.has_weights for layer in self.layers)

    @property
    def infinite(self) -> bool:
        """Whether it has infinitely wide layers, and so no weights."""
        return any(isinstance(layer, InfiniteDense) for layer in self.layers)

    @property
    def coupled(self) -> bool:
        """Whether its batch norms make each answer depend on all training samples, so that a stream
        of draws serves one N alone."""
        return any(isinstance(layer, BatchNorm2d) for layer in self.layers)

    def __str__(self) -> str:
        options = " ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.name} {options}".strip()
