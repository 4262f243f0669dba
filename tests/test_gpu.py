"""What only a GPU can show: millions of candidates, the sanitizer, real clocks.

Each check is a function of its size; without a GPU it runs at toy size in Triton's interpreter, so
that the first run on a GPU is not the first run of the test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import biasgpu
from benchmarks.architectures import PUBLISHED
from biasgpu import Architecture, engines, methods, priors
from biasgpu.architectures import lenet, mlp
from biasgpu.engines.base import BORDERLINE
from biasgpu.estimates import clopper_pearson
from biasgpu.sampling.screening import decide_prefixes
from biasgpu.task import Task

ROOT = Path(__file__).parent.parent
PART = 1 << 16  # draws that the law decides at a time
FALSE_ALARM = 1e-6  # of each interval
# Screens and trains a little of everything; every kernel runs, on sizes that fill no block.
SCREENED = """
import biasgpu
from biasgpu import engines, methods, priors
from biasgpu.architectures import lenet, mlp, paper_mlp

def screen(task, net, prior, method, n):
    made = methods.ensemble(method, task, net, priors.make(prior), 1)
    engine = engines.make("triton", made, task.x_train, task.y_train)
    engine.warm()
    engine.screened(5, n).counts()

plane = biasgpu.task("slab", n_train=6)
screen(plane, mlp(3, 1, bias="prior"), "uniform", "direct", N)
screen(plane, mlp(5, 1), "normal", "deferred", N)
biasgpu.train(plane, mlp(3, 1), networks=9, epochs=2, engine="triton", stop_early=True)
if LARGE:
    image = biasgpu.task("mnist", (7, 0), n_train=16)
    screen(image, lenet("2/6"), "uniform", "direct", 1001)
    screen(image, paper_mlp("1/6"), "uniform8", "direct", 1001)
    screen(image, mlp(100, 2), "kaiming-normal", "deferred", 1001)
    biasgpu.train(image, lenet("1/6"), networks=9, epochs=2, engine="triton", optimizer="adam")
"""


def _images() -> Task:
    return biasgpu.task("mnist", (7, 0), n_train=16)


def _agrees(
    architecture: Architecture, task: Task, n_draws: int, prior: str, method: str = "direct"
) -> None:
    """Every prefix that the engine states is the law's; hardly any is left open."""
    ensemble = methods.ensemble(method, task, architecture, priors.make(prior), 2**40 + 1)
    engine = engines.make("triton", ensemble, task.x_train, task.y_train)
    n_open = 0
    for start in range(0, n_draws, PART):
        n = min(PART, n_draws - start)
        first = 2**41 + start
        stated = engine.screen(first, n)
        right = decide_prefixes(engine, np.uint64(first) + np.arange(n, dtype=np.uint64))
        sure = stated != BORDERLINE
        wrong = np.flatnonzero(sure & (stated != right))
        assert not len(wrong), (first + int(wrong[0]), stated[wrong[0]], right[wrong[0]])
        n_open += int((~sure).sum())
    engine.close()
    assert n_open <= max(2, 0.01 * n_draws)


def _counts_agree(architecture: Architecture, task: Task, ours: int, theirs: int) -> None:
    """As many candidates fit as the cpu engine says: of the same draws exactly, of others too."""
    rules = {"curve_fits": 0, "method": "direct"}
    found = biasgpu.sample(
        task, architecture, "uniform", engine="triton", candidates=ours, seed=1, **rules
    )
    assert found.n_candidates >= ours
    same = biasgpu.sample(
        task, architecture, "uniform", engine="cpu", candidates=theirs, seed=1, **rules
    )
    first = found.fits.index[: same.n_fits]
    assert first.tolist() == same.fits.index.tolist()
    assert (found.fits.index[same.n_fits :] >= 2 * same.n_draws).all()
    other = biasgpu.sample(
        task, architecture, "uniform", engine="cpu", candidates=theirs, seed=2, **rules
    )
    for n in range(1, task.n_train + 1):
        intervals = [
            clopper_pearson(int(run.prefix_counts[n:].sum()), run.n_draws, 1 - FALSE_ALARM)
            for run in (found, other)
        ]
        (low, high), (other_low, other_high) = intervals
        assert low <= other_high and other_low <= high, n


def _sanitizer() -> str | None:
    at = "/usr/local/cuda/bin/compute-sanitizer"
    return shutil.which("compute-sanitizer") or (at if os.path.exists(at) else None)


# --- on a GPU ------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("architecture", PUBLISHED, ids=str)
def test_a_million_candidates_of_every_published_network(architecture: Architecture) -> None:
    _agrees(architecture, _images(), 500_000, "uniform")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("prior", ["kaiming-normal", "kaiming-uniform", "uniform:0.2", "uniform8"])
def test_a_million_candidates_of_other_priors(prior: str) -> None:
    _agrees(lenet("2/6"), _images(), 500_000, prior)


@pytest.mark.gpu
@pytest.mark.slow
def test_a_million_candidates_by_method_deferred() -> None:
    _agrees(mlp(512, 2), _images(), 500_000, "kaiming-normal", "deferred")


@pytest.mark.gpu
@pytest.mark.slow
def test_a_billion_candidates() -> None:
    _counts_agree(lenet("1/6"), _images(), 10**9, 2 * 10**7)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "initcheck", "racecheck", "synccheck"])
def test_the_sanitizer_finds_nothing(tool: str) -> None:
    program = _sanitizer()
    if program is None:
        pytest.skip("compute-sanitizer is not installed")
    # Memory of its own for every tensor: a write beyond one is not hidden by the next.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    code = f"N, LARGE = 203, {tool == 'memcheck'}\n{SCREENED}"
    done = subprocess.run(
        [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


@pytest.mark.gpu
@pytest.mark.slow
def test_the_benchmark_with_real_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu, gpu_table, records

    rows = []
    monkeypatch.setattr(records, "append", rows.extend)
    gpu.main(["mlp-2-8-1", "lenet-1/6", "deferred-512", "--repeats", "2", "--seconds", "0.5"])
    assert float(rows[0]["ratio"]) > 1 and float(rows[0]["vmap_ratio"]) > 1
    for row in rows:
        assert float(row["words_per_s"]) <= 1.1 * float(row["gpu_words_per_s"])
        assert float(row["flops_per_s"]) <= 1.1 * float(row["gpu_flops_per_s"])
    assert "Measured on" in gpu_table.markdown([], rows)


# --- the same at toy size ------------------------------------------------------------------------


def test_checks_hold_at_toy_size() -> None:
    task = biasgpu.task("slab", n_train=4)
    _agrees(mlp(3, 1, bias="prior"), task, 70, "uniform")
    _counts_agree(mlp(2, 1, bias="prior"), task, 300, 200)


def test_what_the_sanitizer_runs() -> None:
    exec(compile(f"N, LARGE = 3, False\n{SCREENED}", "sanitized", "exec"), {})


def test_the_check_finds_a_wrong_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    from biasgpu.engines.triton_screened import DeviceEngine

    screen = DeviceEngine.screen

    def wrong(self: DeviceEngine, first_draw: int, n_draws: int) -> object:
        found = screen(self, first_draw, n_draws)
        found[4] ^= 1
        return found

    monkeypatch.setattr(DeviceEngine, "screen", wrong)
    with pytest.raises(AssertionError, match=str(2**41 + 4)):
        _agrees(mlp(3, 1), biasgpu.task("kink", n_train=4), 9, "uniform")
