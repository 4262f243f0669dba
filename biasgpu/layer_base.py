"""What a layer is, and what layers ask of their options and inputs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from biasgpu.errors import UsageError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One step of a forward pass."""

    has_weights: ClassVar[bool] = False

    def out_shape(self, shape: Shape) -> Shape:
        """The output's shape for an input of `shape`.

        Raises:
            UsageError: the layer cannot take an input of that shape.
        """
        raise NotImplementedError

    def at(self, shape: Shape) -> Layer:
        """The layer that this one stands for on inputs of `shape`: itself, for most."""
        return self

    def parts(self, shape: Shape) -> tuple[tuple[str, Shape], ...]:
        """Its parameters on inputs of `shape`, as PyTorch names and shapes them."""
        return ()

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description from which `layer_from_config` rebuilds the layer."""
        return {"layer": type(self).__name__, **asdict(self)}


def positive(layer: str, field: str, value: int) -> None:
    """Refuse what is no whole number of 1 or more.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            f"{layer}: {field} is {value!r}; it must be a whole number of 1 or more.",
            why="it counts units or pixels.",
            fix=f"for example {field}=4.",
        )


def image(layer: str, shape: Shape) -> None:
    """Refuse what is no image.

    Raises:
        UsageError: it is none.
    """
    if len(shape) != 3:
        raise UsageError(
            f"{layer} needs inputs of shape (channels, height, width), got {shape}.",
            why="it slides over the rows and columns of an image.",
            fix="use an architecture of dense layers for flat data: --arch mlp.",
        )
