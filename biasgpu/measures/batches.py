"""Networks a few at a time, so that measures of many take bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from biasgpu import given
from biasgpu.errors import NonFiniteError
from biasgpu.networks import Networks
from biasgpu.packing import Packing

BATCH_BYTES = 32 << 20  # of parameters or logits, whichever are more
Floats = npt.NDArray[np.float64]


def parameter_batches(
    networks: Networks, values: int = 0
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Parameters of consecutive networks.

    Args:
        networks: which.
        values: float64 values that the caller holds for each.

    Yields:
        which networks, and their parameters, float32 `(b, n_parameters)`.
    """
    each = max(4 * Packing(networks.steps).n_parameters, 8 * values, 1)
    size = max(1, BATCH_BYTES // each)
    size = size if size < 16 else size // 16 * 16  # whole vectors of lanes
    for start in range(0, len(networks), size):
        stop = min(start + size, len(networks))
        yield slice(start, stop), networks.parameters(start, stop)


def logit_batches(
    networks: Networks, x: npt.NDArray[np.float32], *, threads: int | None = None
) -> Iterator[tuple[slice, Floats]]:
    """Logits by class, by the law, of consecutive networks.

    Args:
        networks: which.
        x: float32 `(samples, *shape)`.
        threads: CPU threads; None takes all.

    Yields:
        which networks, and their logits, float64 `(b, samples, K)`; of one logit z (0, z).

    Raises:
        NonFiniteError: a logit is infinite or not a number.
    """
    outputs = int(np.prod(networks.steps[-1].out_shape))
    for part, flat in parameter_batches(networks, len(x) * max(outputs, 2)):
        logits = given.logits(networks.steps, flat, x, threads=threads)
        finite = np.isfinite(logits).all(axis=(1, 2))
        if not finite.all():
            raise NonFiniteError(
                f"network {part.start + int(np.argmin(finite))} of the set has a logit that is "
                "infinite or not a number.",
                why="such a network classifies nothing; its weights or inputs are too large.",
                fix="train with a smaller step (learning_rate=..., --learning-rate), or use a "
                "prior of smaller scale (--prior kaiming-normal).",
            )
        yield part, by_class(logits)


def by_class(logits: Floats) -> Floats:
    """Logits `(..., outputs)` by class `(..., K)`: one logit z becomes (0, z)."""
    if logits.shape[-1] == 1:
        return np.concatenate([np.zeros_like(logits), logits], axis=-1)
    return logits
