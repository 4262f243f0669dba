"""One more input in terms of the directions before it, with a bound on its distance from the law.

The screen knows the inner products of its activations h_i, and takes the Cholesky factor L of that
Gram matrix, row by row, with its inverse M. The law's activations differ from h_i by some e_i of
length at most d_i. With E = [e_0, e_1, ...] M^T, whose columns are no longer than
c_k = sum_s |M_ks| d_s, the law's Gram matrix is L (I + F) L^T with

    |F_kj| <= f_kj = c_k + c_j + c_k c_j,

for L^T is the triangular factor of H = [h_0, ...] = Q L^T, so that F = Q^T E + E^T Q + E^T E. The
law's factor is therefore L (I + P), I + P being the Cholesky factor of I + F. Forward substitution
bounds P entry by entry:

    p_kj = (f_kj + sum_{l<j} p_kl p_jl) / (1 - p_jj),   p_kk = f_kk + sum_{l<k} p_kl^2,

and row i of the factor is off by at most sum_{k>=j} |L_ik| p_kj. What activations are off is
magnified by the inverse of an input's new part, once; a bound from the entries of the Gram matrix
alone would have its square.

Rounding: the inner products themselves, and the factorisation, round `gram_error` of the lengths
n_k n_j in every entry of the Gram matrix, hence of u_k u_j in F, u_k = sum_s |M_ks| n_s. The law's
own: Gram-Schmidt with everything projected out twice is backward stable, so `LAW_ERROR` of an
activation's length joins d_i.

Where an input's new part is not certainly there, the row is open; the caller has to know better
(the input lies in what the directions before it span), or leave the draw to the law.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from biasgpu.engines.cpu.memory import peek, poke

LAW_ERROR = 2.0**-30
SLACK = 1.0 + 2.0**-20  # of the roundings here
FOUND, OPEN = 0, 1
N_MATRICES, N_VECTORS = 4, 5


@njit(forceinline=True)
def space_size(n: int) -> int:
    """float64 numbers a layer keeps of its inputs: L, its bounds, M and P; c, u, n, d, |g|."""
    return N_MATRICES * n * n + N_VECTORS * n


@njit(forceinline=True)
def lengths_at(n: int) -> int:
    """The place of the lengths n_i in a layer's numbers; d_i and |g_i| follow."""
    return N_MATRICES * n * n + 2 * n


@njit
def factor_row(dots: int, i: int, space: int, n: int, gram_error: float) -> int:
    """Row i of the factor of a Gram matrix.

    Args (in numba):
        dots: address of inner products of input i with inputs 0 to i.
        space: address of the layer's numbers: lengths and distances up to i are read, row i of the
            matrices is written.
        gram_error: what the entries of the Gram matrix round, relative to the lengths.

    Returns:
        FOUND; or OPEN if input i may bring no new direction. Its row is then that of an input that
        brings none.
    """
    size = 8 * n * n
    r, errors, inverse, p = space, space + size, space + 2 * size, space + 3 * size
    c = space + 4 * size
    u, lengths, away = c + 8 * n, c + 16 * n, c + 24 * n
    row = i * n
    pivot = peek(dots, i)
    for k in range(i):
        value, other = peek(dots, k), k * n
        for j in range(k):
            value -= peek(r, row + j) * peek(r, other + j)
        value *= peek(inverse, other + k)  # 0 for a direction that is none
        poke(r, row + k, value)
        pivot -= value * value
    length = peek(lengths, i)
    if pivot > gram_error * length * length:
        root = np.sqrt(pivot)
        over = 1.0 / root
        reach, stretch = peek(away, i) * over, length * over
        for j in range(i):
            total = 0.0
            for k in range(j, i):
                total -= peek(r, row + k) * peek(inverse, k * n + j)
            total *= over
            poke(inverse, row + j, total)
            reach += abs(total) * peek(away, j)
            stretch += abs(total) * peek(lengths, j)
        reach, stretch = reach * SLACK, stretch * SLACK
        last = 2.0 * reach + reach * reach + gram_error * stretch * stretch
        for j in range(i):
            value, other = 0.0, j * n
            if peek(inverse, other + j) != 0.0:
                near = peek(c, j)
                value = reach + near + reach * near + gram_error * stretch * peek(u, j)
                for k in range(j):
                    value += peek(p, row + k) * peek(p, other + k)
                value *= SLACK / (1.0 - peek(p, other + j))
            poke(p, row + j, value)
            last += value * value
        last *= SLACK
        if last < 0.5:
            poke(p, row + i, last)
            poke(inverse, row + i, over)
            poke(c, i, reach)
            poke(u, i, stretch)
            poke(r, row + i, root)
            for j in range(i + 1):
                total = 0.0
                for k in range(j, i + 1):
                    total += abs(peek(r, row + k)) * peek(p, k * n + j)
                poke(errors, row + j, total * SLACK)
            return FOUND
    _depend(i, space, n, gram_error)
    return OPEN


@njit
def _depend(i: int, space: int, n: int, gram_error: float) -> None:
    """The row of an input that brings no direction: the law projects h_i + e_i onto
    (Q + E) (I + P)^-T.
    """
    size = 8 * n * n
    r, errors, inverse, p = space, space + size, space + 2 * size, space + 3 * size
    c = space + 4 * size
    u, lengths, away = c + 8 * n, c + 16 * n, c + 24 * n
    row = i * n
    length, apart = peek(lengths, i), peek(away, i)
    for matrix in (r, errors):
        poke(matrix, row + i, 0.0)
    for vector in (c, u):
        poke(vector, i, 0.0)
    for j in range(i + 1):
        poke(inverse, row + j, 0.0)
        poke(p, row + j, 0.0)
    for j in range(i):
        other, bound = j * n, 0.0
        if peek(inverse, other + j) != 0.0:
            off = peek(p, other + j)
            bound = length * (peek(c, j) + gram_error * peek(u, j))
            bound += apart * (1.0 + peek(c, j)) + abs(peek(r, row + j)) * off
            for k in range(j):
                most = abs(peek(r, row + k)) + peek(errors, row + k)
                bound += peek(p, other + k) * most
            bound *= SLACK / (1.0 - off)
        poke(errors, row + j, bound)


@njit
def silence_row(i: int, space: int, n: int) -> None:
    """Row i for an input that is certainly zero, under the law as well."""
    for matrix in range(N_MATRICES):
        for j in range(i + 1):
            poke(space, matrix * n * n + i * n + j, 0.0)
    for vector in range(N_VECTORS):
        poke(space, N_MATRICES * n * n + vector * n + i, 0.0)


@njit
def spanned(i: int, space: int, n: int, alive: int) -> bool:
    """Whether the directions before input i span all that `alive` units can be."""
    rank = 0
    for j in range(i):
        rank += peek(space, j * n + j) != 0.0
    return alive <= rank
