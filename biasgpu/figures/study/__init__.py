"""Figures of a study: guess and check beside SGD, from a list of cells alone."""

from __future__ import annotations

from biasgpu.figures.study.bins import bins
from biasgpu.figures.study.boxes import boxes
from biasgpu.figures.study.curves import curves
from biasgpu.figures.study.gradients import gradient_norms
from biasgpu.figures.study.histogram import histogram

__all__ = ["bins", "boxes", "curves", "gradient_norms", "histogram"]
