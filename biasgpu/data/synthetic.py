"""`kink` and `slab`: two tasks in the plane.

They are in the spirit of the two synthetic tasks of Chiang et al. (ICLR 2023): the shapes have the
same names and idea, the definitions and the points are biasgpu's own.

Points are uniform in the square (-1, 1) x (-1, 1), without those closer to the boundary than a
margin. Each class covers half of the square.

- `kink`: the boundary is the bent line x2 = |x1| - 1/2. Class "above" has x2 at least 1/16 above
  it, class "below" at least 1/16 below.
- `slab`: the boundaries are the parallel lines x2 = 1/2 and x2 = -1/2. Class "inside" lies between
  them, class "outside" on both sides, at least 1/16 away from them.

A network without biases gives all points of a ray from the origin the same label and so cannot
learn either task well: draw its biases from the prior (`bias="prior"`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu import rng

MARGIN = 1 / 16
N_TEST_PER_CLASS = 1000
MAX_PER_CLASS = 1 << 19

# Draw numbers of the streams of points: two a task, for training and for testing.
_DRAWS = {("kink", "train"): 0, ("kink", "test"): 1, ("slab", "train"): 2, ("slab", "test"): 3}
_BLOCKS_AT_ONCE = 1024


def signed_distance(name: str, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far (in x2) a point lies on class 1's side of the boundary; negative on class 0's.

    Args:
        name: "kink" or "slab".
        points: float64 `(n, 2)`.

    Returns:
        float64 `(n,)`.
    """
    if name == "kink":
        return points[:, 1] - (np.abs(points[:, 0]) - 0.5)
    return 0.5 - np.abs(points[:, 1])


def points_by_class(
    name: str, part: str, seed: int, n_per_class: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The first points of each class; for a smaller number, the beginning of the same.

    Args:
        name: "kink" or "slab".
        part: "train" or "test".
        seed: the data seed.
        n_per_class: points a class.

    Returns:
        float32 `(n_per_class, 2)` for class 0 and for class 1. Every coordinate is an odd multiple
        of 2**-24, exact in float32.
    """
    found: tuple[list[npt.NDArray[np.float64]], ...] = ([], [])
    first = 0
    while min(sum(map(len, lists)) for lists in found) < n_per_class:
        blocks = np.arange(first, first + _BLOCKS_AT_ONCE)
        words = rng.words(seed, _DRAWS[name, part], blocks, stream=rng.STREAM_SYNTHETIC)
        first += _BLOCKS_AT_ONCE
        steps = (words >> np.uint32(8)).astype(np.float64).reshape(-1, 2)
        points = (2 * steps + 1 - 2**24) / 2**24
        side = signed_distance(name, points)
        found[0].append(points[side <= -MARGIN])
        found[1].append(points[side >= MARGIN])
    zero, one = (np.concatenate(lists)[:n_per_class].astype(np.float32) for lists in found)
    return zero, one
