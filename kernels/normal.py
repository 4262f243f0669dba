"""Words to standard normals: in float32, quick, within `EPSILON` of the law's; and in float64.

With x = 1 - 2t (t the tail probability that the word names), the normal is x P(w), where w =
-log(4 t (1 - t)): one polynomial for w < 5, another in sqrt(w) beyond. Both are evaluated and one
is chosen: lanes of a GPU do not branch apart. The polynomials are those of the compiled CPU engine
(`biasgpu.engines.cpu.gaussian`); tests check the bound against `biasgpu.normal`.

In float64 it is the law's formula; fused products make it differ in the last bits (`EPSILON_WIDE`).

Source: the form, M. Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2011).
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu import normal as law

# Relative, against the law. Over all words it is 0.95 * 2**-21 with rounded products and an exact
# root; fused products err less, the approximate root of a GPU by 2**-23 more.
EPSILON = 1.25 * 2.0**-21
EPSILON_WIDE = 2.0**-46

LN2 = tl.constexpr(0.6931471805599453)
LOG_EXPONENT_BIAS = tl.constexpr(0x3F3504F3)  # the bits of sqrt(1/2)


LN2_WIDE = tl.constexpr(0.6931471805599453)
HALF_STEP = tl.constexpr(2.0**-33)
SQRT_HALF_BITS = tl.constexpr(0x3FE6A09E667F3BCD)
CENTRE_LIMIT = tl.constexpr(law.CENTRE_LIMIT)
CENTRE_SQUARE = tl.constexpr(law.CENTRE_SQUARE)
TAIL_SHIFT = tl.constexpr(law.TAIL_SHIFT)


@triton.jit
def _log_of_mantissa(f):
    p = f * 0.11657806485891342 - 0.18573839962482452
    p = p * f + 0.2052544355392456
    p = p * f - 0.2492033690214157
    p = p * f + 0.3331356346607208
    p = p * f - 0.500008761882782
    p = p * f + 1.000001072883606
    return p * f


@triton.jit
def _centre(c):
    p = c * 3.196968023644331e-08 + 4.839788516619592e-07
    p = p * c - 4.885795988229802e-06
    p = p * c - 6.19474576524226e-06
    p = p * c + 0.0003087411751039326
    p = p * c - 0.0017730827676132321
    p = p * c - 0.005907659884542227
    p = p * c + 0.34880271553993225
    return p * c + 2.1233134269714355


@triton.jit
def _tail(c):
    p = c * 4.8634705308359116e-05 - 0.0001975505001610145
    p = p * c - 5.922065247432329e-05
    p = p * c + 0.00180977548006922
    p = p * c - 0.0050123450346291065
    p = p * c + 0.008157176896929741
    p = p * c - 0.010833908803761005
    p = p * c + 0.013341983780264854
    p = p * c + 1.4165852069854736
    return p * c + 4.006434440612793


@triton.jit
def normal(word):
    """Standard normals, one a word.

    Args:
        word: uint32, any shape.

    Returns:
        float32, the same shape: of the law's sign, never zero, within `EPSILON` of the law's.

    Operations: about 50 a word, of which 27 are polynomials.
    """
    bits = word.to(tl.int32, bitcast=True)
    magnitude = bits & 0x7FFFFFFF
    # 2^31 x and 2^32 t: their powers of two cost nothing where exponents are read, and in the end.
    x = (magnitude ^ 0x7FFFFFFF).to(tl.float32) + 0.5
    t = magnitude.to(tl.float32) + 0.5
    product = (t * (4294967296.0 - t)).to(tl.int32, bitcast=True)  # 2^62 times 4 t (1 - t)
    exponent = (product - (LOG_EXPONENT_BIAS + (62 << 23))) >> 23
    mantissa = (product - (62 << 23) - (exponent << 23)).to(tl.float32, bitcast=True)
    w = exponent.to(tl.float32) * -LN2 - _log_of_mantissa(mantissa - 1.0)
    far = w >= 5.0
    # The root is for the tail alone; elsewhere any argument that is not negative will do.
    p = tl.where(far, _tail(tl.sqrt(tl.maximum(w, 1.0)) - 3.0), _centre(w - 2.5))
    value = p * (x * 4.656612873077393e-10)
    return (value.to(tl.int32, bitcast=True) ^ (bits & -0x80000000)).to(tl.float32, bitcast=True)


# In float64: the coefficients of `biasgpu.normal`.


@triton.jit
def _centre_numerator(r):
    p = r * 2509.0809287301227 + 33430.57558358813
    p = p * r + 67265.7709270087
    p = p * r + 45921.95393154987
    p = p * r + 13731.69376550946
    p = p * r + 1971.5909503065513
    p = p * r + 133.14166789178438
    return p * r + 3.3871328727963665


@triton.jit
def _centre_denominator(r):
    p = r * 5226.495278852546 + 28729.085735721943
    p = p * r + 39307.89580009271
    p = p * r + 21213.794301586597
    p = p * r + 5394.196021424751
    p = p * r + 687.1870074920579
    p = p * r + 42.31333070160091
    return p * r + 1.0


@triton.jit
def _tail_numerator(r):
    p = r * 0.0007745450142783414 + 0.022723844989269184
    p = p * r + 0.2417807251774506
    p = p * r + 1.2704582524523684
    p = p * r + 3.6478483247632045
    p = p * r + 5.769497221460691
    p = p * r + 4.630337846156546
    return p * r + 1.4234371107496835


@triton.jit
def _tail_denominator(r):
    p = r * 1.0507500716444169e-09 + 0.0005475938084995345
    p = p * r + 0.015198666563616457
    p = p * r + 0.14810397642748008
    p = p * r + 0.6897673349851
    p = p * r + 1.6763848301838038
    p = p * r + 2.053191626637759
    return p * r + 1.0


@triton.jit
def _log_series(s):
    p = s * 0.08695652173913043 + 0.09523809523809523
    p = p * s + 0.10526315789473684
    p = p * s + 0.11764705882352941
    p = p * s + 0.13333333333333333
    p = p * s + 0.15384615384615385
    p = p * s + 0.18181818181818182
    p = p * s + 0.2222222222222222
    p = p * s + 0.2857142857142857
    p = p * s + 0.4
    p = p * s + 0.6666666666666666
    return p * s + 2.0


@triton.jit
def normal_wide(word):
    """Standard normals in float64, one a word: as `normal`, but within `EPSILON_WIDE`.

    Operations: about 90 a word in float64, of them four divisions and a root.
    """
    bits = word.to(tl.int32, bitcast=True)
    magnitude = (bits & 0x7FFFFFFF).to(tl.float64)
    tail = (magnitude + magnitude + 1.0) * HALF_STEP
    q = 0.5 - tail
    r = CENTRE_SQUARE - q * q
    centre = q * _centre_numerator(r) / _centre_denominator(r)
    # log(tail), its exponent by bits: tail is positive and no subnormal.
    pattern = tail.to(tl.int64, bitcast=True)
    exponent = (pattern - SQRT_HALF_BITS) >> 52
    mantissa = (pattern - (exponent << 52)).to(tl.float64, bitcast=True)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    log = exponent.to(tl.float64) * LN2_WIDE + s * _log_series(s * s)
    near = tl.sqrt(tl.maximum(-log, 0.0)) - TAIL_SHIFT
    outer = _tail_numerator(near) / _tail_denominator(near)
    value = tl.where(q <= CENTRE_LIMIT, centre, outer)
    return tl.where(bits < 0, -value, value)
