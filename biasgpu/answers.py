"""The predicted classes of many draws on many inputs: quick where float32 is sure, else by the law.

Exact like everything else: a prediction is stated in float32 only where the logits lie further
apart than the screen's rounding may have moved them (`biasgpu.margins`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import exact
from biasgpu.decision import arrange, permutation, predictions
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError

Draws = npt.NDArray[np.uint64]
Classes = npt.NDArray[np.uint8]
TOGETHER = 16  # networks that the compiled code classifies at once: fewer take as long


def classify(
    ensemble: Ensemble,
    draws: Draws,
    arrangement: npt.NDArray[np.int64],
    x: npt.NDArray[np.float32],
    *,
    threads: int | None = None,
) -> Classes:
    """The class that each draw, in its arrangement, predicts for each input.

    Args:
        ensemble: which networks.
        draws: uint64 `(n,)`.
        arrangement: int64 `(n,)`.
        x: float32 `(samples, *shape)`.
        threads: CPU threads; None takes all.

    Returns:
        uint8 `(n, samples)`, by the law.

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    if not quick(ensemble) or _being_compiled():
        return _by_law(ensemble, draws, arrangement, x, threads)
    from biasgpu.engines.cpu.answers import OPEN

    units = _units(ensemble, np.ascontiguousarray(draws, np.uint64), x, threads)
    classes = classes_of(units, arrangement, ensemble.n_outputs)
    rows, samples = np.nonzero(units == OPEN)
    if len(rows):
        logits = exact.pair_logits(ensemble, draws[rows], samples, x, threads=threads)
        check_finite(logits[:, None], ensemble, draws[rows])
        decided = predictions(arranged(logits[:, None], arrangement[rows]))
        classes[rows, samples] = decided[:, 0]
    return classes


def quick(ensemble: Ensemble) -> bool:
    """Whether there is compiled float32 code for an ensemble."""
    if isinstance(ensemble, DeferredEnsemble):
        return False
    from biasgpu.engines.cpu.program import unsupported

    return unsupported(ensemble) is None


def _being_compiled() -> bool:
    from biasgpu.engines.cpu import ahead

    return ahead.pending("direct", "answers")


def prepare(ensemble: Ensemble) -> None:
    """Have the code compiled, or load it from disk: the first use would else."""
    if quick(ensemble):
        x = np.zeros((1, *ensemble.shape), np.float32)
        _units(ensemble, np.zeros(1, np.uint64), x, 1)


def _units(
    ensemble: Ensemble, draws: Draws, x: npt.NDArray[np.float32], threads: int | None
) -> npt.NDArray[np.uint8]:
    """The unit that answers, `(n, samples)`; TIED or OPEN where there is none."""
    from biasgpu.engines.cpu import answers
    from biasgpu.engines.cpu.engine import largest_weight
    from biasgpu.engines.cpu.vectors import LANES_F32

    seed = np.uint64(ensemble.seed)
    return answers.units(
        exact.program_of(ensemble),
        lambda start: (seed, draws[start : start + LANES_F32], None),
        len(draws),
        x,
        largest_weight=largest_weight(ensemble),
        threads=threads,
    )


def classes_of(
    units: npt.NDArray[np.uint8], arrangement: npt.NDArray[np.int64], n_outputs: int
) -> Classes:
    """Units to the classes that they stand for; a tie is class 0, whatever the arrangement.

    Args:
        units: uint8 `(n, samples)`.
        arrangement: int64 `(n,)`.
        n_outputs: output units.
    """
    n_units = max(n_outputs, 2)
    classes = np.zeros_like(units)
    for one in np.unique(arrangement).tolist():
        rows = arrangement == one
        # A single output's sign tells two units apart, which arrangement 1 swaps.
        order = permutation(n_units, one)
        table = np.zeros(256, np.uint8)
        table[list(order)] = np.arange(n_units)
        classes[rows] = table[units[rows]]
    return classes


def _by_law(
    ensemble: Ensemble,
    draws: Draws,
    arrangement: npt.NDArray[np.int64],
    x: npt.NDArray[np.float32],
    threads: int | None,
) -> Classes:
    logits = exact.logits(ensemble, draws, x, threads=threads)
    check_finite(logits, ensemble, draws)
    return predictions(arranged(logits, arrangement)).astype(np.uint8)


def arranged(
    logits: npt.NDArray[np.float64], arrangement: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Logits by class, each draw in its own arrangement.

    Args:
        logits: float64 `(n, samples, outputs)`, as drawn.
        arrangement: int64 `(n,)`.

    Returns:
        float64 `(n, samples, classes)`.
    """
    n_draws, n_samples, n_outputs = logits.shape
    result = np.empty((n_draws, n_samples, max(n_outputs, 2)))
    for one in np.unique(arrangement).tolist():
        rows = arrangement == one
        result[rows] = arrange(logits[rows], one)
    return result


def check_finite(logits: npt.NDArray[np.float64], ensemble: Ensemble, draws: Draws) -> None:
    """Refuse logits on the test set that are infinite or not a number.

    Raises:
        NonFiniteError: names the first such draw.
    """
    finite = np.isfinite(logits).all(axis=(1, 2))
    if not finite.all():
        draw = int(draws[int(np.argmin(finite))])
        raise NonFiniteError(
            f"draw {draw} of seed {ensemble.seed} fits, but has a logit on the test set that is "
            "infinite or not a number.",
            why="such a network classifies nothing; its weights or inputs are too large.",
            fix="use a prior of smaller scale (--prior kaiming-normal), or scale the inputs.",
        )
