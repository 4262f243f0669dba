"""The triton engine on a GPU, against what others do there and what the device does at best.

    python -m benchmarks.gpu                       # all works on the first GPU
    python -m benchmarks.gpu lenet-2/6 --seconds 5

For each work: the engine (`biasgpu.bench`, whole and kernel by kernel), the published way
(`baseline.py`) and `torch.func.vmap` under `torch.compile` (`vmapped.py`), each at its best batch
size, and the ceilings of the same run. Nothing is reported of an engine that disagrees with the
law.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks import baseline, records, screening
from benchmarks.gpu_names import DEFERRED, PREFIX, WORKS
from benchmarks.vmapped import Vmapped
from biasgpu import architectures, bench, engines, methods, priors, tasks
from biasgpu.architectures import Architecture
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.triton_device import find_device, on_device, release_memory
from biasgpu.sampling.screening import decide_prefixes
from biasgpu.task import Task

BATCHES = tuple(1 << k for k in range(8, 21))
LEAST_GAIN = 0.7  # a batch size so much slower than the best ends the search
CHECKED = 20_000  # draws held against the law


@dataclass(frozen=True)
class Row:
    """A work measured.

    Attributes:
        work: its name, with `PREFIX`.
        candidates_per_s, low, high: the engine: median batch, slowest and fastest.
        baseline_per_s, baseline_low, baseline_high, batch: the published way at its best batch.
        vmap_per_s, vmap_low, vmap_high, vmap_batch: `torch.func.vmap` under `torch.compile`.
        ratio, vmap_ratio: of the medians; 0 where the other was not measured.
        words_per_s, flops_per_s: of the engine's kernels, over the time of the whole engine.
        borderline: share of draws left to the law.
    """

    work: str
    candidates_per_s: float
    low: float
    high: float
    words_per_s: float
    flops_per_s: float
    borderline: float
    baseline_per_s: float = 0.0
    baseline_low: float = 0.0
    baseline_high: float = 0.0
    batch: int = 0
    ratio: float = 0.0
    vmap_per_s: float = 0.0
    vmap_low: float = 0.0
    vmap_high: float = 0.0
    vmap_batch: int = 0
    vmap_ratio: float = 0.0


@dataclass(frozen=True)
class KernelRow:
    """A kernel of a work's first stage, alone, with a cold cache."""

    work: str
    draws_per_s: float
    low: float
    high: float
    words_per_s: float
    flops_per_s: float
    memory_bytes_per_s: float


@dataclass(frozen=True)
class Other:
    """Another way, networks a second: median, slowest and fastest turn; networks at once."""

    per_s: float = 0.0
    low: float = 0.0
    high: float = 0.0
    batch: int = 0


def setting(work: str) -> tuple[Task, Architecture, str, str]:
    """Task, architecture, prior and method of a work."""
    if work == DEFERRED:
        task = tasks.task("mnist", (7, 0), n_train=16, data_seed=200)
        return task, architectures.mlp(512, 2), "kaiming-normal", "deferred"
    return screening.task_for(work), baseline.WORKS[work][0], screening.PRIOR, "direct"


def disagreements(work: str, device: str | None, n_draws: int = CHECKED) -> list[int]:
    """Draws of a work on which the engine states another prefix than the law."""
    task, architecture, prior, method = setting(work)
    ensemble = methods.ensemble(method, task, architecture, priors.make(prior), 2**40)
    engine = engines.make("triton", ensemble, task.x_train, task.y_train, device=device)
    try:
        stated = engine.screen(2**40, n_draws)
        draws = np.uint64(2**40) + np.arange(n_draws, dtype=np.uint64)
        right = decide_prefixes(engine, draws)
    finally:
        engine.close()
    return [int(draw) for draw in draws[(stated != BORDERLINE) & (stated != right)]]


def measure(
    work: str, device: str | None = None, *, repeats: int = 5, seconds: float = 2.0
) -> tuple[list[Row | KernelRow], dict[str, float], dict[str, str]]:
    """Measure one work.

    Returns:
        its rows, the ceilings of the run, and what it ran on.
    """
    task, architecture, prior, method = setting(work)
    found = bench.measure(
        task, architecture, prior, method=method, engine="triton", device=device,
        time_s=repeats * seconds,
    )  # fmt: skip
    release_memory(find_device(device))
    others: dict[str, Any] = {}
    if method == "direct":
        x, y = torch.from_numpy(task.x_train), torch.from_numpy(task.y_train)
        where = str(find_device(device))

        def published(batch: int) -> baseline.Runner:
            return baseline.Baseline(architecture, x, y, batch, where)

        def vmapped(batch: int) -> baseline.Runner:
            return Vmapped(architecture, x, y, batch, where, BACKEND)

        with on_device(find_device(device)):
            one = tuned(published, repeats, seconds)
            two = tuned(vmapped, repeats, seconds)
        speed = found.median_candidates_per_s
        others = {
            "baseline_per_s": one.per_s, "baseline_low": one.low, "baseline_high": one.high,
            "batch": one.batch, "ratio": speed / one.per_s if one.batch else 0.0,
            "vmap_per_s": two.per_s, "vmap_low": two.low, "vmap_high": two.high,
            "vmap_batch": two.batch, "vmap_ratio": speed / two.per_s if two.batch else 0.0,
        }  # fmt: skip
    name = PREFIX + work
    rows: list[Row | KernelRow] = [
        Row(
            name, found.median_candidates_per_s, found.low_candidates_per_s,
            found.best_candidates_per_s, found.words_per_s, found.flops_per_s,
            found.borderline_share, **others,
        ),
        *(
            KernelRow(
                f"{name} {one['kernel']} {one['layer']}", one["draws_per_s"], one["low"],
                one["high"], one["words_per_s"], one["flops_per_s"], one["bytes_per_s"],
            )
            for one in found.kernels
        ),
    ]  # fmt: skip
    return rows, found.ceilings, found.about


BACKEND = "inductor"


def tuned(
    make: Callable[[int], baseline.Runner],
    repeats: int,
    seconds: float,
    batches: Sequence[int] = BATCHES,
) -> Other:
    """Another way at its best batch size; nothing where it cannot run at all.

    Sizes grow until the device's memory is full, or speed falls clearly.
    """
    speeds: dict[int, float] = {}
    for batch in batches:
        speed = _speed(make, batch, seconds / 4)
        if speed is None or speed < LEAST_GAIN * max(speeds.values(), default=0.0):
            break
        speeds[batch] = speed
    if not speeds:
        return Other()
    best = max(speeds, key=lambda batch: speeds[batch])
    runner = make(best)
    rates = [baseline.rate(runner, seconds) for _ in range(repeats)]
    return Other(statistics.median(rates), min(rates), max(rates), best)


def _speed(make: Callable[[int], baseline.Runner], batch: int, seconds: float) -> float | None:
    """Networks a second with so many at once; None where that cannot be run."""
    try:
        return baseline.rate(make(batch), seconds)
    except (RuntimeError, MemoryError) as error:
        # No memory, or a library's limit: what was reached before counts.
        sys.stderr.write(f"batches of {batch}: {str(error).splitlines()[0]}\n")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the works named, or all; append rows to results.csv."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--device", help="cuda, cuda:1")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    parser.add_argument("--no-write", action="store_true", help="leave results.csv alone")
    options = parser.parse_args(arguments)
    works = options.works or list(WORKS)
    for work in works:
        if work not in WORKS:
            parser.error(f"no work is named {work!r}; there are {', '.join(WORKS)}")
    written: list[dict[str, str]] = []
    torch.backends.cudnn.benchmark = True  # the published way's convolutions at their best
    for work in works:
        wrong = disagreements(work, options.device)
        if wrong:
            sys.exit(f"{work}: the engine disagrees with the law on draws {wrong[:5]}")
        rows, ceilings, about = measure(
            work, options.device, repeats=options.repeats, seconds=options.seconds
        )
        named = {f"gpu_{name}": value for name, value in ceilings.items()}
        written += records.complete(rows, named, torch.get_num_threads(), about)
        for row in written[-len(rows) :]:
            sys.stdout.write(_line(row) + "\n")
            sys.stdout.flush()
    # The works of a run are one run, whatever each took.
    written = [row | {"time": written[0]["time"]} for row in written]
    if not options.no_write:
        records.append(written)


def _line(row: dict[str, str]) -> str:
    kernel = "draws_per_s" in row
    speed = float(row["draws_per_s" if kernel else "candidates_per_s"])
    text = f"{row['work']}: {speed:,.0f} {'draws' if kernel else 'candidates'} a second"
    text += f", {float(row['words_per_s']):.3g} words/s, {float(row['flops_per_s']):.3g} FLOP/s"
    if not kernel and float(row["ratio"]):
        text += f", {float(row['ratio']):,.0f} x the published way"
        text += f", {float(row['vmap_ratio']):,.0f} x vmap"
    return text


if __name__ == "__main__":
    main()
