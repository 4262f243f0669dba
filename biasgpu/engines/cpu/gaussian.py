"""Standard normals in SIMD lanes: the law in float64, and a quick float32 stand-in for screening.

`normal_f64` repeats `biasgpu.normal` operation by operation, so its bits are the law's.

`normals_f32` has the form of Giles' single-precision inverse error function: with x = 1 - 2t, the
normal is x P(w), w = -log(4 t (1 - t)), one polynomial for w < 5 and, for the one lane in 300
beyond, another in sqrt(w). Its relative error against the law is below `EPSILON_F32`; tests check
that.

Source: the form, M. Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2011); the
coefficients are fitted here, to tails as far as 32-bit words reach.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types

from biasgpu import normal as law
from biasgpu.engines.cpu.vectors import (
    constant,
    f32x16,
    f64x8,
    i32x8,
    i32x16,
    in_step,
    intrinsic,
    llvm_type,
    u64x8,
)

EPSILON_F32 = 2.0**-21

# P for w < 5, in w - 2.5, and beyond, in sqrt(w) - 3; highest power first, interpolated at the
# Chebyshev points (relative error 1.6e-7 and 1.7e-7, before rounding).
_CENTRE = (
    3.196968023644331e-08, 4.839788516619592e-07, -4.885795988229802e-06, -6.19474576524226e-06,
    0.0003087411751039326, -0.0017730827676132321, -0.005907659884542227, 0.34880271553993225,
    2.1233134269714355,
)  # fmt: skip
_TAIL = (
    4.8634705308359116e-05, -0.0001975505001610145, -5.922065247432329e-05, 0.00180977548006922,
    -0.0050123450346291065, 0.008157176896929741, -0.010833908803761005, 0.013341983780264854,
    1.4165852069854736, 4.006434440612793,
)  # fmt: skip
# log(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1], highest power first: interpolated at the Chebyshev
# points (numpy's Chebyshev.interpolate, degree 6; error of the logarithm 4.4e-7, of which a normal
# takes over at most a sixth).
_LOG = (
    0.11657806485891342, -0.18573839962482452, 0.2052544355392456, -0.2492033690214157,
    0.3331356346607208, -0.500008761882782, 1.000001072883606,
)  # fmt: skip


def _call(builder: Any, name: str, kind: Any, *args: Any) -> Any:
    declared = builder.module.globals.get(name)
    if declared is None:
        signature = ir.FunctionType(kind, [kind] * len(args))
        declared = ir.Function(builder.module, signature, name)
    return builder.call(declared, args)


def _polynomial_f32(builder: Any, coefficients: tuple[float, ...], xs: list[Any]) -> list[Any]:
    """Horner's rule for several vectors in step: each waits for its own last product meanwhile."""
    values = [constant(f32x16, coefficients[0])] * len(xs)
    for coefficient in coefficients[1:]:
        added = constant(f32x16, coefficient)
        values = [
            _call(builder, "llvm.fma.v16f32", llvm_type(f32x16), value, x, added)
            for value, x in zip(values, xs, strict=True)
        ]
        values = in_step(builder, values)
    return values


def _polynomial_f64(builder: Any, coefficients: tuple[float, ...], x: Any) -> Any:
    value = constant(f64x8, coefficients[0])
    for coefficient in coefficients[1:]:
        value = builder.fadd(builder.fmul(value, x), constant(f64x8, coefficient))
    return value


@intrinsic
def normals_f32(typingctx: Any, words: Any) -> Any:
    """Four i32x16 of words to f32x16: 2^31 times standard normals, within `EPSILON_F32`."""
    result_type = types.UniTuple(f32x16, 4)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        floats, integers = llvm_type(f32x16), llvm_type(i32x16)

        def f(value: float) -> Any:
            return constant(f32x16, value)

        def i(value: int) -> Any:
            return constant(i32x16, value)

        def prepare(word: Any) -> tuple[Any, Any, Any, Any]:
            magnitude = builder.and_(word, i(0x7FFFFFFF))
            sign = builder.xor(word, magnitude)
            # 2^31 x and 2^32 t: powers of two cost nothing where the exponent is read and in scale.
            rest = builder.sitofp(builder.xor(magnitude, i(0x7FFFFFFF)), floats)
            x = builder.fadd(rest, f(0.5))
            t = builder.fadd(builder.sitofp(magnitude, floats), f(0.5))
            v = builder.fmul(t, builder.fsub(f(2.0**32), t))  # 2^62 times 4 t (1 - t)
            # log v: split into 2^e and a mantissa in [sqrt(1/2), sqrt(2)).
            bits = builder.bitcast(v, integers)
            exponent = builder.ashr(builder.sub(bits, i(0x3F3504F3 + (62 << 23))), i(23))
            whole = builder.shl(exponent, i(23))
            mantissa = builder.bitcast(builder.sub(builder.sub(bits, i(62 << 23)), whole), floats)
            negative_e = builder.fneg(builder.sitofp(exponent, floats))
            return sign, x, builder.fsub(mantissa, f(1.0)), negative_e

        four = [builder.extract_value(args[0], place) for place in range(4)]
        signs, xs, parts, exponents = zip(*(prepare(word) for word in four), strict=True)
        logs = [
            builder.fmul(log, part)
            for log, part in zip(_polynomial_f32(builder, _LOG, list(parts)), parts, strict=True)
        ]
        ws = [
            _call(builder, "llvm.fma.v16f32", floats, e, f(math.log(2.0)), builder.fneg(log))
            for e, log in zip(exponents, logs, strict=True)
        ]
        values = _polynomial_f32(builder, _CENTRE, [builder.fsub(w, f(2.5)) for w in ws])

        far = [builder.fcmp_ordered(">=", w, f(5.0)) for w in ws]
        union = far[0]
        for one in far[1:]:
            union = builder.or_(union, one)
        any_far = builder.icmp_unsigned(
            "!=", builder.bitcast(union, ir.IntType(16)), ir.IntType(16)(0)
        )
        before = builder.block
        with builder.if_then(any_far, likely=False):
            roots = [_call(builder, "llvm.sqrt.v16f32", floats, w) for w in ws]
            tails = _polynomial_f32(builder, _TAIL, [builder.fsub(root, f(3.0)) for root in roots])
            merged = [builder.select(*each) for each in zip(far, tails, values, strict=True)]
            inside = builder.block
        results = []
        for value, other in zip(values, merged, strict=True):
            result = builder.phi(floats)
            result.add_incoming(value, before)
            result.add_incoming(other, inside)
            results.append(result)
        signed = [
            builder.bitcast(
                builder.xor(builder.bitcast(builder.fmul(result, x), integers), sign), floats
            )
            for result, x, sign in zip(results, xs, signs, strict=True)
        ]
        return context.make_tuple(builder, result_type, signed)

    return result_type(words), codegen


@intrinsic
def normal_f64(typingctx: Any, words: Any) -> Any:
    """i32x8 words to f64x8 standard normals: `biasgpu.normal.normal`, bit for bit."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        floats, wide = llvm_type(f64x8), llvm_type(u64x8)

        def f(value: float) -> Any:
            return constant(f64x8, value)

        def i(value: int) -> Any:
            return constant(u64x8, value)

        magnitude = builder.and_(args[0], constant(i32x8, 0x7FFFFFFF))
        m = builder.sitofp(magnitude, floats)
        tail = builder.fmul(builder.fadd(builder.fadd(m, m), f(1.0)), f(2.0**-33))
        q = builder.fsub(f(0.5), tail)
        r = builder.fsub(f(law.CENTRE_SQUARE), builder.fmul(q, q))
        centre = builder.fdiv(
            builder.fmul(q, _polynomial_f64(builder, law.CENTRE_NUMERATOR, r)),
            _polynomial_f64(builder, law.CENTRE_DENOMINATOR, r),
        )
        # log(tail), as in biasgpu.normal.log: frexp by bits (tail is normal and positive).
        bits = builder.bitcast(tail, wide)
        exponent = builder.sub(builder.lshr(bits, i(52)), i(1022))
        mantissa = builder.bitcast(
            builder.or_(builder.and_(bits, i(0x000FFFFFFFFFFFFF)), i(0x3FE0000000000000)), floats
        )
        below = builder.fcmp_ordered("<", mantissa, f(law.SQRT_HALF))
        mantissa = builder.select(below, builder.fadd(mantissa, mantissa), mantissa)
        exponent = builder.select(below, builder.sub(exponent, i(1)), exponent)
        power = builder.sitofp(exponent, floats)
        s = builder.fdiv(builder.fsub(mantissa, f(1.0)), builder.fadd(mantissa, f(1.0)))
        series = builder.fmul(s, _polynomial_f64(builder, law.LOG_TERMS, builder.fmul(s, s)))
        log = builder.fadd(
            builder.fadd(builder.fmul(power, f(law.LN2_LOW)), series),
            builder.fmul(power, f(law.LN2_HIGH)),
        )
        root = _call(builder, "llvm.sqrt.v8f64", floats, builder.fneg(log))
        near = builder.fsub(root, f(law.TAIL_SHIFT))
        outer = builder.fdiv(
            _polynomial_f64(builder, law.TAIL_NUMERATOR, near),
            _polynomial_f64(builder, law.TAIL_DENOMINATOR, near),
        )
        inside = builder.fcmp_ordered("<=", q, f(law.CENTRE_LIMIT))
        value = builder.select(inside, centre, outer)
        negative = builder.icmp_signed("<", args[0], constant(i32x8, 0))
        return builder.select(negative, builder.fneg(value), value)

    return f64x8(words), codegen
