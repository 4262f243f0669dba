"""Guess and check: go through candidates in order, keep those that fit, count all of them."""

from __future__ import annotations

from biasgpu.sampling import events
from biasgpu.sampling.api import resume, sample
from biasgpu.sampling.batch import Batch
from biasgpu.sampling.sampler import stream
from biasgpu.sampling.screening import EngineError
from biasgpu.sampling.stopping import Rules

__all__ = ["Batch", "EngineError", "Rules", "events", "resume", "sample", "stream"]
