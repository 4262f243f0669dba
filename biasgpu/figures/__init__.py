"""Figures, drawn from results alone."""

from __future__ import annotations

from biasgpu.figures.curve import curve
from biasgpu.figures.style import save

__all__ = ["curve", "save"]
