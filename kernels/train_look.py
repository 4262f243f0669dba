"""Looking at networks between epochs: which fit the training set, and how long their gradients are.

A look is one more pass over the training samples in task order, batch by batch. It changes no
weight.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def classified(row, label_ptr, order, acts, n, n_outputs, G: tl.constexpr):
    """int32 `(G,)`: 1 where all of a batch's samples are classified correctly, by finite logits.

    Ties go to the lowest class; one logit z stands for (0, z).

    Args:
        row: the last operation's.
        label_ptr, order: as for `train_phases.logit_gradient`.
    """
    at = tl.load(row + 10)
    g = tl.arange(0, G)
    right = tl.full([G], 1, tl.int32)
    for s in range(n):
        label = tl.load(label_ptr + tl.load(order + s))
        logits = acts + (at + s * n_outputs) * G + g
        one = n_outputs == 1
        own = tl.load(logits + tl.where(one, 0, label) * G)
        for k in range(n_outputs):
            z = tl.load(logits + k * G)
            several = (k == label) | ((k < label) & (z < own)) | ((k > label) & (z <= own))
            # Of (0, z) the second is the larger, or it is not: a tie is the first's.
            good = tl.where(one, (z > 0.0) == (label == 1), several)
            right = right & (good & (tl.abs(z) < float("inf"))).to(tl.int32)
    return right


@triton.jit
def squares(from_ptr, n, E: tl.constexpr, G: tl.constexpr):
    """float64 `(G,)`: each network's sum of squares of `n` numbers."""
    total = tl.zeros([G], tl.float64)
    for start in range(0, n, E):
        e = start + tl.arange(0, E)[:, None]
        value = tl.load(from_ptr + e * G + tl.arange(0, G)[None, :], mask=e < n, other=0.0)
        value = value.to(tl.float64)
        total += tl.sum(value * value, axis=0)
    return total
