"""By the law, but only where screening could not tell.

A borderline draw of two units has certain decisions up to some sample. The law takes over there,
a few samples at a time, and no further than that stage: what survives goes back to screening, whose
weights and samples cost half as much. So most borderline draws cost the law one or two samples,
instead of all up to their first error.

The decisions are the law's: samples before were certain, so the arrangement they leave is the one
that classifies the longest prefix, and only its right answers count from there on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biasgpu import exact
from biasgpu.decision import of_two, refuse_non_finite
from biasgpu.engines.base import Prefixes
from biasgpu.engines.cpu.screen import DOUBT_POSITION, DOUBT_SAMPLE
from biasgpu.engines.cpu.walk import STRAIGHT, SWAPPED
from biasgpu.ensemble import Ensemble

AT_ONCE = 1 << 16  # draws, so that their logits take little memory
_ANY = np.uint64(0)  # the state of a draw of which no arrangement is excluded yet


@dataclass(frozen=True)
class Doubts:
    """Draws that are known up to a sample, sorted by nothing.

    Attributes:
        positions: int64 `(n,)`, of the draws in their range.
        samples: int64 `(n,)`, the first that is not certain.
        states: uint64 `(n,)`, which unit answers to which class before it (walk.py).
    """

    positions: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]
    states: npt.NDArray[np.uint64]

    @classmethod
    def unpack(cls, packed: npt.NDArray[np.uint64], start: int = 0) -> Doubts:
        """From what the compiled screen notes, of positions that count from `start`."""
        positions = (packed >> np.uint64(DOUBT_POSITION)).astype(np.int64) + start
        samples = (packed >> np.uint64(DOUBT_SAMPLE)).astype(np.int64)
        samples &= (1 << (DOUBT_POSITION - DOUBT_SAMPLE)) - 1
        return cls(positions, samples, packed & np.uint64((1 << DOUBT_SAMPLE) - 1))

    @classmethod
    def join(cls, parts: list[Doubts]) -> Doubts:
        """All of them, in the order of positions, whoever noted them first."""
        if not parts:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64))
        positions = np.concatenate([part.positions for part in parts])
        order = np.argsort(positions)
        samples = np.concatenate([part.samples for part in parts])
        states = np.concatenate([part.states for part in parts])
        return cls(positions[order], samples[order], states[order])

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, which: npt.NDArray[np.bool_] | slice) -> Doubts:
        return Doubts(self.positions[which], self.samples[which], self.states[which])


# Screens the draws at `positions`, with these `states`, from a stage on.
GoOn = Callable[[int, npt.NDArray[np.int64], npt.NDArray[np.uint64]], Doubts]


def settle(
    ensemble: Ensemble,
    x_train: npt.NDArray[np.float32],
    y_train: npt.NDArray[np.int64],
    stages: npt.NDArray[np.int64],
    ahead: int,
    first_draw: int,
    doubts: Doubts,
    prefixes: Prefixes,
    go_on: GoOn,
    threads: int | None,
) -> None:
    """Write the prefixes of doubtful draws.

    Args:
        ensemble: of one or two output units.
        x_train, y_train: the training samples.
        stages: int64, where the stages of screening end.
        ahead: samples the law takes at a time: more, where making weights is what costs.
        first_draw: the range's.
        doubts: of draws in it.
        prefixes: uint16, of the range; receives those of the draws in `doubts`.
        go_on: goes on screening; it writes prefixes, too, and returns new doubts.
        threads: CPU threads for the law; None takes all.

    Raises:
        NonFiniteError: a logit is infinite or not a number, on a sample up to the first error.
    """
    for stage, end in enumerate(stages.tolist()):
        now = doubts.samples < end
        mine, doubts = doubts[now], doubts[~now]
        through = []
        while len(mine):
            # From the first doubt on, with the draws whose doubts are not far behind it.
            sample = int(mine.samples.min())
            near = mine.samples < sample + max(1, ahead // 2)
            group, mine = mine[near], mine[~near]
            stop = min(sample + ahead, end)
            for start in range(0, len(group), AT_ONCE):
                part = group[start : start + AT_ONCE]
                draws = np.uint64(first_draw) + part.positions.astype(np.uint64)
                logits = exact.logits(ensemble, draws, x_train[sample:stop], threads=threads)
                known = np.arange(sample, stop) < part.samples[:, None]
                states, reached = follow(
                    logits, y_train[sample:stop], known, part.states, ensemble, draws
                )
                prefixes[part.positions] = sample + reached
                left = Doubts(part.positions, np.full(len(part), stop), states)
                left = left[reached == stop - sample]
                if stop < end:
                    mine = Doubts.join([mine, left])
                else:
                    through.append(left)
        going = Doubts.join(through)
        if len(going) and end < stages[-1]:
            doubts = Doubts.join([doubts, go_on(stage + 1, going.positions, going.states)])


def follow(
    logits: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    known: npt.NDArray[np.bool_],
    states: npt.NDArray[np.uint64],
    ensemble: Ensemble,
    draws: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Follow draws of one or two units by the law, from what is known of their arrangements.

    Args:
        logits: float64 `(n, samples, outputs)` by the law.
        labels: int64 `(samples,)`.
        known: bool `(n, samples)`: of which screening was certain; they count as classified.
        states: uint64 `(n,)`.
        ensemble, draws: for the error message.

    Returns:
        uint64 `(n,)` the states behind the last sample, of use where all were classified; int64
        `(n,)` how many were.

    Raises:
        NonFiniteError: a logit is infinite or not a number, on a sample up to the first error.
    """
    finite = np.isfinite(logits).all(axis=-1) | known
    reached = of_two(np.where(finite[..., None], logits, 0.0), labels, 2, known)
    reached[states == SWAPPED, 0] = -1
    reached[states == STRAIGHT, 1] = -1
    best = reached.max(axis=1)
    refuse_non_finite(finite, best, ensemble, draws)
    straight, swapped = (reached == len(labels)).T
    after = np.where(straight & swapped, _ANY, np.where(swapped, SWAPPED, STRAIGHT))
    return after, best
