"""Architectures by name. To add one: a file with a function that returns an `Architecture`, and a
line in `ARCHITECTURES`; no engine needs to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from biasgpu.architectures.base import HEADS, Architecture, Head
from biasgpu.architectures.lenet import lenet
from biasgpu.architectures.mlp import mlp
from biasgpu.architectures.paper_mlp import paper_mlp
from biasgpu.architectures.resnet4 import resnet4
from biasgpu.errors import UsageError, unknown

ARCHITECTURES: dict[str, Callable[..., Architecture]] = {
    "mlp": mlp,
    "lenet": lenet,
    "paper-mlp": paper_mlp,
    "resnet4": resnet4,
}


def make(name: str, **options: Any) -> Architecture:
    """The architecture called `name`; options that are None take its default.

    Raises:
        UsageError: an unknown name, or an option the architecture does not take.
    """
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    given = {key: value for key, value in options.items() if value is not None}
    # The command line hands strings; an mlp's width and depth are whole numbers.
    for key, value in given.items():
        if isinstance(value, str) and value.lstrip("-").isdigit():
            given[key] = int(value)
    try:
        return ARCHITECTURES[name](**given)
    except TypeError as error:
        raise UsageError(
            f"{name} cannot be made with {given}: {error}.",
            why=f"its options are those of the function biasgpu.{name.replace('-', '_')}.",
            fix="leave out what it does not take (width, depth, head, bias; in the shell --width, "
            "--depth, --head, --bias).",
        ) from None


__all__ = [
    "ARCHITECTURES",
    "HEADS",
    "Architecture",
    "Head",
    "lenet",
    "make",
    "mlp",
    "paper_mlp",
    "resnet4",
]
