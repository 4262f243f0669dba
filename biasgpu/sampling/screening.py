"""Exact prefixes of a range of draws: by the engine, or by the law where it cannot tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import exact
from biasgpu.decision import decide
from biasgpu.engines.base import BORDERLINE, Engine, Screened
from biasgpu.errors import BiasgpuError
from biasgpu.evaluate import GROUP_BYTES
from biasgpu.fits import Fits

FIRST_STAGE = 2  # samples; most draws fail within two
STAGE_GROWTH = 4


class EngineError(BiasgpuError):
    """An engine stated a prefix that is not the law's: a bug, whose results must not be used."""


def screen(
    engine: Engine, first_draw: int, n_draws: int, *, threads: int | None = None
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Prefixes of the draws `[first_draw, first_draw + n_draws)`.

    Args:
        engine: screens.
        first_draw, n_draws: the range.
        threads: CPU threads for the law; None takes all.

    Returns:
        uint16 `(n_draws,)` exact prefixes, and int64 the places of those that were borderline.

    Raises:
        NonFiniteError: a draw with a logit that is infinite or not a number.
    """
    found, borderline = screened(engine, first_draw, n_draws, threads=threads)
    return found.prefixes(), borderline


def screened(
    engine: Engine, first_draw: int, n_draws: int, *, threads: int | None = None
) -> tuple[Screened, npt.NDArray[np.int64]]:
    """The same, the exact prefixes left where the engine computes."""
    found = engine.screened(first_draw, n_draws)
    borderline = left = found.at_least(BORDERLINE)[0]
    if len(borderline):
        if found.on_host is not None:
            engine.settle(first_draw, found.on_host, threads=threads)
            left = borderline[found.on_host[borderline] == BORDERLINE]
        draws = np.uint64(first_draw) + left.astype(np.uint64)
        decided = decide_prefixes(engine, draws, threads=threads)
        found.decide(left, decided.astype(np.uint16))
    return found, borderline


def decide_prefixes(
    engine: Engine, draws: npt.NDArray[np.uint64], *, threads: int | None = None
) -> npt.NDArray[np.int64]:
    """Prefixes by the law alone, in stages of growing length: int64 `(n,)`.

    Args:
        engine: says which ensemble and training set.
        draws: uint64 `(n,)`.
        threads: CPU threads; None takes all.
    """
    ensemble, n_train = engine.ensemble, len(engine.y_train)
    result = np.zeros(len(draws), dtype=np.int64)
    left = np.arange(len(draws))
    end = 0
    while len(left):
        end = min(n_train, end * STAGE_GROWTH or FIRST_STAGE)
        size = max(1, GROUP_BYTES // (8 * end * ensemble.n_outputs))
        for start in range(0, len(left), size):
            group = left[start : start + size]
            names = draws[group]
            logits = exact.logits(ensemble, names, engine.x_train[:end], threads=threads)
            result[group] = decide(logits, engine.y_train[:end], ensemble, names).prefix
        left = left[result[left] == end] if end < n_train else left[:0]
    return result


def check(rows: Fits, stated: npt.NDArray[np.uint16], engine: Engine) -> None:
    """Hold what an engine stated against the law.

    Args:
        rows: the draws by the law.
        stated: uint16 `(n,)`, their prefixes as screened.
        engine: who stated them.

    Raises:
        EngineError: they differ.
    """
    wrong = np.flatnonzero(rows.prefix != stated)
    if len(wrong):
        row = int(wrong[0])
        ensemble = engine.ensemble
        draw = int(rows.index[row]) // ensemble.n_arrangements
        raise EngineError(
            f"engine {engine.name} disagrees with the law on draw {draw} of seed {ensemble.seed}: "
            f"prefix {stated[row]}, by the law {rows.prefix[row]}.",
            why="an engine must never be wrong; this is a bug in biasgpu, or the hardware erred.",
            fix="please report it with the output of `biasgpu doctor`; until then use another "
            "engine (engine='reference', --engine reference).",
        )
