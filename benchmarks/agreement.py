"""No speed is reported for an engine that disagrees with the reference."""

from __future__ import annotations

import numpy as np

from benchmarks import baseline, deferred, screening
from biasgpu import architectures, priors
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.deferred import DeferredCpuEngine
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.ensemble import Ensemble
from biasgpu.sampling.screening import decide_prefixes
from biasgpu.task import Task


def disagreements(work: str, n_draws: int, first_draw: int = 2**40) -> list[int]:
    """Draws of a work on which the cpu engine states another prefix than the reference."""
    task, architecture = screening.task_for(work), baseline.WORKS[work][0]
    prior = priors.make(screening.PRIOR)
    ensemble = Ensemble(architecture, prior, task.shape, task.n_classes, seed=2**40)
    return _direct(ensemble, task, n_draws, first_draw)


def direct_disagreements(width: int, n_draws: int, first_draw: int = 2**40) -> list[int]:
    """The same of method "direct" on the task and prior that method "deferred" is measured on."""
    task, prior = deferred.task(), priors.make(deferred.PRIOR)
    architecture = architectures.mlp(width, deferred.DEPTH)
    ensemble = Ensemble(architecture, prior, task.shape, task.n_classes, seed=2**40)
    return _direct(ensemble, task, n_draws, first_draw)


def _direct(ensemble: Ensemble, task: Task, n_draws: int, first_draw: int) -> list[int]:
    stated = CpuEngine(ensemble, task.x_train, task.y_train).screen(first_draw, n_draws)
    # The reference is slow: a share of the draws, spread over the range.
    checked = np.arange(0, n_draws, max(1, n_draws // 300))
    reference = ReferenceEngine(ensemble, task.x_train, task.y_train)
    wrong = []
    for place in checked.tolist():
        if stated[place] == BORDERLINE:
            continue
        if stated[place] != reference.screen(first_draw + place, 1)[0]:
            wrong.append(first_draw + place)
    return wrong


def deferred_disagreements(width: int, n_draws: int, first_draw: int = 2**40) -> list[int]:
    """Draws of method "deferred" on which the cpu engine states another prefix than the law."""
    task = deferred.task()
    ensemble = deferred.ensemble_of(width, task, seed=2**40)
    engine = DeferredCpuEngine(ensemble, task.x_train, task.y_train)
    stated = engine.screen(first_draw, n_draws)
    draws = np.uint64(first_draw) + np.arange(n_draws, dtype=np.uint64)
    right = decide_prefixes(engine, draws)
    engine.close()
    wrong = (stated != BORDERLINE) & (stated != right)
    return [int(draw) for draw in draws[wrong]]
