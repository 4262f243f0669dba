"""Data sets: where their files are, how they are read, and which samples a task takes."""

from __future__ import annotations

from biasgpu.data.catalogue import available, fetch, info
from biasgpu.data.datasets import DATASETS, DataSet, dataset

__all__ = ["DATASETS", "DataSet", "available", "dataset", "fetch", "info"]
