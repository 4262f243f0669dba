"""Choosing lane by lane, which forward passes remember and backward passes repeat."""

from __future__ import annotations

from typing import Any

from biasgpu.engines.cpu.vectors import constant, intrinsic


@intrinsic
def where_above(typingctx: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes in which a > b, else `no`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return yes(a, a, yes, yes), codegen


@intrinsic
def where_equal(typingctx: Any, a: Any, b: Any, value: Any) -> Any:
    """`value` in the lanes in which a == b, else 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        equal = builder.fcmp_ordered("==", args[0], args[1])
        return builder.select(equal, args[2], constant(value, 0.0))

    return value(a, a, value), codegen
