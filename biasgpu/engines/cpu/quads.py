"""Four vectors at a time: the accumulators of the layer kernels, and how inputs are read."""

from __future__ import annotations

from typing import Any

from numba import njit

from biasgpu.engines.cpu.simd import (
    absolute,
    load,
    load_splat,
    madd,
    maximum,
    narrow,
    negative,
    relu,
    splat_like,
    store,
)
from biasgpu.engines.cpu.weights import lanes

LOWEST = -3.0e38  # where a search for a maximum starts


@njit(forceinline=True)
def shared(w: Any, x: Any, i: int) -> Any:
    """Input `i`, the same in every lane: a training image."""
    return load_splat(w, x, i)


@njit(forceinline=True)
def own(w: Any, x: Any, i: int) -> Any:
    """Input `i` of each lane: activations."""
    return load(x, i * lanes(w))


@njit(forceinline=True)
def load4(w: Any, slots: Any, k: int) -> Any:
    """Vector `k` of four units, which start at the vectors `slots`."""
    width = lanes(w)
    return (
        load(w, (slots[0] + k) * width),
        load(w, (slots[1] + k) * width),
        load(w, (slots[2] + k) * width),
        load(w, (slots[3] + k) * width),
    )


@njit(forceinline=True)
def abs4(a: Any) -> Any:
    """`|a[i]|`."""
    return (absolute(a[0]), absolute(a[1]), absolute(a[2]), absolute(a[3]))


@njit(forceinline=True)
def zero4(w: Any) -> Any:
    """Four zero vectors."""
    zero = splat_like(w, w.dtype.type(0.0))
    return (zero, zero, zero, zero)


@njit(forceinline=True)
def madd4(four: Any, one: Any, sums: Any) -> Any:
    """`four[i] * one + sums[i]`."""
    return (
        madd(four[0], one, sums[0]),
        madd(four[1], one, sums[1]),
        madd(four[2], one, sums[2]),
        madd(four[3], one, sums[3]),
    )


@njit(forceinline=True)
def add4(a: Any, b: Any) -> Any:
    """`a[i] + b[i]`."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


@njit(forceinline=True)
def add1(a: Any, one: Any) -> Any:
    """`a[i] + one`."""
    return (a[0] + one, a[1] + one, a[2] + one, a[3] + one)


@njit(forceinline=True)
def relu4(a: Any) -> Any:
    """`max(0, a[i])`."""
    return (relu(a[0]), relu(a[1]), relu(a[2]), relu(a[3]))


@njit(forceinline=True)
def max4(a: Any) -> Any:
    """The largest of four vectors, lane by lane."""
    return maximum(maximum(a[0], a[1]), maximum(a[2], a[3]))


@njit(forceinline=True)
def low4(w: Any) -> Any:
    """Four vectors below everything: where a search for maxima starts."""
    low = splat_like(w, w.dtype.type(LOWEST))
    return (low, low, low, low)


@njit(forceinline=True)
def top4(top: Any, a: Any, b: Any) -> Any:
    """The largest so far, of each of four."""
    return (
        maximum(top[0], maximum(a[0], b[0])),
        maximum(top[1], maximum(a[1], b[1])),
        maximum(top[2], maximum(a[2], b[2])),
        maximum(top[3], maximum(a[3], b[3])),
    )


@njit(forceinline=True)
def bottom4(bottom: Any, a: Any, b: Any) -> Any:
    """The smallest so far, of each of four, with the sign turned."""
    return top4(bottom, minus4(a), minus4(b))


@njit(forceinline=True)
def minus4(a: Any) -> Any:
    """`-a[i]`."""
    return (negative(a[0]), negative(a[1]), negative(a[2]), negative(a[3]))


@njit(forceinline=True)
def narrow4(a: Any) -> Any:
    """Wide lanes rounded to float32."""
    return (narrow(a[0]), narrow(a[1]), narrow(a[2]), narrow(a[3]))


@njit(forceinline=True)
def keep4(y: Any, place: int, d1: int, d2: int, d3: int, a: Any) -> None:
    """Store four vectors at `place` and at three distances from it."""
    store(y, place, a[0])
    store(y, place + d1, a[1])
    store(y, place + d2, a[2])
    store(y, place + d3, a[3])
