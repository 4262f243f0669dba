"""Ctrl-C ends compiled work within a second, however large the networks are."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from biasgpu import exact, mlp, priors
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.ensemble import Ensemble
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers.cpu import CpuTrainer

X = np.random.default_rng(2).standard_normal((64, 784)).astype(np.float32)
Y = np.arange(64) % 2


def ensemble(width: int) -> Ensemble:
    return Ensemble(mlp(width, 2), priors.make("uniform"), (784,), 2, seed=1)


def interrupted_after(work: Callable[[], object]) -> float:
    """Seconds from Ctrl-C, shortly after `work` begins, until it has ended."""
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    return time.perf_counter() - sent[0]


# A chunk of draws in every thread, in one thread, and a single tile of sixteen draws: each of them
# takes many seconds if nobody stops it.
@pytest.mark.parametrize(
    ("width", "n_draws", "threads"), [(4096, 512, 2), (4096, 512, 1), (20_000, 16, 2)]
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

    assert interrupted_after(work) < 1.0
    np.testing.assert_array_equal(small.screen(0, 300), before)
    small.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_law(threads: int) -> None:
    draws = np.arange(32, dtype=np.uint64)
    exact.logits(ensemble(4), draws, X)
    wide = ensemble(8192)
    assert interrupted_after(lambda: exact.logits(wide, draws, X, threads=threads)) < 1.0


def test_an_engine_that_was_stopped_goes_on_as_before() -> None:
    engine = CpuEngine(ensemble(2048), X[:4], Y[:4], threads=2)
    before = engine.screen(0, 64)
    assert interrupted_after(lambda: engine.screen(0, 8192)) < 1.0
    np.testing.assert_array_equal(engine.screen(0, 64), before)
    engine.close()


@pytest.mark.parametrize(("width", "epochs"), [(16, 10_000), (1024, 50)])
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

    assert interrupted_after(work) < 1.0
    np.testing.assert_array_equal(small.train(draws).weights, before)
    small.close()
