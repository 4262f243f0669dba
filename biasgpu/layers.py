"""The layers an architecture is made of: declarations of shape, without weights.

A shape is a tuple without the batch axis: `(channels, height, width)` for images, `(features,)` for
flat data. Two kinds of layer are linear maps, `Dense` and `Conv2d`; their output units (rows,
channels) each own `fan_in` weights and perhaps a bias. These, `MaxPool2d`, `ReLU` and `Flatten` are
piecewise linear and, apart from the parameters, 1-Lipschitz in the maximum norm, which most
screening margins rely on. `BatchNorm2d` is neither: it ties samples together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from biasgpu.errors import UsageError, unknown
from biasgpu.layer_base import Layer, Shape, image, positive

Bias = Literal["zero", "prior", "none"]  # zero: there, but not drawn; training moves it
BIASES = ("zero", "prior", "none")
INFINITE = 2**62  # stands for the size of an infinitely wide layer's output


@dataclass(frozen=True)
class Linear(Layer):
    """A layer with parameters: `units` output units, each with `fan_in` weights, maybe a bias."""

    has_weights: ClassVar[bool] = True
    units: int
    bias: Bias = "zero"

    def __post_init__(self) -> None:
        positive(type(self).__name__, "units", self.units)
        if self.bias not in BIASES:
            raise unknown("bias", str(self.bias), BIASES)

    def fan_in(self, shape: Shape) -> int:
        """How many weights each output unit has for an input of `shape`."""
        raise NotImplementedError

    def weight_shape(self, shape: Shape) -> Shape:
        """The weight tensor's shape, output units first, as in PyTorch."""
        raise NotImplementedError

    def parts(self, shape: Shape) -> tuple[tuple[str, Shape], ...]:
        """See `Layer.parts`: a bias unless there is none, also where it is not drawn."""
        weight = ("weight", self.weight_shape(shape))
        return (weight,) if self.bias == "none" else (weight, ("bias", (self.units,)))


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
        positive("Conv2d", "kernel", self.kernel)
        if self.padding < 0:
            raise UsageError(
                f"Conv2d: padding is {self.padding}; it must be 0 or more.",
                why="so many rows and columns of zeros are put around an image.",
                fix="padding=0 for none.",
            )

    def out_shape(self, shape: Shape) -> Shape:
        image("Conv2d", shape)
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
        positive("MaxPool2d", "size", self.size)

    def out_shape(self, shape: Shape) -> Shape:
        if self.images_only and len(shape) != 3:
            return shape
        image("MaxPool2d", shape)
        height, width = (n // self.size for n in shape[1:])
        if height < 1 or width < 1:
            raise UsageError(
                f"a max-pool of {self.size} does not fit an input of shape {shape}.",
                why="the window is larger than the image.",
                fix="drop the pooling layer, or use larger inputs.",
            )
        return (shape[0], height, width)


@dataclass(frozen=True)
class MaxPoolToFit(Layer):
    """A max-pool by the first of some sizes that divides the image, else by the last of them."""

    sizes: tuple[int, ...] = (4, 2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        for size in self.sizes:
            positive("MaxPoolToFit", "sizes", size)

    def at(self, shape: Shape) -> Layer:
        image("MaxPoolToFit", shape)
        fitting = [n for n in self.sizes if shape[1] % n == 0 and shape[2] % n == 0]
        return MaxPool2d((*fitting, self.sizes[-1])[0])

    def out_shape(self, shape: Shape) -> Shape:
        return self.at(shape).out_shape(shape)


@dataclass(frozen=True)
class BatchNorm2d(Layer):
    """Each channel shifted and scaled to mean 0 and variance 1, then by its own weight and bias.

    Mean and variance are those of the training set in guess and check, of the batch while training,
    and the running ones of training afterwards (docs/law.md).
    """

    def out_shape(self, shape: Shape) -> Shape:
        image("BatchNorm2d", shape)
        return shape

    def parts(self, shape: Shape) -> tuple[tuple[str, Shape], ...]:
        """See `Layer.parts`: the last two are no parameters, but what training keeps count of."""
        names = ("weight", "bias", "running_mean", "running_var")
        return tuple((name, (shape[0],)) for name in names)


@dataclass(frozen=True)
class Fork(Layer):
    """Remembers its input for the `Join` that follows: where a residual block begins."""

    def out_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class Join(Layer):
    """Adds what the latest `Fork` remembers: where a residual block ends."""

    def out_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True)
class Scale(Layer):
    """Every number times a constant."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        number = isinstance(self.factor, int | float) and not isinstance(self.factor, bool)
        if not number or not math.isfinite(self.factor) or self.factor == 0:
            raise UsageError(
                f"Scale: factor is {self.factor!r}; it must be a finite number other than 0.",
                why="all inputs are multiplied with it.",
                fix="for example factor=0.125.",
            )

    def out_shape(self, shape: Shape) -> Shape:
        return shape


def residual(*layers: Layer) -> list[Layer]:
    """Some layers, and their input added to what they make of it."""
    return [Fork(), *layers, Join()]


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
    kind.__name__: kind
    for kind in (
        Dense,
        InfiniteDense,
        Conv2d,
        MaxPool2d,
        MaxPoolToFit,
        ReLU,
        Flatten,
        BatchNorm2d,
        Fork,
        Join,
        Scale,
    )
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
