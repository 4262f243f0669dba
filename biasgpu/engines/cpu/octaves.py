"""Quick float32 normals by table: a polynomial for every octave of the tail probability.

A word's 31 bits m give the tail probability t = (m + 1/2) / 2^32, which lies in one of 32 octaves.
Converting m + 1/2 to float32 leaves the octave in the exponent and the place within it in the
mantissa; the exponent picks the coefficients of a polynomial, all sixteen lanes at once, from one
register a coefficient (`vpermps`), or, where one word in 2^16 lies in the sixteen octaves of the
tail, from two (`vpermi2ps`). Without AVX-512 the plain formula of gaussian.py stands in.

Cost: 23 vector operations, where the plain formula takes 41.

Error: an octave's polynomial is off by at most 7e-7; rounding adds less than 2^-22 of the value.
Tests go through every word.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import types
from numpy.polynomial import chebyshev, polynomial

from biasgpu.engines.cpu.gaussian import normals_f32
from biasgpu.engines.cpu.vectors import constant, f32x16, i32x16, in_step, intrinsic, llvm_type
from biasgpu.normal import upper_quantile

ABSOLUTE_ERROR = 2.0**-20  # of a normal, plus
RELATIVE_ERROR = 2.0**-21  # of its size
DEGREE = 6
OCTAVES = range(-1, 31)  # exponents of m + 1/2
OCTAVES_BELOW = 15  # exponents of the tail: the others have room in one register
MIDDLE = 1.5  # of a mantissa
SCALE = 2.0**31  # the plain formula's


@cache
def coefficients() -> npt.NDArray[np.float32]:
    """float32 `(DEGREE + 1, 32)`, highest power first; columns by the exponent's low five bits."""
    points = chebyshev.chebpts1(DEGREE + 1)
    table = np.empty((DEGREE + 1, 32))
    for exponent in OCTAVES:
        tail = np.asarray(2.0 ** (exponent - 32) * (MIDDLE + points / 2), dtype=np.float64)
        fitted = chebyshev.chebfit(points, upper_quantile(tail), DEGREE)
        in_mantissa = chebyshev.cheb2poly(fitted) * 2.0 ** np.arange(DEGREE + 1)
        table[:, (127 + exponent) % 32] = SCALE * in_mantissa[::-1]
    return table.astype(np.float32)


def expected(tail: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The polynomials in float64, for tests: normals for tail probabilities below 1/2."""
    mantissa, exponent = np.frexp(tail * 2.0**32)
    columns = coefficients().astype(np.float64)[:, (126 + exponent) % 32] / SCALE
    values = polynomial.polyval(2 * mantissa - MIDDLE, columns[::-1], tensor=False)
    return np.asarray(values, dtype=np.float64)


def _has_table_look_up() -> bool:
    return bool(binding.get_host_cpu_features().get("avx512f"))


def _intrinsic(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    found = builder.module.globals.get(name)
    if found is None:
        found = ir.Function(builder.module, ir.FunctionType(result, arguments), name)
    return found


def _polynomials(builder: Any, places: list[Any], ss: list[Any], *, rare: bool) -> list[Any]:
    """The octaves' polynomials for several vectors in step: all octaves, or the upper sixteen."""
    floats, integers = llvm_type(f32x16), llvm_type(i32x16)
    fused = _intrinsic(builder, "llvm.fma.v16f32", floats, [floats] * 3)
    both = _intrinsic(
        builder, "llvm.x86.avx512.vpermi2var.ps.512", floats, [floats, integers, floats]
    )
    one = _intrinsic(builder, "llvm.x86.avx512.permvar.sf.512", floats, [floats, integers])
    values: list[Any] = []
    for row in coefficients():
        low, high = (ir.Constant(floats, [float(c) for c in half]) for half in (row[:16], row[16:]))
        if rare:
            added = [builder.call(both, [low, place, high]) for place in places]
        else:
            # Octaves 15 to 30 lie in places 14 to 29: by their last four bits in one register.
            frequent = [float(row[14 + (k - 14) % 16]) for k in range(16)]
            table = ir.Constant(floats, frequent)
            added = [builder.call(one, [table, place]) for place in places]
        if values:
            values = [
                builder.call(fused, [value, s, c])
                for value, s, c in zip(values, ss, added, strict=True)
            ]
            values = in_step(builder, values)
        else:
            values = added
    return values


@intrinsic
def _by_octave(typingctx: Any, words: Any) -> Any:
    result_type = types.UniTuple(f32x16, 4)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        floats, integers = llvm_type(f32x16), llvm_type(i32x16)

        def prepare(word: Any) -> tuple[Any, Any, Any]:
            magnitude = builder.and_(word, constant(i32x16, 0x7FFFFFFF))
            t = builder.fadd(builder.sitofp(magnitude, floats), constant(f32x16, 0.5))
            # The largest words are rounded up into an octave that there is not.
            top = constant(f32x16, 2.0**31 - 2.0**7)
            t = builder.select(builder.fcmp_ordered("<", t, top), t, top)
            bits = builder.bitcast(t, integers)
            mantissa = builder.and_(bits, constant(i32x16, 0x007FFFFF))
            mantissa = builder.or_(mantissa, constant(i32x16, 0x3F800000))
            s = builder.fsub(builder.bitcast(mantissa, floats), constant(f32x16, MIDDLE))
            return builder.lshr(bits, constant(i32x16, 23)), s, t

        four = [builder.extract_value(args[0], place) for place in range(4)]
        places, ss, ts = (list(part) for part in zip(*map(prepare, four), strict=True))
        # One word in 2^16 lies in the sixteen octaves of the tail.
        least = ts[0]
        for t in ts[1:]:
            least = builder.select(builder.fcmp_ordered("<", t, least), t, least)
        tail = builder.fcmp_ordered("<", least, constant(f32x16, 2.0**OCTAVES_BELOW))
        any_tail = builder.icmp_unsigned(
            "!=", builder.bitcast(tail, ir.IntType(16)), ir.IntType(16)(0)
        )
        values = _polynomials(builder, places, ss, rare=False)
        before = builder.block
        with builder.if_then(any_tail, likely=False):
            others = _polynomials(builder, places, ss, rare=True)
            inside = builder.block
        signed = []
        for value, other, word in zip(values, others, four, strict=True):
            found = builder.phi(floats)
            found.add_incoming(value, before)
            found.add_incoming(other, inside)
            signed.append((found, word))
        results = []
        for found, word in signed:
            sign = builder.and_(word, constant(i32x16, 0x80000000 - 2**32))
            bits = builder.xor(builder.bitcast(found, integers), sign)
            results.append(builder.bitcast(bits, floats))
        return context.make_tuple(builder, result_type, results)

    return result_type(words), codegen


# Four i32x16 of words to f32x16: 2^31 times standard normals.
quick_normals = _by_octave if _has_table_look_up() else normals_f32
