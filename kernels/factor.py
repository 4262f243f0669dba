"""From inner products to coefficients: a triangular root, with a bound of its error, in float64.

The law orthonormalises a layer's inputs h_i in float64, one after the other; but for its rounding
its coefficients are L_ij = <h_i, q_j>. The screen has the Gram matrix of inputs h~_i of its own,
|h~_i - h_i| <= delta_i (Euclidean), with rounded sums. Two errors are carried along apart:

E, of the Cholesky factor by the sums' rounding |dG_ij| <= gamma l_i l_j (l: lengths), entry by
entry as the factor is computed:

    e = gamma l_i l_j + sum_k |L_ik| E_jk + E_ik |L_jk| + E_ik E_jk
    E_ij = (e + |L_ij| E_jj) / (L_jj - E_jj), and E_ii = e / (sqrt(p) + sqrt(p - e)) for a pivot p

D, of the exact factor by the inputs' difference. With the coefficients c of h~_i on its forerunners
(c_k = sum_j L_ij M_jk, M being the inverse of L so far; u~ is what is left of h~_i), what is left
of h_i beyond q_0 .. q_{i-1} is

    u = (1 - P)(u~ + e), |e| <= delta_i + m_i, m_i = sum_k |c_k| delta_k

where P projects onto the span of h_0 .. h_{i-1}. The sine of the angle between this span and the
screen's is at most S_i = sum_k delta_k |column k of M|. So lengths and directions differ by

    D_ii = delta_i + m_i + L_ii S_i^2, t_i = 2 U_i / (2 L_ii - U_i), U_i = delta_i + m_i + L_ii S_i

and, p_ij being the length of h~_i beside q~_j, the coefficients by
D_ij = delta_i + t_j (p_ij + t_j |L_ij| / 2).
(This keeps what a bound of the Gram matrix's entries would lose, that h_i errs as a vector; errors
grow little from sample to sample, and from layer to layer.) The parts delta_i of a row are those of
one vector of that length. That M and c are computed from a factor with the error E is paid for: m_i
grows by S_i (|E_i| + sum_k |c_k| |E_k|), and S_i by 1 / (1 - |M E|).

Where a pivot is not certainly positive, the law may have found the input dependent (a zero column)
or not. Both are allowed for: from this column on, entries of a row lie between plus and minus the
length that is left of it. An input that is certainly zero has zeros, without error.
"""

from __future__ import annotations

import triton
import triton.language as tl

UP = tl.constexpr(1.0 + 2.0**-20)  # of bounds: more than the roundings of their evaluation
NORM_UP = tl.constexpr(1.0 + 2.0**-8)  # of a norm whose squares were added in float32
MAX_NORMAL = tl.constexpr(6.34)
LARGE = tl.constexpr(1e100)  # lengths beyond which the law's squares might overflow
INDEPENDENT = tl.constexpr(2.0**-34)  # of a length: above what the law takes for dependent
SPREAD = tl.constexpr(2.0**-40)  # between a draw's shortest and longest input


@triton.jit
def _root(x):
    return tl.sqrt(tl.maximum(x, 0.0))


# One compiled kernel for all values: none of them is worth another.
@triton.jit(do_not_specialize=["entry_stride", "draw_stride", "n", "capacity"])
def _factor_kernel(
    parameters_ptr,
    gram_ptr,
    square_ptr,
    top_ptr,
    error_ptr,
    limit_ptr,
    entry_stride,
    draw_stride,
    unit_ptr,
    length_ptr,
    delta_ptr,
    turn_ptr,
    sums_ptr,
    column_ptr,
    root_ptr,
    sum_error_ptr,
    root_error_ptr,
    inverse_ptr,
    coefficient_ptr,
    next_error_ptr,
    next_limit_ptr,
    next_unit_ptr,
    n,
    capacity,
    N_SAMPLES: tl.constexpr,
    CAN_DIE: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Coefficients of a layer's inputs on orthonormal directions, from their inner products.

    Args:
        parameters_ptr: float64 `(6,)`: the standard deviation of the layer's weights; 1 where its
            biases are drawn, else 0; gamma; the law's own relative error; that of coefficients and
            normals; that of sums in float64.
        gram_ptr, square_ptr, top_ptr: as the gram kernel leaves them.
        error_ptr, limit_ptr: float64: at `i * entry_stride + slot * draw_stride` the error of the
            pre-activations of sample i, as a multiple of the norm of all normals; and the largest
            error of any one.
        unit_ptr: float64, at `slot * draw_stride`: what the activations have been multiplied by.
        length_ptr, delta_ptr, turn_ptr, sums_ptr, column_ptr: float64 `(N_SAMPLES, capacity)`,
            working space: l, delta, t of the head of this file, lengths of rows of E, squares of
            lengths of columns of M.
        root_ptr, sum_error_ptr, root_error_ptr, inverse_ptr: float64 `(N_SAMPLES**2, capacity)`:
            get the factor L, E, E + D, M: entries i * N_SAMPLES + j with j <= i.
        coefficient_ptr: of the type the gram kernel reads, likewise, with HIDDEN: the factor
            divided by the longest length that an input may have.
        next_error_ptr, next_limit_ptr: float64 `(N_SAMPLES, capacity)`, next_unit_ptr: float64
            `(capacity,)`, with HIDDEN: what `error_ptr`, `limit_ptr`, `unit_ptr` are to the next.

    Grid: `cdiv(n, BLOCK)`, one draw a thread (BLOCK is 32 times the warps, so that a thread reads
        back from memory only what it wrote itself).
    Bytes: about 8 N_SAMPLES**3 + 100 N_SAMPLES**2 a draw, mostly of the cache.
    Operations: about 3 N_SAMPLES**3 + 60 N_SAMPLES**2 in float64. Random words: none.
    """
    slot = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = slot < n
    std = tl.load(parameters_ptr)
    biased = tl.load(parameters_ptr + 1)
    law = tl.load(parameters_ptr + 3)
    epsilon = tl.load(parameters_ptr + 4)
    tiny = tl.load(parameters_ptr + 5)
    gamma = tl.load(parameters_ptr + 2) + tiny
    unit = tl.load(unit_ptr + slot * draw_stride, mask=mask, other=1.0)
    square = tl.load(square_ptr + slot, mask=mask, other=0.0).to(tl.float64)
    norm = _root(square) * NORM_UP
    constant = biased * unit * unit  # the bias's 1 adds this to every inner product

    longest = tl.zeros([BLOCK], tl.float64)
    good = slot >= 0
    for i in range(N_SAMPLES):
        entry = slot + i * capacity
        own = slot * draw_stride + i * entry_stride
        g = tl.load(gram_ptr + entry + i * N_SAMPLES * capacity, mask=mask, other=0.0)
        error = tl.load(error_ptr + own, mask=mask, other=0.0)
        length = _root(g.to(tl.float64) * (1.0 + 2.0 * gamma) + constant) * UP
        delta = (error * norm + law * length) * UP
        good &= delta >= 0.0  # no NaN
        if CAN_DIE:
            # Certainly all zeros, but for the bias's 1.
            top = tl.load(top_ptr + entry, mask=mask, other=0.0).to(tl.float64)
            limit = tl.load(limit_ptr + own, mask=mask, other=0.0)
            delta = tl.where(top <= -limit, law * length * UP, delta)
        tl.store(length_ptr + entry, length, mask=mask)
        tl.store(delta_ptr + entry, delta, mask=mask)
        longest = tl.maximum(longest, length + delta)
    for i in range(N_SAMPLES):
        length = tl.load(length_ptr + slot + i * capacity, mask=mask, other=0.0)
        delta = tl.load(delta_ptr + slot + i * capacity, mask=mask, other=0.0)
        good &= (length + delta >= longest * SPREAD) | (length + delta == 0.0)
    longest = tl.where(longest > 0.0, longest, 1.0)
    true_length = longest / unit
    good &= (true_length < LARGE) & (true_length > 1.0 / LARGE)
    poison = tl.where(good, 1.0, float("nan"))

    broken = slot < 0  # whether some pivot was not certain
    skew = tl.zeros([BLOCK], tl.float64)  # |M E|^2
    for i in range(N_SAMPLES):
        row = slot + i * N_SAMPLES * capacity
        length = tl.load(length_ptr + slot + i * capacity, mask=mask, other=0.0)
        delta = tl.load(delta_ptr + slot + i * capacity, mask=mask, other=0.0)
        g = tl.load(gram_ptr + row + i * capacity, mask=mask, other=0.0).to(tl.float64)
        rest = g + constant
        rest_error = gamma * length * length
        error_squares = tl.zeros([BLOCK], tl.float64)
        spread = tl.zeros([BLOCK], tl.float64)  # S
        for j in range(i):
            other = slot + j * N_SAMPLES * capacity
            length_j = tl.load(length_ptr + slot + j * capacity, mask=mask, other=0.0)
            delta_j = tl.load(delta_ptr + slot + j * capacity, mask=mask, other=0.0)
            column = tl.load(column_ptr + slot + j * capacity, mask=mask, other=0.0)
            spread += delta_j * tl.sqrt(column)
            turn = tl.load(turn_ptr + slot + j * capacity, mask=mask, other=0.0)
            g = tl.load(gram_ptr + row + j * capacity, mask=mask, other=0.0).to(tl.float64)
            value = g + constant
            error = gamma * length * length_j
            for k in range(j):
                a = tl.load(root_ptr + row + k * capacity, mask=mask, other=0.0)
                b = tl.load(root_ptr + other + k * capacity, mask=mask, other=0.0)
                a_error = tl.load(sum_error_ptr + row + k * capacity, mask=mask, other=0.0)
                b_error = tl.load(sum_error_ptr + other + k * capacity, mask=mask, other=0.0)
                value -= a * b
                error += tl.abs(a) * b_error + a_error * (tl.abs(b) + b_error)
            pivot = tl.load(root_ptr + other + j * capacity, mask=mask, other=0.0)
            pivot_error = tl.load(sum_error_ptr + other + j * capacity, mask=mask, other=0.0)
            pivot_total = tl.load(root_error_ptr + other + j * capacity, mask=mask, other=0.0)
            sure = pivot > pivot_total
            safe = tl.where(sure, pivot, 1.0)
            value = tl.where(sure, value / safe, 0.0)
            below = safe - tl.where(sure, pivot_error, 0.0)
            error = tl.where(sure, (error + tl.abs(value) * pivot_error) / below * UP, 0.0)
            size = tl.abs(value) + error
            least = tl.maximum(tl.abs(value) - error, 0.0)
            beside = _root(length * length - least * least)
            swing = turn * (beside + 0.5 * turn * size) * UP
            rest -= value * value
            rest_error = (rest_error + error * (2.0 * tl.abs(value) + error)) * UP
            error_squares += error * error
            tl.store(root_ptr + row + j * capacity, value, mask=mask)
            tl.store(sum_error_ptr + row + j * capacity, error, mask=mask)
            tl.store(root_error_ptr + row + j * capacity, error + swing, mask=mask)
        spread = spread / tl.where(skew < 0.25, 1.0 - tl.sqrt(skew), 1.0) * UP
        moved = tl.zeros([BLOCK], tl.float64)  # m
        inexact = tl.sqrt(error_squares)
        for k in range(i):
            c = tl.zeros([BLOCK], tl.float64)
            for j in range(k, i):
                a = tl.load(root_ptr + row + j * capacity, mask=mask, other=0.0)
                at = slot + (j * N_SAMPLES + k) * capacity
                c += a * tl.load(inverse_ptr + at, mask=mask, other=0.0)
            tl.store(inverse_ptr + row + k * capacity, c, mask=mask)  # M's row, but for a factor
            moved += tl.abs(c) * tl.load(delta_ptr + slot + k * capacity, mask=mask, other=0.0)
            inexact += tl.abs(c) * tl.load(sums_ptr + slot + k * capacity, mask=mask, other=0.0)
        moved = (moved + spread * inexact) * UP
        most = _root(rest + rest_error)
        drift = (moved + most * spread * spread) * UP
        reach = (most + delta + moved) * UP  # no entry of this row is larger, where all is open
        squares = tl.zeros([BLOCK], tl.float64)  # of errors but for delta
        total = tl.zeros([BLOCK], tl.float64)  # of errors
        sizes = tl.zeros([BLOCK], tl.float64)  # of coefficients
        size_squares = tl.zeros([BLOCK], tl.float64)
        for j in range(i):
            other = slot + j * N_SAMPLES * capacity
            pivot = tl.load(root_ptr + other + j * capacity, mask=mask, other=0.0)
            pivot_total = tl.load(root_error_ptr + other + j * capacity, mask=mask, other=0.0)
            value = tl.load(root_ptr + row + j * capacity, mask=mask, other=0.0)
            own = tl.load(root_error_ptr + row + j * capacity, mask=mask, other=0.0)
            zero = (pivot == 0.0) & (pivot_total == 0.0)
            sure = pivot > pivot_total
            own = tl.where(zero, 0.0, tl.where(sure, own, reach) * UP)
            whole = (own + tl.where(sure, delta, 0.0)) * poison
            tl.store(root_error_ptr + row + j * capacity, whole, mask=mask)
            squares += own * own
            total += whole
            if HIDDEN:
                c = (value / longest).to(coefficient_ptr.dtype.element_ty)
                tl.store(coefficient_ptr + row + j * capacity, c, mask=mask)
                size = tl.abs(c.to(tl.float64))
                sizes += size
                size_squares += size * size
        value = _root(rest)
        halves = value + _root(rest - rest_error)
        error = tl.where(halves > 0.0, rest_error / tl.where(halves > 0.0, halves, 1.0), 0.0)
        error = (error + tiny * value) * UP
        shift = (moved + delta + most * spread) * UP
        sure = (rest > 2.0 * rest_error) & ~broken & (skew < 0.25) & (spread < 0.5)
        sure = sure & (value > 2.0 * (error + shift) + INDEPENDENT * length)
        zero = (length == 0.0) & (delta == 0.0)
        own = tl.where(sure, error + drift, tl.maximum(value, reach)) * UP
        own = tl.where(zero, 0.0, own)
        whole = (own + tl.where(sure, delta, 0.0)) * poison
        broken = broken | (~sure & ~zero)
        turn = 2.0 * shift / tl.where(sure, 2.0 * (value - error) - shift, 1.0) * UP
        error_sum = tl.sqrt(error_squares + error * error)
        tl.store(turn_ptr + slot + i * capacity, tl.where(sure, turn, 0.0), mask=mask)
        tl.store(sums_ptr + slot + i * capacity, error_sum, mask=mask)
        tl.store(root_ptr + row + i * capacity, value, mask=mask)
        tl.store(sum_error_ptr + row + i * capacity, error, mask=mask)
        tl.store(root_error_ptr + row + i * capacity, whole, mask=mask)
        over = tl.where(sure, 1.0 / tl.where(sure, value, 1.0), 0.0)
        product = over * error_sum
        for k in range(i):
            at = slot + k * capacity
            entry = -over * tl.load(inverse_ptr + row + k * capacity, mask=mask, other=0.0)
            tl.store(inverse_ptr + row + k * capacity, entry, mask=mask)
            product += tl.abs(entry) * tl.load(sums_ptr + at, mask=mask, other=0.0)
            column = tl.load(column_ptr + at, mask=mask, other=0.0)
            tl.store(column_ptr + at, column + entry * entry, mask=mask)
        tl.store(inverse_ptr + row + i * capacity, over, mask=mask)
        tl.store(column_ptr + slot + i * capacity, over * over, mask=mask)
        skew += product * product * UP
        if HIDDEN:
            c = (value / longest).to(coefficient_ptr.dtype.element_ty)
            tl.store(coefficient_ptr + row + i * capacity, c, mask=mask)
            size = tl.abs(c.to(tl.float64))
            sizes += size
            size_squares += size * size
            norms = (delta + tl.sqrt(squares + own * own)) / longest
            norms = (norms + epsilon * tl.sqrt(size_squares)) * UP * poison
            limit = ((total + whole) / longest + epsilon * sizes) * MAX_NORMAL * UP * poison
            # Of the first sample's pre-activations the signs are the normals', where L_00 is sure.
            limit = tl.where(sure & (slot * 0 + i == 0), 0.0, limit)
            tl.store(next_error_ptr + slot + i * capacity, norms, mask=mask)
            tl.store(next_limit_ptr + slot + i * capacity, limit, mask=mask)
    if HIDDEN:
        tl.store(next_unit_ptr + slot, unit / (longest * std) * poison, mask=mask)
