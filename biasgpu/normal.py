"""Words to standard normals, by inverting the distribution function: one 32-bit word, one normal.

A word's top bit is the sign; its other 31 bits m name the tail probability t = (2m + 1) / 2^33, so
that the grid is centred and symmetric, and the largest magnitude is 6.34. The inversion is the
rational approximation AS 241 (relative error about 1e-16), evaluated in float64 with nothing but
additions, multiplications, divisions and square roots, each rounded once, in a fixed order. Every
IEEE machine therefore gets the same bits; the logarithm of the tail is written out for that reason.

Source: Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
Statistics 37 (1988), routine PPND16. Its coefficients are below.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Numerator and denominator, highest power first: the centre, then the tail. (AS 241 has a third
# piece, for sqrt(-log t) > 5; the largest that 32 bits give is 4.79.)
CENTRE_NUMERATOR = (
    2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
    13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608,
)  # fmt: skip
CENTRE_DENOMINATOR = (
    5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
    5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0,
)  # fmt: skip
TAIL_NUMERATOR = (
    7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177,
    1.27045825245236838258, 3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959,
    1.42343711074968357734,
)  # fmt: skip
TAIL_DENOMINATOR = (
    1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966,
    0.14810397642748007459, 0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187,
    1.0,
)  # fmt: skip
CENTRE_LIMIT = 0.425  # |q| up to which the centre's formula holds
CENTRE_SQUARE = 0.180625  # its square
TAIL_SHIFT = 1.6  # the tail is a function of sqrt(-log t) - 1.6

SQRT_HALF = 0.70710678118654752440
LN2_HIGH = 0.693147180369123816490  # ln 2 in two parts: the first ends in 21 zero bits
LN2_LOW = 1.90821492927058770002e-10
LOG_TERMS = tuple(2.0 / (2 * k + 1) for k in range(11, -1, -1))  # of log((1+s)/(1-s)) / s, in s^2
MAX_NORMAL = 6.34  # above the largest magnitude a word can give


def _polynomial(coefficients: tuple[float, ...], x: npt.NDArray[np.float64]) -> npt.NDArray:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The natural logarithm of normal positive numbers, the same bits on every IEEE machine."""
    mantissa, exponent = np.frexp(x)
    below = mantissa < SQRT_HALF
    mantissa = np.where(below, mantissa + mantissa, mantissa)
    power = np.where(below, exponent - 1, exponent).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return (power * LN2_LOW + s * _polynomial(LOG_TERMS, s * s)) + power * LN2_HIGH


def normal(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Standard normals, one a word.

    Args:
        words: uint32, any shape.

    Returns:
        float64, the same shape; magnitudes from 2.9e-10 to 6.34, never zero.
    """
    magnitude = (words & np.uint32(0x7FFFFFFF)).astype(np.float64)
    value = upper_quantile((magnitude + magnitude + 1.0) * 2.0**-33)
    return np.where(words >> np.uint32(31), -value, value)


def upper_quantile(tail: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a standard normal exceeds with probability `tail`, from 2^-34 to 1/2."""
    q = 0.5 - tail
    r = CENTRE_SQUARE - q * q
    value = q * _polynomial(CENTRE_NUMERATOR, r) / _polynomial(CENTRE_DENOMINATOR, r)
    r = np.sqrt(-log(tail))
    near = r - TAIL_SHIFT
    outer = _polynomial(TAIL_NUMERATOR, near) / _polynomial(TAIL_DENOMINATOR, near)
    return np.where(q <= CENTRE_LIMIT, value, outer)
