"""A family: one kind of architecture at several widths, several depths, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from biasgpu import architectures
from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError
from biasgpu.study.settings import listed, text

OPTIONS = ("width", "depth")


def family(
    arch: str = "lenet",
    widths: Any = None,
    depths: Any = None,
    *,
    head: str | None = None,
    bias: str | None = None,
) -> tuple[Architecture, ...]:
    """One architecture for each width and depth.

    Args:
        arch: "lenet", "paper-mlp", "mlp".
        widths: a list of widths, each as the architecture takes it; one with a factor for each
            layer is a tuple, or a string with commas or colons: "1/6:1/6:1/24:1/24". None takes the
            architecture's default.
        depths: a list of depths; None takes the default.
        head, bias: of all of them.

    Raises:
        UsageError: an unknown architecture, or a width or depth that cannot be.

    Example:
        biasgpu.family("lenet", widths=["1/6", "2/6", "4/6"])
    """
    text("arch", arch, "lenet")
    return tuple(
        architectures.make(arch, width=_width(width), depth=depth, head=head, bias=bias)
        for depth in _several("depths", depths, '["2c-3f", "2c-2f"]')
        for width in _several("widths", widths, '["1/6", "4/6"]')
    )


def to_config(architecture: Architecture) -> dict[str, Any]:
    """A JSON-able description: by name and options where these say all, else layer by layer."""
    options = {key: architecture.options.get(key) for key in OPTIONS}
    short = {
        "arch": architecture.name,
        **{key: value for key, value in options.items() if value is not None},
        "head": architecture.head,
        "bias": architecture.bias,
    }
    try:
        said = from_config(short)
    except UsageError:
        said = None
    return short if said == architecture else architecture.to_config()


def from_config(config: Any) -> Architecture:
    """The architecture that `to_config` described.

    Raises:
        UsageError: it describes none.
    """
    if not isinstance(config, dict):
        raise _no_architecture(config, "an object with `arch`, `width` and `depth` was expected")
    if "layers" in config:
        try:
            return Architecture.from_config(config)
        except (LookupError, TypeError, ValueError) as error:
            raise _no_architecture(config, str(error)) from error
    options = dict(config)
    arch = options.pop("arch", None)
    if not isinstance(arch, str):
        raise _no_architecture(config, "it has no `arch`")
    return architectures.make(arch, **options)


def _several(name: str, values: Any, example: str) -> tuple[Any, ...]:
    return (None,) if values is None else listed(name, values, example)


def _width(width: Any) -> Any:
    # A tuple has a factor for each layer, and so has a string with colons: commas part widths.
    if isinstance(width, str):
        return width.replace(":", ",")
    return ",".join(map(str, width)) if isinstance(width, Sequence) else width


def _no_architecture(config: Any, reason: str) -> UsageError:
    return UsageError(
        f"this describes no architecture: {config!r}.",
        why=f"{reason}.",
        fix='for example {"arch": "lenet", "width": "2/6", "depth": "2c-3f"} '
        "(--arch lenet --width 2/6).",
    )
