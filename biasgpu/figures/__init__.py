"""Figures, drawn from results alone."""

from __future__ import annotations

from biasgpu.figures.curve import curve
from biasgpu.figures.study import bins, boxes, curves, gradient_norms, histogram
from biasgpu.figures.style import save

__all__ = ["bins", "boxes", "curve", "curves", "gradient_norms", "histogram", "save"]
