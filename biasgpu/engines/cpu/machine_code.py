"""Compile, and say what is done: the other process of ahead.py.

Machine code does not depend on the network, so any small one will do.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import numpy as np

from biasgpu import answers, exact, priors
from biasgpu.architectures import lenet, mlp
from biasgpu.deferred import orthogonal
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.cpu.deferred import DeferredCpuEngine
from biasgpu.engines.cpu.digest import note_compiled, source_digest
from biasgpu.engines.cpu.engine import CpuEngine
from biasgpu.ensemble import Ensemble

SIDE = 16  # of images: the least that a LeNet takes
FOREIGN = 3  # exit status: these are not the sources that were asked for


def main(kind: str, digest: str) -> int:
    """Compile the parts of a kind in their order; a line on standard output after each.

    Args:
        kind: a key of `ahead.PARTS`.
        digest: of the sources that whoever asked will run.

    Returns:
        the exit status.
    """
    if int(digest, 16) != source_digest():
        return FOREIGN
    if kind in ("direct", "training"):
        _direct(kind)
    else:
        _deferred(kind)
    note_compiled(kind)
    return 0


def _direct(kind: str) -> None:
    x, y = _samples((1, SIDE, SIDE))
    ensemble = Ensemble(lenet("1/6"), priors.make("uniform"), x.shape[1:], 2, seed=0)
    if kind == "training":
        exact.prepare(ensemble)
        _say("law")
    else:
        CpuEngine(ensemble, x, y, threads=1).compile_screen()
        _say("screen")
    answers.prepare(ensemble)
    _say("answers")


def _deferred(kind: str) -> None:
    front = kind == "deferred-front"
    x, y = _samples((1, SIDE, SIDE) if front else (SIDE,))
    architecture = lenet("1/6") if front else mlp(SIDE, 1)
    prior = priors.make("kaiming-normal")
    ensemble = DeferredEnsemble(architecture, prior, x.shape[1:], 2, 0, x, x[:0])
    if not front:  # else it would compile the law
        vars(ensemble)["shared"] = orthogonal.orthonormalize(x.astype(np.float64), len(x))
    engine = DeferredCpuEngine(ensemble, x, y, threads=1)
    engine.compile_screen()
    _say("screen")
    engine.compile_settle()
    _say("settle")


def _samples(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two of them: float32 `(2, *shape)`, int64 `(2,)`."""
    x = np.ones((2, *shape), np.float32)
    x[1] = np.linspace(-1.0, 1.0, x[1].size).reshape(shape)
    return x, np.array([0, 1], np.int64)


def _say(part: str) -> None:
    print(part, flush=True)


def _end_with_parent() -> None:
    """Nobody writes to standard input: reading it ends when the other side is gone."""
    sys.stdin.buffer.read()
    os._exit(1)


def run(kind: str, digest: str) -> None:
    """`main` as a process of its own: Ctrl-C is not for it, and it outlives nobody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os._exit(main(kind, digest))  # at once: the thread still reads
