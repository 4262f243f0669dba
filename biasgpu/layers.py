"""The layers an architecture is made of: declarations of shape, without weights.

A shape is a tuple without the batch axis: `(channels, height, width)` for images, `(features,)` for
flat data. Two kinds of layer hold parameters, `Dense` and `Conv2d`; their output units (rows,
channels) each own `fan_in` weights and perhaps a bias. Every layer here is piecewise linear and,
apart from the parameters, 1-Lipschitz in the maximum norm, which the screening margins rely on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from biasgpu.errors import UsageError, unknown

Shape = tuple[int, ...]
Bias = Literal["zero", "prior"]
BIASES = ("zero", "prior")
INFINITE = 2**62  # stands for the size of an infinitely wide layer's output


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

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description from which `layer_from_config` rebuilds the layer."""
        return {"layer": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class Linear(Layer):
    """A layer with parameters: `units` output units, each with `fan_in` weights, maybe a bias."""

    has_weights: ClassVar[bool] = True
    units: int
    bias: Bias = "zero"

    def __post_init__(self) -> None:
        _positive(type(self).__name__, "units", self.units)
        if self.bias not in BIASES:
            raise unknown("bias", str(self.bias), BIASES)

    def fan_in(self, shape: Shape) -> int:
        """How many weights each output unit has for an input of `shape`."""
        raise NotImplementedError

    def weight_shape(self, shape: Shape) -> Shape:
        """The weight tensor's shape, output units first, as in PyTorch."""
        raise NotImplementedError


@dataclass(frozen=True)
class Dense(Linear):
    """A fully connected layer: `y = W x + b`, with W of shape `(units, features)`."""

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise UsageError(
                f"Dense needs a flat input, got the shape {shape}.",
                why="a dense unit has one weight for each number that comes in.",
                fix="put Flatten() before it.",
            )
        return (self.units,)

    def fan_in(self, shape: Shape) -> int:
        return shape[0]

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.units, shape[0])


@dataclass(frozen=True)
class InfiniteDense(Layer):
    """A fully connected layer in the limit of infinitely many units: a Gaussian process.

    It has no weights to draw: only method "deferred" knows what to do with it.
    """

    has_weights: ClassVar[bool] = True
    bias: Bias = "zero"

    def __post_init__(self) -> None:
        if self.bias not in BIASES:
            raise unknown("bias", str(self.bias), BIASES)

    def out_shape(self, shape: Shape) -> Shape:
        Dense(1).out_shape(shape)  # refuses what is not flat
        return (INFINITE,)


@dataclass(frozen=True)
class Conv2d(Linear):
    """A convolution with stride 1: `units` channels, a square kernel, zero padding."""

    kernel: int = 3
    padding: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive("Conv2d", "kernel", self.kernel)
        if self.padding < 0:
            raise UsageError(
                f"Conv2d: padding is {self.padding}; it must be 0 or more.",
                why="so many rows and columns of zeros are put around an image.",
                fix="padding=0 for none.",
            )

    def out_shape(self, shape: Shape) -> Shape:
        _image("Conv2d", shape)
        height, width = (n + 2 * self.padding - self.kernel + 1 for n in shape[1:])
        if height < 1 or width < 1:
            raise UsageError(
                f"a {self.kernel}x{self.kernel} convolution does not fit an input of "
                f"shape {shape}.",
                why="it would leave no output position.",
                fix="use a smaller kernel, more padding, or fewer layers before it.",
            )
        return (self.units, height, width)

    def fan_in(self, shape: Shape) -> int:
        return shape[0] * self.kernel**2

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.units, shape[0], self.kernel, self.kernel)


@dataclass(frozen=True)
class MaxPool2d(Layer):
    """The maximum over `size` x `size` windows, stride `size`; incomplete windows are dropped.

    With `images_only`, inputs that are no images pass unchanged.
    """

    size: int = 2
    images_only: bool = False

    def __post_init__(self) -> None:
        _positive("MaxPool2d", "size", self.size)

    def out_shape(self, shape: Shape) -> Shape:
        if self.images_only and len(shape) != 3:
            return shape
        _image("MaxPool2d", shape)
        height, width = (n // self.size for n in shape[1:])
        if height < 1 or width < 1:
            raise UsageError(
                f"a max-pool of {self.size} does not fit an input of shape {shape}.",
                why="the window is larger than the image.",
                fix="drop the pooling layer, or use larger inputs.",
            )
        return (shape[0], height, width)


@dataclass(frozen=True)
class ReLU(Layer):
    """`max(0, x)`, element by element."""

    def out_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class Flatten(Layer):
    """Channels, rows, columns to one axis, in that order."""

    def out_shape(self, shape: Shape) -> Shape:
        n = 1
        for size in shape:
            n *= size
        return (n,)


LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Dense, InfiniteDense, Conv2d, MaxPool2d, ReLU, Flatten)
}


def layer_from_config(config: dict[str, Any]) -> Layer:
    """The layer that `to_config` described.

    Raises:
        UsageError: an unknown layer or option.
    """
    options = dict(config)
    name = str(options.pop("layer", ""))
    if name not in LAYERS:
        raise unknown("layer", name, LAYERS)
    try:
        return LAYERS[name](**options)
    except TypeError as error:
        raise UsageError(
            f"{name} cannot be made from {options}: {error}.",
            why="the options are those of the layer's class in biasgpu.layers.",
            fix="correct the options, or register the layer's class before the file is opened.",
        ) from None


def _positive(layer: str, field: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            f"{layer}: {field} is {value!r}; it must be a whole number of 1 or more.",
            why="it counts units or pixels.",
            fix=f"for example {field}=4.",
        )


def _image(layer: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise UsageError(
            f"{layer} needs inputs of shape (channels, height, width), got {shape}.",
            why="it slides over the rows and columns of an image.",
            fix="use an architecture of dense layers for flat data: --arch mlp.",
        )
