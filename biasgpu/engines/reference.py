"""The law as an engine: float64 NumPy, one draw at a time. Slow, and always right."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from biasgpu.decision import decide
from biasgpu.engines.base import Engine, Prefixes


class ReferenceEngine(Engine):
    """Screens by deciding. See `Engine`."""

    name: ClassVar[str] = "reference"

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`; nothing is ever borderline.

        Raises:
            NonFiniteError: a network has a logit that is not finite.
        """
        prefixes = np.empty(n_draws, dtype=np.uint16)
        for i in range(n_draws):
            draw = first_draw + i
            logits = self.ensemble.logits(draw, self.x_train)[None]
            name = np.array([draw], dtype=np.uint64)
            prefixes[i] = decide(logits, self.y_train, self.ensemble, name).prefix[0]
        return prefixes
