"""One more input in terms of the directions before it, with a bound on its distance from the law.

The screen knows the inner products of its activations h_i (float32, their products added in
float64), and takes the Cholesky factor L of that Gram matrix, row by row, with its inverse M. The
law's activations differ from h_i by some e_i of length at most d_i. With E = [e_0, e_1, ...] M^T,
whose columns are no longer than c_k = sum_s |M_ks| d_s, the law's Gram matrix is L (I + F) L^T with

    |F_kj| <= f_kj = c_k + c_j + c_k c_j,

for L^T is the triangular factor of H = [h_0, ...] = Q L^T, so that F = Q^T E + E^T Q + E^T E. The
law's factor is therefore L (I + P), I + P being the Cholesky factor of I + F. Forward substitution
bounds P entry by entry:

    p_kj = (f_kj + sum_{l<j} p_kl p_jl) / (1 - p_jj),   p_kk = f_kk + sum_{l<k} p_kl^2,

and row i of the factor is off by at most sum_{k>=j} |L_ik| p_kj. An input is ill-conditioned by the
inverse of its new part here, not by its square as in a bound from the Gram matrix's entries alone:
that is why the products are added in float64.

Rounding: of the sums and of the factorisation, `gram_error` of the lengths n_k n_j in every entry
of the Gram matrix, hence of u_k u_j in F, u_k = sum_s |M_ks| n_s. The law's own: Gram-Schmidt with
everything projected out twice is backward stable, so `LAW_ERROR` of an activation's length joins
d_i.

Where an input's new part is not certainly there, the row is open; the caller has to know better
(the input lies in what the directions before it span), or leave the draw to the law.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LAW_ERROR = 2.0**-30
SLACK = 1.0 + 2.0**-20  # of the roundings here
FOUND, OPEN = 0, 1
N_MATRICES, N_VECTORS = 4, 5


@njit(forceinline=True)
def space_size(n: int) -> int:
    """float64 numbers a layer keeps of its inputs: L, its bounds, M and P; c, u, n, d, |g|."""
    return N_MATRICES * n * n + N_VECTORS * n


@njit(forceinline=True)
def errors_at(at: int, n: int) -> int:
    """Where the bounds of L's entries begin in the space that begins at `at`; L is at `at`."""
    return at + n * n


@njit(forceinline=True)
def lengths_at(at: int, n: int) -> int:
    """Where the lengths n_i begin; the d_i are n numbers on."""
    return at + N_MATRICES * n * n + 2 * n


@njit(forceinline=True)
def factor_row(dots: Any, i: int, space: Any, at: int, n: int, gram_error: float) -> int:
    """Row i of the factor of a Gram matrix.

    Args (in numba):
        dots: float64 `(i + 1,)`: inner products of input i with inputs 0 to i.
        space: the layer's numbers from `at` on; lengths and distances up to i are read, row i of
            the matrices is written.
        gram_error: what the entries of the Gram matrix round, relative to the lengths.

    Returns:
        FOUND; or OPEN if input i may bring no new direction. Its row is then that of an input that
        brings none.
    """
    size = n * n
    r, errors, inverse, p = at, at + size, at + 2 * size, at + 3 * size
    c = at + 4 * size
    u, lengths, away = c + n, c + 2 * n, c + 3 * n
    row = i * n
    pivot = dots[i]
    for k in range(i):
        value, other = dots[k], k * n
        for j in range(k):
            value -= space[r + row + j] * space[r + other + j]
        value *= space[inverse + other + k]  # 0 for a direction that is none
        space[r + row + k] = value
        pivot -= value * value
    length = space[lengths + i]
    if pivot > gram_error * length * length:
        root = np.sqrt(pivot)
        over = 1.0 / root
        reach, stretch = space[away + i] * over, length * over
        for j in range(i):
            total = 0.0
            for k in range(j, i):
                total -= space[r + row + k] * space[inverse + k * n + j]
            total *= over
            space[inverse + row + j] = total
            reach += abs(total) * space[away + j]
            stretch += abs(total) * space[lengths + j]
        reach, stretch = reach * SLACK, stretch * SLACK
        for j in range(i):
            value, other = 0.0, j * n
            if space[inverse + other + j] != 0.0:
                near = space[c + j]
                value = reach + near + reach * near + gram_error * stretch * space[u + j]
                for k in range(j):
                    value += space[p + row + k] * space[p + other + k]
                value *= SLACK / (1.0 - space[p + other + j])
            space[p + row + j] = value
        value = 2.0 * reach + reach * reach + gram_error * stretch * stretch
        for k in range(i):
            value += space[p + row + k] * space[p + row + k]
        value *= SLACK
        if value < 0.5:
            space[p + row + i], space[inverse + row + i] = value, over
            space[c + i], space[u + i] = reach, stretch
            space[r + row + i] = root
            for j in range(i + 1):
                total = 0.0
                for k in range(j, i + 1):
                    total += abs(space[r + row + k]) * space[p + k * n + j]
                space[errors + row + j] = total * SLACK
            return FOUND
    _depend(i, space, at, n, gram_error)
    return OPEN


@njit(forceinline=True)
def _depend(i: int, space: Any, at: int, n: int, gram_error: float) -> None:
    """The row of an input that brings no direction: the law projects h_i + e_i onto
    (Q + E) (I + P)^-T.
    """
    size = n * n
    r, errors, inverse, p = at, at + size, at + 2 * size, at + 3 * size
    c = at + 4 * size
    u, lengths, away = c + n, c + 2 * n, c + 3 * n
    row = i * n
    length, apart = space[lengths + i], space[away + i]
    space[r + row + i], space[errors + row + i] = 0.0, 0.0
    space[c + i], space[u + i] = 0.0, 0.0
    for j in range(i + 1):
        space[inverse + row + j], space[p + row + j] = 0.0, 0.0
    for j in range(i):
        other, bound = j * n, 0.0
        if space[inverse + other + j] != 0.0:
            off = space[p + other + j]
            bound = length * (space[c + j] + gram_error * space[u + j])
            bound += apart * (1.0 + space[c + j]) + abs(space[r + row + j]) * off
            for k in range(j):
                bound += space[p + other + k] * (abs(space[r + row + k]) + space[errors + row + k])
            bound *= SLACK / (1.0 - off)
        space[errors + row + j] = bound


@njit(forceinline=True)
def silence_row(i: int, space: Any, at: int, n: int) -> None:
    """Row i for an input that is certainly zero, under the law as well."""
    for matrix in range(N_MATRICES):
        for j in range(i + 1):
            space[at + matrix * n * n + i * n + j] = 0.0
    for vector in range(N_VECTORS):
        space[at + N_MATRICES * n * n + vector * n + i] = 0.0


@njit(forceinline=True)
def spanned(i: int, space: Any, at: int, n: int, alive: int) -> bool:
    """Whether the directions before input i span all that `alive` units can be."""
    rank = 0
    for j in range(i):
        rank += space[at + j * n + j] != 0.0
    return alive <= rank
