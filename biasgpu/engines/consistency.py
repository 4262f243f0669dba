"""From the output unit each sample certainly excites most, to prefixes.

An arrangement gives each class a unit. While every sample's arg max is certain and no tie, a prefix
is classified by some arrangement exactly if no class there excites two units and no unit answers to
two classes: then the classes seen map one to one into the units, and any completion will do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.engines.base import BORDERLINE, Prefixes

UNSURE = -1  # in place of a unit: the arg max lies within the margin
ALL_TIED = -2  # in place of a unit: all logits are certainly the same number


def prefixes(
    tops: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    n_outputs: int,
    n_arrangements: int,
) -> Prefixes:
    """The prefix of each draw, over its arrangements.

    Args:
        tops: int64 `(n, samples)`: the unit whose logit is certainly the largest, `UNSURE` or
            `ALL_TIED`. For a one-logit head, 1 where the logit is certainly positive and 0 where it
            is certainly negative.
        labels: int64 `(samples,)`.
        n_outputs: output units of the network.
        n_arrangements: 1 where class and unit are fixed (a one-logit head under a prior that is not
            symmetric); else all permutations (both signs) are candidates.

    Returns:
        uint16 `(n,)`: the prefix, or `BORDERLINE` where an unsure sample comes before any
        contradiction.
    """
    n, n_samples = tops.shape
    n_units = max(n_outputs, 2)
    result = np.full(n, n_samples, dtype=np.uint16)
    rows = np.arange(n)  # the draws without a contradiction so far
    if n_arrangements == 1:
        unit_of = np.tile(np.arange(n_units), (n, 1))
        class_of = unit_of.copy()
    else:
        unit_of = np.full((n, n_units), UNSURE, dtype=np.int64)
        class_of = unit_of.copy()
    for sample, label in enumerate(labels.tolist()):
        if not len(rows):
            break
        top = tops[rows, sample]
        unsure = top == UNSURE
        result[rows[unsure]] = BORDERLINE
        # A tie of all logits goes to class 0, whatever the arrangement.
        unit = np.maximum(top, 0)
        mine, theirs = unit_of[rows, label], class_of[rows, unit]
        fits = ((mine == UNSURE) | (mine == unit)) & ((theirs == UNSURE) | (theirs == label))
        fits = np.where(top == ALL_TIED, label == 0, fits) & ~unsure
        result[rows[~fits & ~unsure]] = sample
        chosen = fits & (top >= 0)
        unit_of[rows[chosen], label] = unit[chosen]
        class_of[rows[chosen], unit[chosen]] = label
        rows = rows[fits]
    return result
