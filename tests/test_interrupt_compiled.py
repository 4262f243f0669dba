"""Ctrl-C ends compiled work at once, however large the networks are.

Measured is the processor's time, so that others who use it too decide nothing. If nobody stops
them, the works below take ten seconds of it or more (on two cores of 2023).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from biasgpu import exact, mlp, priors
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.engines.cpu.workers import Workers
from biasgpu.ensemble import Ensemble
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers.cpu import CpuTrainer

X = np.random.default_rng(2).standard_normal((64, 784)).astype(np.float32)
Y = np.arange(64) % 2
LIMIT_S = 1.0  # of all threads together


def ensemble(width: int) -> Ensemble:
    return Ensemble(mlp(width, 2), priors.make("uniform"), (784,), 2, seed=1)


def check_interrupted(work: Callable[[], object]) -> None:
    """Ctrl-C ends `work` soon, shortly after its compiled part has begun."""
    begun = threading.Event()
    take = Workers._take
    sent: list[float] = []

    def taken(self: Any) -> Any:
        begun.set()
        return take(self)

    def interrupt() -> None:
        begun.wait()
        time.sleep(0.2)
        sent.append(time.process_time())
        os.kill(os.getpid(), signal.SIGINT)

    # A shell's background jobs inherit that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "_take", taken)
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            work()
    signal.signal(signal.SIGINT, before)
    assert time.process_time() - sent[0] < LIMIT_S


# A chunk of draws in every thread, in one thread, and a single tile of sixteen draws.
@pytest.mark.parametrize(
    ("width", "n_draws", "threads"), [(8192, 512, 2), (8192, 512, 1), (40_000, 16, 2)]
)
def test_screening(width: int, n_draws: int, threads: int) -> None:
    small = CpuEngine(ensemble(4), X, Y)
    before = small.screen(0, 300)
    engine = CpuEngine(ensemble(width), X, Y, threads=threads)

    def work() -> None:
        try:
            engine.screen(0, n_draws)
        finally:
            engine.close()

    check_interrupted(work)
    np.testing.assert_array_equal(small.screen(0, 300), before)
    small.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_law(threads: int) -> None:
    draws = np.arange(32, dtype=np.uint64)
    exact.logits(ensemble(4), draws, X)
    wide = ensemble(8192)
    check_interrupted(lambda: exact.logits(wide, draws, X, threads=threads))


def test_an_engine_that_was_stopped_goes_on_as_before() -> None:
    engine = CpuEngine(ensemble(2048), X[:4], Y[:4], threads=2)
    before = engine.screen(0, 64)
    check_interrupted(lambda: engine.screen(0, 8192))
    np.testing.assert_array_equal(engine.screen(0, 64), before)
    engine.close()


@pytest.mark.parametrize(("width", "epochs"), [(16, 30_000), (1024, 50)])
def test_training(width: int, epochs: int) -> None:
    """Many short steps, and few long ones."""
    small = CpuTrainer(ensemble(4), X, Y, Recipe(epochs=2), threads=2)
    draws = np.arange(64, dtype=np.uint64)
    before = small.train(draws).weights
    trainer = CpuTrainer(ensemble(width), X[:8], Y[:8], Recipe(epochs=epochs), threads=2)

    def work() -> None:
        try:
            trainer.train(draws)
        finally:
            trainer.close()

    check_interrupted(work)
    np.testing.assert_array_equal(small.train(draws).weights, before)
    small.close()
