"""How many candidates an engine tests a second; no number before it agrees with the reference."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biasgpu import engines, methods, priors
from biasgpu.architectures import Architecture
from biasgpu.engines.base import BORDERLINE, Engine
from biasgpu.errors import UsageError
from biasgpu.layout import n_words
from biasgpu.priors import Prior
from biasgpu.sampling.pace import Pace
from biasgpu.sampling.screening import EngineError
from biasgpu.task import Task

if TYPE_CHECKING:
    from biasgpu.engines.triton_screened import DeviceEngine

CHECKED_DRAWS = 64
CHECKED_FROM = 2**40
MEASURED_FROM = 2**41
KERNEL_DRAWS = 1 << 20
WARM_S = 0.1  # a batch that takes so long is a full one


@dataclass(frozen=True)
class Measured:
    """What an engine did.

    Attributes:
        engine, device, method: who, where, and how draws are named.
        architecture, prior, n_train: of what.
        n_checked: draws on which it was held against the reference, and agreed.
        n_candidates, elapsed_s: tested after a warm-up, in how long.
        candidates_per_s: on the whole; in the median batch, the slowest and the best.
        words_per_draw: random words of one set of weights; most draws are made more than once.
        borderline_share: of draws, left to the law (whose time is not counted).
        words_per_s, flops_per_s: random words and float32 operations (of values and of bounds) of
            all stages; only by the triton engine.
        kernels: of its first stage, each alone, with a cold cache: see `triton_timing.KernelTime`.
        ceilings: what the device did at best in the same run: random words, operations in float32
            and of tensor cores, and bytes a second; only there.
        about: the GPU and the versions of what runs it.
        notice: what the engine has to say.
    """

    engine: str
    device: str
    method: str
    architecture: str
    prior: str
    n_train: int
    n_checked: int
    n_candidates: int
    elapsed_s: float
    candidates_per_s: float
    median_candidates_per_s: float
    low_candidates_per_s: float
    best_candidates_per_s: float
    words_per_draw: int
    borderline_share: float
    words_per_s: float = 0.0
    flops_per_s: float = 0.0
    kernels: list[dict[str, Any]] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    notice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def measure(
    task: Task,
    architecture: Architecture,
    prior: str | Prior = "kaiming-normal",
    *,
    method: str = "auto",
    engine: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    time_s: float = 5.0,
) -> Measured:
    """Check an engine against the reference, then time it.

    Args:
        task: what the networks must fit.
        architecture: their layers.
        prior: the distribution of their weights.
        method: "direct", "deferred" or "auto", as for `sample`.
        engine, device, threads: as for `sample`.
        seed: of the stream of draws.
        time_s: about how long to test candidates, after a warm-up.

    Raises:
        UsageError: a time that is not positive, or arguments that do not fit together.
        EngineError: the engine states a prefix that is not the reference's.
    """
    if not time_s > 0:
        raise UsageError(
            f"the time is {time_s:g} s; it must be more than 0.",
            why="a speed is candidates over time.",
            fix="for example time_s=5 (--time 5s).",
        )
    prior = priors.make(prior)
    chosen = methods.choose(method, task, architecture, prior)
    ensemble = methods.ensemble(chosen, task, architecture, prior, seed)
    screener = engines.make(
        engine, ensemble, task.x_train, task.y_train, device=device, threads=threads
    )
    try:
        check(screener)
        n_draws, elapsed_s, rates, n_borderline = _timed(screener, time_s)
        parts = _parts(screener, elapsed_s)
    finally:
        screener.close()
    each = ensemble.n_arrangements
    return Measured(
        engine=screener.name,
        device=screener.device,
        method=chosen,
        architecture=str(architecture),
        prior=str(prior),
        n_train=task.n_train,
        n_checked=CHECKED_DRAWS,
        n_candidates=each * n_draws,
        elapsed_s=elapsed_s,
        candidates_per_s=each * n_draws / elapsed_s,
        median_candidates_per_s=each * statistics.median(rates),
        low_candidates_per_s=each * min(rates),
        best_candidates_per_s=each * max(rates),
        words_per_draw=n_words(ensemble.steps) if chosen == "direct" else 0,
        borderline_share=n_borderline / n_draws,
        notice=screener.notice,
        **parts,
    )


def check(engine: Engine, n_draws: int = CHECKED_DRAWS, first_draw: int = CHECKED_FROM) -> None:
    """Hold an engine against the reference.

    Raises:
        EngineError: it states a prefix that is not the reference's.
    """
    law = engines.make("reference", engine.ensemble, engine.x_train, engine.y_train)
    stated, right = (one.screen(first_draw, n_draws) for one in (engine, law))
    wrong = np.flatnonzero((stated != BORDERLINE) & (stated != right))
    if len(wrong):
        row = int(wrong[0])
        raise EngineError(
            f"engine {engine.name} disagrees with the reference on draw {first_draw + row} of seed "
            f"{engine.ensemble.seed}: prefix {stated[row]}, by the law {right[row]}.",
            why="the speed of wrong answers is worth nothing.",
            fix="please report it with the output of `biasgpu doctor`; until then measure another "
            "engine: engine='torch' (--engine torch).",
        )


def _timed(engine: Engine, time_s: float) -> tuple[int, float, list[float], int]:
    """Draws, seconds, each batch's draws a second, and borderline draws."""
    pace = Pace(engine.granularity, minimum=engine.minimum, maximum=engine.maximum)
    first, n_borderline, n_train = MEASURED_FROM, 0, len(engine.y_train)
    warm_s, took, n = 0.0, 0.0, 0
    while n < engine.maximum and took < WARM_S and warm_s < time_s / 2:
        n = pace.next()  # they grow from a few draws on: small ones tell nothing
        start = time.perf_counter()
        engine.screened(first, n).counts()
        took = time.perf_counter() - start
        pace.measured(n, took)
        warm_s += took
    for one in _on_gpus(engine):
        one.given.clear()
    n_draws, elapsed_s, rates = 0, 0.0, list[float]()
    while elapsed_s < time_s:
        n = pace.next(time_s - elapsed_s)
        start = time.perf_counter()
        found = engine.screened(first + n_draws, n)
        counts = found.counts()
        found.at_least(n_train)
        took = max(time.perf_counter() - start, 1e-9)
        pace.measured(n, took)
        n_borderline += n - int(counts.sum())
        n_draws, elapsed_s = n_draws + n, elapsed_s + took
        rates.append(n / took)
    return n_draws, elapsed_s, rates, n_borderline


def _parts(engine: Engine, elapsed_s: float) -> dict[str, Any]:
    """What the triton engine's kernels and its device do by themselves."""
    engines_ = _on_gpus(engine)
    if not engines_:
        return {}
    import torch

    from biasgpu.engines import triton_ceilings, triton_device, triton_timing

    one = engines_[0]  # of several GPUs
    on_gpu, device = one.device.startswith("cuda"), torch.device(one.device)
    with triton_device.on_device(device):
        work = [triton_timing.total_work(each) for each in engines_]
        kernels = triton_timing.kernel_times(one, KERNEL_DRAWS if on_gpu else 1)
        ceilings = triton_ceilings.device_ceilings(device)
    return {
        "words_per_s": sum(each.words for each in work) / elapsed_s,
        "flops_per_s": sum(each.flops for each in work) / elapsed_s,
        "kernels": [asdict(each) for each in kernels],
        "ceilings": ceilings,
        "about": triton_device.about(device),
    }


def _on_gpus(engine: Engine) -> list[DeviceEngine]:
    """The triton engines behind an engine."""
    if engine.name != "triton":
        return []
    from biasgpu.engines.split import SplitEngine
    from biasgpu.engines.triton_screened import DeviceEngine

    parts = engine.engines if isinstance(engine, SplitEngine) else (engine,)
    return [part for part in parts if isinstance(part, DeviceEngine)]
