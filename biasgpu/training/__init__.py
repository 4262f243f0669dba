"""Networks that an optimiser trains: from a named initialisation to zero training error.

Names are imported when they are first used: trainers need the law and recipes alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biasgpu.training.api import train
    from biasgpu.training.recipe import Recipe
    from biasgpu.training.trained import Trained

_PLACES = {"Recipe": "recipe", "Trained": "trained", "train": "api"}

__all__ = ["Recipe", "Trained", "train"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'biasgpu.training' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"biasgpu.training.{_PLACES[name]}"), name)
